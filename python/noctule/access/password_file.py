"""A file of users and their passwords: a line `name:$argon2id$…` for each.

`noctule passwd` writes it; lines of Mosquitto's password file can stand beside its own. It is read
again when it changes; one that cannot be read then is reported, and the one before stays in force.
"""

import logging
import os
import time
from pathlib import Path

from noctule.access import mosquitto_hash
from noctule.access.chain import DENIED, Identity, Verdict
from noctule.access.errors import PasswordFileError
from noctule.access.hashing import PasswordChecker
from noctule.broker import AuthenticationRequest

__all__ = ["PasswordFile", "read_records"]

LOOK_SECONDS = 1.0
BEGINNINGS = ("$argon2", *mosquitto_hash.BEGINNINGS)

logger = logging.getLogger("noctule.access")

Stamp = tuple[int, int, int]


class PasswordFile:
    """The users of one file. PasswordFileError where it cannot be read at first."""

    def __init__(self, file: Path, checker: PasswordChecker | None = None) -> None:
        self._file = file
        self._checker = checker or PasswordChecker()
        self._stamp = stamp_of(file)
        self._looked = time.monotonic()
        self._records = read_records(file, *BEGINNINGS)
        self._imitate()

    async def identify(self, request: AuthenticationRequest) -> Verdict:
        """The user, if the password is theirs; nothing is known of users not in the file."""
        if request.user is None:
            return None
        self._look()
        record = self._records.get(request.user)
        if record is None:
            return None
        right = await self._checker.is_right(record, request.password or b"")
        return Identity(request.user, proof=record) if right else DENIED

    async def imitate(self, password: bytes) -> None:
        """Check it against a hash that nobody's password has."""
        await self._checker.is_right(None, password)

    async def holds(self, user: str) -> str | None:
        """The user's record."""
        self._read_again()
        return self._records.get(user)

    def stamp(self) -> Stamp:
        """That of the file whose users are in force."""
        self._read_again()
        return self._stamp

    async def close(self) -> None:
        """End the threads."""
        self._checker.close()

    def _look(self) -> None:
        """Read the file again if it has changed; at most once a second."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        self._read_again()

    def _read_again(self) -> None:
        try:
            stamp = stamp_of(self._file)
            if stamp == self._stamp:
                return
            self._records = read_records(self._file, *BEGINNINGS)
        except PasswordFileError as error:
            logger.error("%s; the users read before stay in force", error)
            return
        self._stamp = stamp
        self._imitate()
        logger.info("%s: %d users", self._file, len(self._records))

    def _imitate(self) -> None:
        for record in self._records.values():
            self._checker.imitate(record)
            return


def stamp_of(file: Path) -> Stamp:
    """Changes when the file does."""
    try:
        status = os.stat(file)
    except OSError as error:
        raise PasswordFileError(f"{file} cannot be read: {error.strerror}") from error
    return status.st_ino, status.st_size, status.st_mtime_ns


def read_records(file: Path, *beginnings: str, besides: tuple[str, ...] = ()) -> dict[str, str]:
    """The records by user; each has one of the beginnings. PasswordFileError names the line.

    Lines whose record begins like `besides` are somebody else's, and passed over.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise PasswordFileError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PasswordFileError(f"{file} is not UTF-8 at byte {error.start}") from error
    records: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if split_record(line.strip(), besides)[0]:
            continue
        user, record = split_record(line.strip(), beginnings)
        if not user:
            raise PasswordFileError(f"{file}, line {number}: not NAME:{beginnings[0]}…")
        if user in records:
            raise PasswordFileError(f"{file}, line {number}: the user stands there twice")
        records[user] = record
    return records


def split_record(line: str, beginnings: tuple[str, ...]) -> tuple[str, str]:
    """User and record; both empty where it is no such line.

    A hash holds no colon, so a user name may.
    """
    for beginning in beginnings:
        user, colon, rest = line.rpartition(f":{beginning}")
        if colon:
            return user, beginning + rest
    return "", ""
