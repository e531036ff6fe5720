"""~/.config/noctule/config.toml: hosts, names and passwords that nobody wants to type.

    url = "mqtts://broker.example"          # where nothing else is said
    username = "alice"
    password-file = "~/.config/noctule/password"

    [profiles.test]                         # with --profile test, or NOCTULE_PROFILE=test
    host = "127.0.0.1"
    port = 1884

The keys are the long options without their dashes, of those that say where and as whom to
connect; `srv` is -S and `bind-address` is -A.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from noctule.cli.flags.parse import converted
from noctule.cli.flags.settings import Settings, UsageError
from noctule.cli.flags.table import FLAGS, Flag, Kind

__all__ = ["apply_profile", "configuration_file"]

GROUPS = ("connection", "identity", "tls")
NOT_FOR_OTHERS = 0o077


def configuration_file(environment: Mapping[str, str]) -> str:
    """Where the file is, or would be: in XDG_CONFIG_HOME, or else in ~/.config."""
    base = environment.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(base, "noctule", "config.toml")


def apply_profile(settings: Settings, environment: Mapping[str, str]) -> None:
    """Puts the file's values where the command line said nothing.

    Without --profile or NOCTULE_PROFILE the values at the top of the file count. Where the
    command line names a server, nothing counts but what --profile asks for: a password is not
    sent to just any host.
    UsageError for what is wrong with the file.
    """
    if settings.profile is None and _names_server(settings):
        return
    name = settings.profile or environment.get("NOCTULE_PROFILE")
    path = configuration_file(environment)
    if name is None and not os.path.exists(path):
        return
    for key, value in _values(path, name).items():
        flag = KEYS.get(key.replace("_", "-"))
        if flag is None:
            raise UsageError(f"{path}: there is no key {key}; there are {', '.join(sorted(KEYS))}")
        if flag.field == "password":
            _check_mode(path)
        if not _is_superseded(settings, flag.field, environment):
            setattr(settings, flag.field, _read(path, key, flag, value))


def _values(path: str, name: str | None) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except FileNotFoundError:
        raise UsageError(f"there is no profile {name}: {path} does not exist") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error
    profiles = document.pop("profiles", {})
    if name is None:
        return document
    if not isinstance(profiles, dict) or not isinstance(profiles.get(name), dict):
        known = ", ".join(profiles) if isinstance(profiles, dict) and profiles else "none"
        raise UsageError(f"{path}: there is no profile {name}; there is {known}")
    return dict(profiles[name])


def _read(path: str, key: str, flag: Flag, value: object) -> object:
    if flag.kind is Kind.SWITCH:
        if not isinstance(value, bool):
            raise UsageError(f"{path}: {key} is true or false")
        return value
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise UsageError(f"{path}: {key} is text or a number")
    try:
        read = converted(flag, str(value))
    except UsageError as error:
        raise UsageError(f"{path}: {key}: {error}") from error
    if isinstance(read, str) and flag.metavar in ("FILE", "DIR"):
        return os.path.expanduser(read)
    return read


def _names_server(settings: Settings) -> bool:
    return bool(
        {"host", "url", "unix", "srv"} & vars(settings).keys()
        or any("://" in argument for argument in settings.arguments)
    )


def _is_superseded(settings: Settings, field: str, environment: Mapping[str, str]) -> bool:
    """Whether command line or environment have said this, or something that stands for it."""
    given = vars(settings).keys()
    if field in ("password", "password_file", "ask_password"):
        is_given = {"password", "password_file", "ask_password"} & given
        return bool(is_given) or "NOCTULE_PASSWORD" in environment
    if field in ("url", "host", "unix"):
        return _names_server(settings)
    if field in ("client_id", "client_id_prefix"):
        return bool({"client_id", "client_id_prefix"} & given)
    return field in given


def _check_mode(path: str) -> None:
    """A password in a file that others can read is no secret."""
    if os.name == "posix" and os.stat(path).st_mode & NOT_FOR_OTHERS:
        raise UsageError(
            f"{path} holds a password and can be read by others: "
            f"`chmod 600 {path}`, or put the password into a file of its own (password-file)"
        )


def _keys() -> dict[str, Flag]:
    keys = {}
    for flag in FLAGS:
        if flag.group not in GROUPS or flag.field == "profile":
            continue
        long = [name[2:] for name in flag.names if name.startswith("--")]
        for key in long or [flag.field.replace("_", "-")]:
            keys[key] = flag
    keys["password"] = keys["pw"]
    return keys


KEYS = _keys()
