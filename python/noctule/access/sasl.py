"""SASL mechanisms over AUTH: SCRAM-SHA-256 and -512, OAUTHBEARER, PLAIN."""

import base64
import hashlib
import hmac
import logging
import secrets
import time
from dataclasses import replace
from pathlib import Path

from scramp import ScramException, ScramMechanism

from noctule.access.chain import Identity, Link, ask
from noctule.access.errors import PasswordFileError
from noctule.access.password_file import Stamp, read_records, stamp_of
from noctule.access.token import Tokens
from noctule.broker import Answer, AuthenticationRequest, Challenge, Refuse

__all__ = ["OAuthBearer", "Plain", "Scram", "ScramFile", "scram_record"]

SCRAM_METHODS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
LOOK_SECONDS = 1.0
DEFAULT_SALT_BYTES = 16
DEFAULT_ITERATIONS = 100_000
NOT_AUTHORIZED = 0x87
BAD_METHOD = 0x8C

logger = logging.getLogger("noctule.access")

Step = tuple[Identity, bytes | None] | Answer
Keys = tuple[bytes, bytes, bytes, int]
"""Salt, stored key, server key, iterations (RFC 5802)."""


def scram_record(method: str, password: str, iterations: int = DEFAULT_ITERATIONS) -> str:
    """What is kept of a password for `method`: `SCRAM-SHA-256$iterations:salt$stored:server`."""
    salt, stored, server, count = ScramMechanism(method).make_auth_info(
        password, iteration_count=iterations, salt=secrets.token_bytes(DEFAULT_SALT_BYTES)
    )
    first, second, third = (base64.b64encode(each).decode() for each in (salt, stored, server))
    return f"{method}${count}:{first}${second}:{third}"


class ScramFile:
    """A file with lines `name:SCRAM-SHA-256$iterations:salt$stored:server`, one for each method.

    It is looked at once a second; one that cannot be read then is reported, and the one before
    stays in force.
    """

    def __init__(self, file: Path, method: str) -> None:
        self._file = file
        self._method = method
        self._size = 64 if method.endswith("512") else 32
        self._secret = secrets.token_bytes(32)
        self._stamp = stamp_of(file)
        self._looked = time.monotonic()
        self._users = self._read()

    def keys(self, user: str) -> Keys:
        """The user's; for nobody's name such as fit no password, and are the same each time."""
        self._look()
        return self._users.get(user) or self._made_up(user)

    def held(self, user: str) -> Keys | None:
        """The user's; None for nobody's name."""
        self._read_again()
        return self._users.get(user)

    def stamp(self) -> Stamp:
        """That of the file whose users are in force."""
        self._read_again()
        return self._stamp

    def _made_up(self, user: str) -> Keys:
        # What another user's record looks like, or the count would tell that this is none.
        digest = hmac.digest(self._secret, user.encode(), hashlib.sha512)
        salt_bytes, iterations = DEFAULT_SALT_BYTES, DEFAULT_ITERATIONS
        if self._users:
            place = int.from_bytes(digest[-8:], "big") % len(self._users)
            salt, _, _, iterations = list(self._users.values())[place]
            salt_bytes = len(salt)
        salt = (digest * (1 + salt_bytes // len(digest)))[:salt_bytes]
        stored_key, server_key = (secrets.token_bytes(self._size) for _ in range(2))
        return salt, stored_key, server_key, iterations

    def _look(self) -> None:
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
            self._users = self._read()
        except PasswordFileError as error:
            logger.error("%s; the users read before stay in force", error)
            return
        self._stamp = stamp

    def _read(self) -> dict[str, Keys]:
        others = tuple(f"{each}$" for each in SCRAM_METHODS if each != self._method)
        records = read_records(self._file, f"{self._method}$", besides=others)
        return {user: self._keys_of(user, record) for user, record in records.items()}

    def _keys_of(self, user: str, record: str) -> Keys:
        try:
            _, salted, keys = record.split("$")
            count, salt = salted.split(":")
            found = [base64.b64decode(each, validate=True) for each in (salt, *keys.split(":"))]
            salt_bytes, stored_key, server_key = found
            return salt_bytes, stored_key, server_key, int(count)
        except ValueError as error:
            raise PasswordFileError(
                f"{self._file}: the record of {user!r} cannot be read"
            ) from error


class Scram:
    """SCRAM (RFC 5802, 7677): the password never goes over the wire."""

    def __init__(self, file: ScramFile, method: str) -> None:
        self.method = method
        self._file = file
        self._mechanism = ScramMechanism(method)

    async def step(self, request: AuthenticationRequest, *, first: bool) -> Step:
        """Client first and server first, then the proof."""
        text = (request.data or b"").decode("utf-8", "replace")
        try:
            if first:
                asked: list[tuple[str, Keys]] = []

                def keys(user: str) -> Keys:
                    asked.append((user, self._file.keys(user)))
                    return asked[0][1]

                server = self._mechanism.make_server(keys)
                server.set_client_first(text)
                answer = server.get_server_first()
                return Challenge(answer.encode(), state=(server, *asked[0]))
            if not isinstance(request.state, tuple):
                return Refuse(NOT_AUTHORIZED)
            server, user, proof = request.state
            server.set_client_final(text)
            return Identity(user, proof=proof), server.get_server_final().encode()
        except ScramException:
            return Refuse(NOT_AUTHORIZED)

    async def holds(self, user: str) -> Keys | None:
        """The user's keys."""
        return self._file.held(user)

    def stamp(self) -> Stamp:
        """That of the file."""
        return self._file.stamp()


class OAuthBearer:
    """A bearer token (RFC 7628) that is a JSON Web Token."""

    method = "OAUTHBEARER"

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def step(self, request: AuthenticationRequest, *, first: bool) -> Step:
        """One message: `n,a=user,` and fields, `auth=Bearer …` among them, between ^A."""
        header, *fields = (request.data or b"").split(b"\x01")
        found = [field[12:] for field in fields if field[:12].lower() == b"auth=bearer "]
        if not first or len(found) != 1 or not request.is_private:
            return Refuse(NOT_AUTHORIZED)
        identity = await self._tokens.verify(found[0].strip())
        if not isinstance(identity, Identity):
            return Refuse(NOT_AUTHORIZED)
        asked = header.split(b",")[1].removeprefix(b"a=") if header.count(b",") >= 2 else b""
        if asked not in (b"", (identity.user or "").encode()):
            return Refuse(NOT_AUTHORIZED)
        return identity, None


class Plain:
    """User name and password in the clear (RFC 4616): over TLS or on this machine only."""

    method = "PLAIN"

    def __init__(self, links: tuple[Link, ...]) -> None:
        self._links = links

    async def step(self, request: AuthenticationRequest, *, first: bool) -> Step:
        """One message: `authorization NUL user NUL password`, put to the chain."""
        parts = (request.data or b"").split(b"\0")
        if not first or len(parts) != 3 or not request.is_private:
            return Refuse(NOT_AUTHORIZED)
        try:
            authorization, user = parts[0].decode(), parts[1].decode()
        except UnicodeDecodeError:
            return Refuse(NOT_AUTHORIZED)
        if authorization not in ("", user) or not user:
            return Refuse(NOT_AUTHORIZED)
        asked = replace(request, user=user, password=parts[2])
        verdict = await ask(self._links, asked)
        return (verdict, None) if isinstance(verdict, Identity) else Refuse(NOT_AUTHORIZED)
