"""Where to connect and as whom, once options, URL, profile and environment are put together."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from noctule.cli.connection.profile import apply_profile
from noctule.cli.connection.url import Url, is_url, read_url
from noctule.cli.flags.settings import Settings, UsageError

__all__ = ["DEFAULT_WEBSOCKET_PATH", "complete", "password_of"]

DEFAULT_WEBSOCKET_PATH = "/mqtt"
TLS_FIELDS = ("cafile", "capath", "cert", "key", "ciphers", "tls_version", "tls_alpn", "insecure")
# (WebSocket, TLS): where servers listen if nothing else is said.
PORTS = {(False, False): 1883, (False, True): 8883, (True, False): 8083, (True, True): 8084}


def complete(settings: Settings, environment: Mapping[str, str] | None = None) -> None:
    """Reads URL and profile into the settings, and fills in host, port and TLS.

    Options win over a URL, and both over the profile. A topic in the URL is added to the
    topics. UsageError for what contradicts itself.
    """
    environment = os.environ if environment is None else environment
    _take_url_argument(settings)
    if settings.url is not None:
        _apply_url(settings, read_url(settings.url))
    apply_profile(settings, environment)
    if settings.url is not None and "host" not in vars(settings) and settings.unix is None:
        _apply_url(settings, read_url(settings.url))  # The profile's.
    if settings.user_name is None:
        settings.user_name = environment.get("NOCTULE_USERNAME")
    _check(settings)
    given = vars(settings)
    if any(given.get(field) for field in TLS_FIELDS) or settings.port == PORTS[False, True]:
        settings.tls = True
    if settings.no_tls:
        settings.tls = False
    if settings.host is None:
        settings.host = "localhost"
    if settings.port is None and not settings.srv:
        settings.port = PORTS[settings.websocket, settings.tls]


def _take_url_argument(settings: Settings) -> None:
    """``noctule sub mqtt://host/topic``: the one argument that needs no option."""
    urls = [argument for argument in settings.arguments if is_url(argument)]
    if not urls:
        return
    if len(urls) > 1 or settings.url is not None:
        raise UsageError("one URL at a time")
    settings.arguments.remove(urls[0])
    settings.url = urls[0]


def _apply_url(settings: Settings, url: Url) -> None:
    given = vars(settings)
    if url.scheme == "unix":
        if "unix" not in given:
            settings.unix = url.path
        return
    if "host" not in given:
        settings.host = url.host
    if "port" not in given and url.port is not None:
        settings.port = url.port
    if url.user_name is not None and "user_name" not in given:
        settings.user_name = url.user_name
    if url.password is not None and not _has_password(settings):
        settings.password = url.password
    if url.scheme in ("mqtts", "wss"):
        settings.tls = True
    if url.scheme in ("ws", "wss"):
        settings.websocket = True
        settings.websocket_path = url.path if url.path not in ("", "/") else None
    if url.topic:
        settings.topics.insert(0, url.topic)


def _has_password(settings: Settings) -> bool:
    return bool({"password", "password_file", "ask_password"} & vars(settings).keys())


def _check(settings: Settings) -> None:
    if settings.client_id is not None and settings.client_id_prefix is not None:
        raise UsageError("-i and -I: give one of them")
    if (settings.cert is None) != (settings.key is None):
        raise UsageError("--cert and --key go together")
    if settings.unix is not None:
        given = vars(settings)
        for field, name in (("host", "-h"), ("port", "-p"), ("srv", "-S"), ("proxy", "--proxy")):
            if given.get(field):
                raise UsageError(f"--unix and {name}: give one of them")
    if settings.srv and settings.port is not None:
        raise UsageError("-S finds the port itself: leave -p out")
    if settings.bind_address is not None and settings.proxy is not None:
        raise UsageError("-A and --proxy: give one of them")


def password_of(settings: Settings, environment: Mapping[str, str] | None = None) -> bytes | None:
    """The password: from an option, a file, the terminal or NOCTULE_PASSWORD; None for none."""
    environment = os.environ if environment is None else environment
    if settings.ask_password:
        from getpass import getpass

        who = f" of {settings.user_name}" if settings.user_name else ""
        if not sys.stdin.isatty() and not os.path.exists("/dev/tty"):
            raise UsageError("--ask-password needs a terminal; NOCTULE_PASSWORD does not")
        return getpass(f"Password{who} at {settings.host}: ").encode()
    if settings.password_file is not None:
        try:
            with open(os.path.expanduser(settings.password_file), "rb") as file:
                return file.readline().rstrip(b"\r\n")
        except OSError as error:
            raise UsageError(f"--password-file: {error}") from error
    if settings.password is not None:
        return settings.password.encode(errors="surrogateescape")
    secret = environment.get("NOCTULE_PASSWORD")
    if secret is None or settings.user_name is None:
        return None  # In the environment for other commands; nobody is asked to be named here.
    return secret.encode(errors="surrogateescape")
