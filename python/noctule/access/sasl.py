"""SASL mechanisms over AUTH: SCRAM-SHA-256 and -512, OAUTHBEARER, PLAIN."""

import base64
import hashlib
import hmac
import secrets
from dataclasses import replace
from pathlib import Path

from scramp import ScramException, ScramMechanism

from noctule.access.chain import Identity, Link, ask
from noctule.access.password_file import read_records
from noctule.access.token import Tokens
from noctule.broker import Answer, AuthenticationRequest, Challenge, Refuse

__all__ = ["OAuthBearer", "Plain", "Scram", "ScramFile", "scram_record"]

NOT_AUTHORIZED = 0x87
BAD_METHOD = 0x8C

Step = tuple[Identity, bytes | None] | Answer
Keys = tuple[bytes, bytes, bytes, int]
"""Salt, stored key, server key, iterations (RFC 5802)."""


def scram_record(method: str, password: str, iterations: int = 100_000) -> str:
    """What is kept of a password for `method`: `SCRAM-SHA-256$iterations:salt$stored:server`."""
    salt, stored, server, count = ScramMechanism(method).make_auth_info(
        password, iteration_count=iterations, salt=secrets.token_bytes(16)
    )
    first, second, third = (base64.b64encode(each).decode() for each in (salt, stored, server))
    return f"{method}${count}:{first}${second}:{third}"


class ScramFile:
    """A file with lines `name:SCRAM-SHA-256$iterations:salt$stored:server`, read once."""

    def __init__(self, file: Path, method: str) -> None:
        self._records = {
            user: record
            for user, record in read_records(file, "SCRAM-").items()
            if record.startswith(method + "$")
        }
        self._size = 64 if method.endswith("512") else 32
        self._secret = secrets.token_bytes(32)

    def keys(self, user: str) -> Keys:
        """The user's; for nobody's name such as fit no password, and always the same salt."""
        record = self._records.get(user)
        if record is None:
            salt = hmac.digest(self._secret, user.encode(), hashlib.sha256)[:16]
            stored_key, server_key = (secrets.token_bytes(self._size) for _ in range(2))
            return salt, stored_key, server_key, 100_000
        _, salted, keys = record.split("$")
        count, salt_text = salted.split(":")
        stored, server = keys.split(":")
        return (
            base64.b64decode(salt_text),
            base64.b64decode(stored),
            base64.b64decode(server),
            int(count),
        )


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
                users: list[str] = []

                def keys(user: str) -> Keys:
                    users.append(user)
                    return self._file.keys(user)

                server = self._mechanism.make_server(keys)
                server.set_client_first(text)
                answer = server.get_server_first()
                return Challenge(answer.encode(), state=(server, users[0]))
            if not isinstance(request.state, tuple):
                return Refuse(NOT_AUTHORIZED)
            server, user = request.state
            server.set_client_final(text)
            return Identity(user), server.get_server_final().encode()
        except ScramException:
            return Refuse(NOT_AUTHORIZED)


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
