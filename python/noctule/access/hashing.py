"""Password hashes, checked by few threads and not twice within a minute.

A reconnect storm would otherwise cost some 50 ms of a core for each client. What is kept of a
password that was right is an HMAC under a key that only this process has.
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from contextlib import suppress

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from noctule.access import mosquitto_hash
from noctule.access.errors import BackEndError
from noctule.access.threads import Threads

__all__ = ["PasswordChecker", "is_checkable"]

MAX_CACHED = 100_000


def is_checkable(record: str) -> bool:
    """Whether passwords can be checked against it: argon2, or a hash of Mosquitto's."""
    try:
        if record.startswith(mosquitto_hash.BEGINNINGS):
            mosquitto_hash.parse(record)
        else:
            parameters_hasher(record)
    except (InvalidHashError, ValueError):
        return False
    return True


class PasswordChecker:
    """Checks passwords against argon2 hashes, and those of Mosquitto's password file.

    `threads` check at once and at most `maximum_waiting` wait for them; BackEndError beyond.
    A right password is known again for `cache_seconds`; 0: never.
    """

    def __init__(
        self, *, threads: int = 2, maximum_waiting: int = 1024, cache_seconds: float = 60.0
    ) -> None:
        self._threads = Threads("argon2", threads, maximum_waiting)
        self._cache_seconds = cache_seconds
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, float] = OrderedDict()
        self._hasher = PasswordHasher()
        # What the password of a user nobody knows is checked against: it costs the same.
        self._decoy = self._hasher.hash(secrets.token_hex(16))

    def imitate(self, record: str) -> None:
        """Let unknown users cost what this hash costs."""
        if record.startswith(mosquitto_hash.BEGINNINGS):
            with suppress(ValueError):
                self._decoy = mosquitto_hash.similar(record)
            return
        try:
            parameters = self._parameters(record)
        except InvalidHashError:
            return
        if parameters != self._parameters(self._decoy):
            self._decoy = parameters_hasher(record).hash(secrets.token_hex(16))

    async def is_right(self, record: str | None, password: bytes) -> bool:
        """Whether it is the password of the hash; None stands for a user nobody knows.

        An empty password, as of a client that gives none, proves nothing, whatever the hash.
        """
        if not password:
            record = None
        # Other records have other salts, so a changed password does not pass by the old entry.
        digest = hmac.digest(
            self._secret, (record or "").encode() + b"\0" + password, hashlib.sha256
        )
        known_until = self._known.get(digest, 0.0)
        if record is not None and time.monotonic() < known_until:
            return True
        right = await self._threads.run(
            self._verify, self._decoy if record is None else record, password
        )
        if record is None or not right:
            return False
        self._remember(digest)
        return True

    def close(self) -> None:
        """End the threads."""
        self._threads.close()

    def _remember(self, digest: bytes) -> None:
        if self._cache_seconds <= 0:
            return
        self._known[digest] = time.monotonic() + self._cache_seconds
        self._known.move_to_end(digest)
        while len(self._known) > MAX_CACHED:
            self._known.popitem(last=False)

    def _verify(self, record: str, password: bytes) -> bool:
        try:
            if record.startswith(mosquitto_hash.BEGINNINGS):
                return mosquitto_hash.is_right(record, password)
            return self._hasher.verify(record, password)
        except VerifyMismatchError:
            return False
        except (VerificationError, InvalidHashError, ValueError) as error:
            raise BackEndError("a password hash cannot be read") from error

    @staticmethod
    def _parameters(record: str) -> str:
        """Kind, version and costs: all but salt and hash."""
        parts = record.split("$")
        if len(parts) != 6:
            raise InvalidHashError
        return "$".join(parts[:4])


def parameters_hasher(record: str) -> PasswordHasher:
    """A hasher of the record's kind and costs."""
    from argon2 import extract_parameters

    return PasswordHasher.from_parameters(extract_parameters(record))
