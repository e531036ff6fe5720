"""Users, groups and rules that are edited while the broker runs, and outlive it.

They are kept in a SQLite file, so another process may edit them, too: the running broker looks
once a second. What changes holds for the clients that are there at once; a user who is deleted,
disabled or given another password is disconnected.
"""

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from argon2 import PasswordHasher

from noctule.access.chain import DENIED, Identity, Verdict
from noctule.access.errors import BackEndError, DirectoryError
from noctule.access.hashing import PasswordChecker, is_checkable
from noctule.access.rules import Rule
from noctule.access.sources import LOOK_SECONDS, RuleSet
from noctule.access.threads import Threads
from noctule.broker import AuthenticationRequest

__all__ = ["Directory", "User"]

FILE_NAME = "access.sqlite"
MODE = 0o600
BUSY_SECONDS = 5.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    name TEXT PRIMARY KEY, password_hash TEXT, enabled INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS members (
    "group" TEXT NOT NULL, user TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
    PRIMARY KEY ("group", user)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rules (position INTEGER PRIMARY KEY, rule TEXT NOT NULL);
"""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class User:
    """A user of the directory."""

    name: str
    groups: frozenset[str] = frozenset()
    enabled: bool = True
    has_password: bool = True
    """Without one the user cannot come in by a password, and may by another link."""


class Directory:
    """A link of the chain and a source of rules, in one file; made if it is not there.

    Its methods may be called from the start on, with a broker or without.
    """

    def __init__(self, file: Path, checker: PasswordChecker | None = None) -> None:
        self.name = str(file)
        self._file = file
        self._checker = checker or PasswordChecker()
        self._hasher = PasswordHasher()
        self._threads = Threads("directory", threads=1)
        self._changed = asyncio.Event()
        self._known: Mapping[str, str | None] = {}
        self._version = -1
        self._found = RuleSet()
        self._kept: sqlite3.Connection | None = None
        self._create()

    # The chain and its rules.

    async def identify(self, request: AuthenticationRequest) -> Verdict:
        """The user, if the password is theirs; nothing is known of users that are not here."""
        if request.user is None:
            return None
        row = await self._threads.run(self._row, request.user)
        # A user who is disabled has no password that is right, and costs the same.
        record = row[0] if row is not None and row[1] else None
        if row is None:
            return None
        right = await self._checker.is_right(record, request.password or b"")
        return Identity(request.user, proof=record) if right else DENIED

    async def holds(self, user: str) -> str | None:
        """The hash of the user, unless the user is disabled."""
        row = await self._threads.run(self._row, user)
        return row[0] if row is not None and row[1] else None

    async def imitate(self, password: bytes) -> None:
        """Check it against a hash that nobody's password has."""
        await self._checker.is_right(None, password)

    async def load(self) -> RuleSet:
        """Rules and groups as they are, and who is revoked since the last time."""
        self._changed.clear()
        return await self._threads.run(self._load)

    async def wait(self) -> None:
        """Until something was changed here, or a second is over: others may change the file."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return

    async def close(self) -> None:
        """End the connection and the threads; nothing may be asked or changed any more."""
        self._threads.close()
        self._checker.close()
        if self._kept is not None:
            self._kept.close()

    # What people do with it.

    async def users(self) -> list[User]:
        """All users by name."""
        return await self._threads.run(self._users)

    async def add_user(
        self, name: str, password: str | None = None, groups: Iterable[str] = ()
    ) -> None:
        """Add a user; DirectoryError if there is one of that name, or the name is empty."""
        if not name or "\0" in name:
            raise DirectoryError("a user's name is not empty and has no U+0000")
        record = await self._hash(password)

        def add(base: sqlite3.Connection) -> None:
            try:
                base.execute("INSERT INTO users VALUES (?, ?, 1)", (name, record))
            except sqlite3.IntegrityError:
                raise DirectoryError(f"there is a user {name!r} already") from None
            base.executemany(
                "INSERT OR IGNORE INTO members VALUES (?, ?)", [(each, name) for each in groups]
            )

        await self._change(add)

    async def set_password(self, name: str, password: str | None) -> None:
        """Give a user another password, or none; clients of that user are disconnected."""
        record = await self._hash(password)
        await self._change_user(
            name, "UPDATE users SET password_hash = ? WHERE name = ?", (record, name)
        )

    async def set_enabled(self, name: str, enabled: bool) -> None:
        """Let a user in, or no longer; then clients of that user are disconnected."""
        await self._change_user(
            name, "UPDATE users SET enabled = ? WHERE name = ?", (int(enabled), name)
        )

    async def remove_user(self, name: str) -> None:
        """Delete a user, in all groups; clients of that user are disconnected."""
        await self._change_user(name, "DELETE FROM users WHERE name = ?", (name,))

    async def add_to_group(self, group: str, user: str) -> None:
        """Put a user into a group, or role, which is made by this."""

        def add(base: sqlite3.Connection) -> None:
            try:
                base.execute("INSERT OR IGNORE INTO members VALUES (?, ?)", (group, user))
            except sqlite3.IntegrityError:
                raise DirectoryError(f"there is no user {user!r}") from None

        await self._change(add)

    async def remove_from_group(self, group: str, user: str) -> None:
        """Take a user out of a group."""
        await self._change_user(
            user, 'DELETE FROM members WHERE "group" = ? AND user = ?', (group, user)
        )

    async def rules(self) -> tuple[Rule, ...]:
        """The rules in their order."""
        return (await self._threads.run(self._read_rules)).rules

    async def set_rules(self, rules: Iterable[Rule | Mapping[str, object]]) -> None:
        """Put these rules in the place of those there are; pydantic's ValidationError for none."""
        texts = [
            (json.dumps(rule.model_dump(exclude_defaults=True)),)
            for each in rules
            for rule in (each if isinstance(each, Rule) else Rule.model_validate(each),)
        ]

        def replace(base: sqlite3.Connection) -> None:
            base.execute("DELETE FROM rules")
            base.executemany("INSERT INTO rules (rule) VALUES (?)", texts)

        await self._change(replace)

    # The file.

    def _create(self) -> None:
        try:
            # Made for its owner alone before anything is in it.
            os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, MODE))
            with self._transaction() as base:
                base.execute("PRAGMA journal_mode = WAL")
                base.executescript(SCHEMA)
        except OSError as error:
            raise BackEndError(f"{self._file} cannot be opened: {error.strerror}") from error

    @property
    def _watched(self) -> sqlite3.Connection:
        """The connection that lasts, and so can tell what others have changed."""
        if self._kept is None:
            self._kept = self._open()
        return self._kept

    def _open(self) -> sqlite3.Connection:
        base = sqlite3.connect(self._file, timeout=BUSY_SECONDS, check_same_thread=False)
        base.execute("PRAGMA foreign_keys = ON")
        base.execute("PRAGMA synchronous = FULL")
        return base

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are kept together, or not at all."""
        try:
            with closing(self._open()) as base, base:
                yield base
        except sqlite3.Error as error:
            raise BackEndError(f"{self._file}: {error}") from error

    async def _change(self, change: Callable[[sqlite3.Connection], None]) -> None:
        def carry_out() -> None:
            with self._transaction() as base:
                change(base)

        await self._threads.run(carry_out)
        self._changed.set()

    async def _change_user(self, name: str, statement: str, values: tuple[object, ...]) -> None:
        def change(base: sqlite3.Connection) -> None:
            if base.execute(statement, values).rowcount == 0:
                raise DirectoryError(f"there is no user {name!r}, or not there")

        await self._change(change)

    async def _hash(self, password: str | None) -> str | None:
        if password is None:
            return None
        return await asyncio.to_thread(self._hasher.hash, password)

    def _row(self, user: str) -> tuple[str | None, int] | None:
        try:
            found: tuple[str | None, int] | None = self._watched.execute(
                "SELECT password_hash, enabled FROM users WHERE name = ?", (user,)
            ).fetchone()
        except sqlite3.Error as error:
            raise BackEndError(f"{self._file}: {error}") from error
        if found is not None and found[0] is not None and not is_checkable(found[0]):
            raise BackEndError(f"{self._file}: the password hash of {user!r} cannot be read")
        return found

    def _users(self) -> list[User]:
        with self._transaction() as base:
            groups = groups_of(base)
            rows = base.execute(
                "SELECT name, enabled, password_hash IS NOT NULL FROM users ORDER BY name"
            ).fetchall()
        return [
            User(
                name,
                frozenset(group for group, users in groups.items() if name in users),
                bool(enabled),
                bool(has_password),
            )
            for name, enabled, has_password in rows
        ]

    def _load(self) -> RuleSet:
        try:
            (version,) = self._watched.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error as error:
            raise BackEndError(f"{self._file}: {error}") from error
        if version == self._version:
            return self._found
        found = self._read_rules()
        with self._transaction() as base:
            rows = base.execute("SELECT name, password_hash FROM users WHERE enabled").fetchall()
        known = dict(rows)
        revoked = {name for name, record in self._known.items() if known.get(name, 0) != record}
        self._known, self._version = known, version
        self._found = found
        return RuleSet(found.rules, found.groups, frozenset(revoked))

    def _read_rules(self) -> RuleSet:
        with self._transaction() as base:
            texts = base.execute("SELECT rule FROM rules ORDER BY position").fetchall()
            groups = groups_of(base)
        try:
            rules = tuple(Rule.model_validate_json(text) for (text,) in texts)
        except ValueError as error:
            raise BackEndError(f"{self._file} holds a rule that is none") from error
        return RuleSet(rules, groups)


def groups_of(base: sqlite3.Connection) -> dict[str, frozenset[str]]:
    """Groups and their users."""
    found: dict[str, set[str]] = {}
    for group, user in base.execute('SELECT "group", user FROM members'):
        found.setdefault(group, set()).add(user)
    return {group: frozenset(users) for group, users in found.items()}
