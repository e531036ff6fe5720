"""JSON Web Tokens in the password field, or as OAUTHBEARER's token.

A token counts only if its algorithm is on the list, and if it has `exp`, `aud` and `iss`, all of
them right. The client is disconnected when it expires.
"""

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import jwt

from noctule.access.chain import DENIED, Denied, Identity, Verdict
from noctule.access.errors import BackEndError
from noctule.access.password_file import stamp_of
from noctule.access.rules import rules_from
from noctule.broker import AuthenticationRequest

__all__ = ["KeyFile", "KeySet", "Tokens"]

KEY_SET_SECONDS = 300.0
# A key identifier nobody knows makes us look for new keys, but not for each of a flood.
REFRESH_SECONDS = 10.0
REQUEST_SECONDS = 5.0
MAX_STALE_SECONDS = 86_400.0

logger = logging.getLogger("noctule.access")


class KeyFile:
    """One key from a file: a public key in PEM, or the shared secret of an HMAC algorithm."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp: object = None
        self._key = b""

    async def key(self, key_identifier: str | None) -> Any:
        """The key, whatever its identifier; read again when the file has changed."""
        stamp = stamp_of(self._file)
        if stamp != self._stamp:
            self._key = self._file.read_bytes()
            self._stamp = stamp
        return self._key


class KeySet:
    """The keys of a JWKS address, asked for again every five minutes.

    While the address does not answer the keys of before are used, for a day.
    """

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url
        self._transport = transport
        self._keys: dict[str | None, Any] = {}
        self._asked = self._answered = -math.inf
        self._lock = asyncio.Lock()

    async def key(self, key_identifier: str | None) -> Any:
        """The key of that identifier; BackEndError where there is none."""
        async with self._lock:
            age = time.monotonic() - self._asked
            unknown = key_identifier not in self._keys
            if age > KEY_SET_SECONDS or (unknown and age > REFRESH_SECONDS):
                await self._refresh()
        if key_identifier not in self._keys:
            raise BackEndError("the key set has no key of the token's identifier")
        return self._keys[key_identifier]

    async def _refresh(self) -> None:
        self._asked = time.monotonic()
        try:
            async with httpx.AsyncClient(
                transport=self._transport, timeout=REQUEST_SECONDS
            ) as client:
                answer = await client.get(self._url)
            answer.raise_for_status()
            found = jwt.PyJWKSet.from_dict(answer.json())
        except (httpx.HTTPError, ValueError, jwt.PyJWTError) as error:
            if time.monotonic() - self._answered > MAX_STALE_SECONDS:
                self._keys = {}
                raise BackEndError("the address of the key set does not answer") from error
            logger.warning("no new key set, those of before are used: %s", type(error).__name__)
            return
        self._answered = self._asked
        self._keys = {each.key_id: each.key for each in found.keys}


class Tokens:
    """Clients whose password is a token.

    `algorithms` are those that are taken, `none` never. The user is in `user_claim`, its groups
    in `groups_claim`; a user name in CONNECT has to be the same. A claim `mqtt_rules`, a list of
    tables like `[[access.rules]]`, is looked at before the configured rules.
    """

    def __init__(
        self,
        keys: KeyFile | KeySet,
        *,
        algorithms: Sequence[str],
        audience: str,
        issuer: str,
        user_claim: str = "sub",
        groups_claim: str = "groups",
        leeway_seconds: float = 0.0,
    ) -> None:
        if not algorithms or "none" in {each.lower() for each in algorithms}:
            raise ValueError("name the algorithms that are taken; `none` is not one of them")
        symmetric = {each.startswith("HS") for each in algorithms}
        if len(symmetric) > 1:
            raise ValueError("a public key must not be taken for a secret: HS… stand alone")
        self._keys = keys
        self._algorithms = list(algorithms)
        self._audience = audience
        self._issuer = issuer
        self._user_claim = user_claim
        self._groups_claim = groups_claim
        self._leeway_seconds = leeway_seconds

    async def identify(self, request: AuthenticationRequest) -> Verdict:
        """Whom the token names; nothing is known of clients without one."""
        token = request.password
        if token is None or token.count(b".") != 2 or not token.startswith(b"ey"):
            return None
        identity = await self.verify(token)
        if isinstance(identity, Identity) and request.user not in (None, "", identity.user):
            return DENIED
        return identity

    async def verify(self, token: bytes) -> Identity | Denied:
        """Whom the token names, if it is in force."""
        try:
            key_identifier = jwt.get_unverified_header(token).get("kid")
            claims = jwt.decode(
                token,
                await self._keys.key(key_identifier),
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway_seconds,
                options={"require": ["exp", "aud", "iss"]},
            )
        except jwt.InvalidTokenError:
            return DENIED
        user = claims.get(self._user_claim)
        if not isinstance(user, str) or not user:
            return DENIED
        return Identity(
            user,
            groups=frozenset(texts(claims.get(self._groups_claim))),
            rules=rules_from(tables(claims.get("mqtt_rules"))),
            restricted="mqtt_rules" in claims,
            claims={name: value for name, value in claims.items() if isinstance(value, str)},
            expires_at=float(claims["exp"]) + self._leeway_seconds,
        )

    async def close(self) -> None:
        """Nothing is held."""


def texts(value: object) -> list[str]:
    """The texts of a list, or of one with spaces between them."""
    if isinstance(value, str):
        return value.split()
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def tables(value: object) -> list[Mapping[str, object]]:
    """The tables of a claim; BackEndError where it holds anything else, so that nothing opens."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise BackEndError("the claim mqtt_rules is not a list of tables")
    return value
