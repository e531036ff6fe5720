"""The whole move: configuration, users, rules and state, from Mosquitto's files to ours."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from noctule.cli.mosquitto.database import DatabaseError, read_database
from noctule.cli.mosquitto.directives import read_directives
from noctule.cli.mosquitto.lines import lines_of
from noctule.cli.mosquitto.state import KeptState, state_of
from noctule.cli.mosquitto.toml import toml_text
from noctule.cli.mosquitto.translation import Outcome, Translation, translate
from noctule.cli.mosquitto.users import user_lines
from noctule.cli.progress import Progress

__all__ = ["CONFIGURATION", "DATA", "Move", "MoveError"]

CONFIGURATION = "noctule.toml"
USERS = "users.pw"
RULES = "acl"
DATA = "data"
SECRET_MODE = 0o600


ANSWER_SECONDS = 0.5


class MoveError(Exception):
    """The move cannot be made; nothing has been written."""


class Move:
    """Reads everything when it is made, and writes by `write`, so that it can be looked at first.

    `target` is the directory of the new configuration. MoveError and DirectiveError for what
    cannot be read.
    """

    def __init__(self, source: Path, target: Path, *, data_dir: Path | None = None) -> None:
        self.source = source
        self.target = target.absolute()
        self.data_dir = (data_dir or target / DATA).absolute()
        self.problems: list[str] = []
        self.translation: Translation = translate(read_directives(source))
        self.state: KeptState | None = self._read_state()
        self._look_for_a_broker()
        self._users = self._read_users()
        self._rules = self._read_rules()
        self._forget_unproven_names()
        self._complete_options()

    @property
    def outcomes(self) -> list[Outcome]:
        """What has become of each directive."""
        return self.translation.outcomes

    def write(self) -> list[Path]:
        """Write the files, and say which; MoveError where one of them is there already."""
        paths = {
            self.target / CONFIGURATION: toml_text(self.translation, str(self.source.absolute()))
        }
        if self._users is not None:
            paths[self.target / USERS] = self._users
        if self._rules is not None:
            paths[self.target / RULES] = self._rules
        for path in paths:
            if path.exists():
                raise MoveError(f"{path} is there already; choose another directory with --to")
        if self.state is not None:
            self._fill_store(self.state)
        self.target.mkdir(parents=True, exist_ok=True)
        for path, text in paths.items():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_MODE)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
        self._check()
        return list(paths)

    def _fill_store(self, state: KeptState) -> None:
        """First of all, because it can fail: a store that is not empty is left alone."""
        from noctule._engine import StoreError, store_import

        # A line each, and the first one besides.
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        total = 1 + len(state.sessions) + state.subscriptions + state.queued + len(state.retained)
        with Progress("import", total) as progress:
            try:
                store_import(self.data_dir, lines_of(state), progress.update)
            except StoreError as error:
                raise MoveError(f"{error}; --data-dir names another directory") from error

    def _check(self) -> None:
        """Whether a broker would start with it: certificates and keys are looked at, too."""
        from noctule.access import AccessError
        from noctule.broker import ExposedListenerError
        from noctule.config import ConfigurationError, broker_of, load_options

        faults = (AccessError, ConfigurationError, ExposedListenerError, ValueError, OSError)
        try:
            broker_of(load_options(self.target / CONFIGURATION, {}, {}))
        except faults as error:
            self.problems.append(f"the broker would not start: {error}")

    # --- What there is ----------------------------------------------------------------

    def _read_state(self) -> KeptState | None:
        translation = self.translation
        if not translation.persistence:
            return None
        path = translation.database
        if not path.exists():
            self.problems.append(f"there is no database {path}: no sessions, no retained messages")
            return None
        try:
            saved_at = int(path.stat().st_mtime)
            return state_of(read_database(path), int(time.time()), saved_at)
        except OSError as error:
            raise MoveError(f"{path} cannot be read: {error.strerror}; try sudo") from error
        except DatabaseError as error:
            raise MoveError(str(error)) from error

    def _look_for_a_broker(self) -> None:
        """A Mosquitto that runs has more than its database says: it saves now and then."""
        if self.state is None:
            return
        for listener in self.translation.listeners:
            if not _is_answering(listener):
                continue
            self.problems.append(
                f"something answers at port {listener['port']}: if it is Mosquitto, stop it first "
                "and import again, because its database is complete only when it has ended"
            )
            return

    def _read_users(self) -> str | None:
        """The users whose passwords can be checked, as a file of ours has them."""
        translation = self.translation
        path = translation.password_file
        if path is None:
            return "# Nobody yet.\n" if translation.needs_users else None
        try:
            lines = list(user_lines(path))
        except (OSError, UnicodeDecodeError) as error:
            raise MoveError(f"{path} cannot be read: {error}") from error
        for line in lines:
            if line.fault:
                self.problems.append(f"{path}:{line.number}: {line.fault}")
        return "".join(f"{line.text}\n" for line in lines if not line.fault)

    def _read_rules(self) -> str | None:
        path = self.translation.acl_file
        if path is None:
            return None
        from noctule.access import AccessError, read_acl_file

        try:
            text = path.read_text(encoding="utf-8")
            read_acl_file(path)
        except (OSError, UnicodeDecodeError) as error:
            raise MoveError(f"{path} cannot be read: {error}") from error
        except AccessError as error:
            self.problems.append(f"{error}: mend the copy, or the broker does not start")
        return text

    def _forget_unproven_names(self) -> None:
        """Rules without users: Mosquitto believes any name, and our access control none."""
        is_proven = self._users is not None or "peer_names" in self.translation.options["access"]
        if self._rules is None or is_proven:
            return
        if any(line.split()[:1] == ["user"] for line in self._rules.splitlines()):
            self.problems.append(
                f"{self.translation.acl_file}: without password_file nobody proves a name, so the "
                "rules below its `user` lines hold for nobody"
            )
        for session in self.state.sessions.values() if self.state is not None else ():
            session.user_name = None

    def _complete_options(self) -> None:
        options: dict[str, dict[str, Any]] = self.translation.options
        if self._users is not None:
            options["access"]["password_file"] = str(self.target / USERS)
        if self._rules is not None:
            options["access"]["acl_file"] = str(self.target / RULES)
        if self.translation.persistence:
            options[""] |= {"data_dir": str(self.data_dir), "durability": "disk"}
        else:
            options[""]["durability"] = "memory"


def _is_answering(listener: dict[str, Any]) -> bool:
    """Whether somebody on this machine listens there."""
    if listener.get("host") not in ("127.0.0.1", "localhost", "0.0.0.0"):  # noqa: S104
        return False
    try:
        socket.create_connection(("127.0.0.1", listener["port"]), ANSWER_SECONDS).close()
    except OSError:
        return False
    return True
