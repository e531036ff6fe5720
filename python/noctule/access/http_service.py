"""An HTTP service that says who a client is.

It is sent, as JSON, `client`, `user`, `password`, `address`, `listener`, `version` and
`peer_name`, and answers 200 with `{"result": "allow" | "deny" | "ignore"}` and, with "allow",
perhaps `user`, if it is another than the client says, `groups` and `rules`. Anything else is an
error, and an error denies.
"""

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections import OrderedDict
from typing import Any

import httpx
from pydantic import ValidationError

from noctule.access.chain import DENIED, Identity, Verdict
from noctule.access.errors import BackEndError
from noctule.access.rules import rules_from
from noctule.access.sources import RuleSet
from noctule.access.token import tables, texts
from noctule.broker import AuthenticationRequest

__all__ = ["HttpRules", "HttpService"]

MAX_CACHED = 100_000
FIRST_PAUSE_SECONDS = 0.1


class HttpService:
    """Asks the service at `url`.

    Each attempt has `timeout_seconds`; after `retries` more it has failed. After `failures` of
    them in a row nobody is asked, and everybody denied, for `pause_seconds`. An answer holds for
    `cache_seconds`.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = 2.0,
        retries: int = 1,
        failures: int = 5,
        pause_seconds: float = 10.0,
        cache_seconds: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._retries = retries
        self._most_failures = failures
        self._pause_seconds = pause_seconds
        self._cache_seconds = cache_seconds
        self._client = httpx.AsyncClient(timeout=timeout_seconds, transport=transport)
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, tuple[float, Verdict]] = OrderedDict()
        self._failures = 0
        self._paused_until = 0.0

    async def identify(self, request: AuthenticationRequest) -> Verdict:
        """What the service says."""
        question = question_of(request)
        body = json.dumps(question, sort_keys=True)
        digest = hmac.digest(self._secret, body.encode(), hashlib.sha256)
        until, verdict = self._known.get(digest, (0.0, None))
        if time.monotonic() < until:
            return verdict
        if time.monotonic() < self._paused_until:
            raise BackEndError("the HTTP service has failed too often and is left alone")
        try:
            verdict = await self._ask(body, request.user)
        except BackEndError:
            self._failures += 1
            if self._failures >= self._most_failures:
                self._paused_until = time.monotonic() + self._pause_seconds
            raise
        self._failures = 0
        self._known[digest] = (time.monotonic() + self._cache_seconds, verdict)
        self._known.move_to_end(digest)
        while len(self._known) > MAX_CACHED:
            self._known.popitem(last=False)
        return verdict

    async def _ask(self, body: str, user: str | None) -> Verdict:
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(self._retries + 1):
            try:
                answer = await self._client.post(
                    self._url, content=body, headers={"content-type": "application/json"}
                )
                if answer.status_code == 200:
                    return verdict_of(answer.json(), user)
                failure = f"status {answer.status_code}"
            except (httpx.HTTPError, ValueError) as error:
                failure = type(error).__name__
            if attempt < self._retries:
                await asyncio.sleep(pause)
                pause *= 2
        raise BackEndError(f"the HTTP service did not answer: {failure}")

    async def close(self) -> None:
        """End its connections."""
        await self._client.aclose()


class HttpRules:
    """Rules from an address, `{"rules": [...], "groups": {"name": ["user"]}}`, asked for every
    `refresh_seconds` by GET.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = 2.0,
        refresh_seconds: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = "the HTTP service of rules"
        self._url = url
        self._refresh_seconds = refresh_seconds
        self._client = httpx.AsyncClient(timeout=timeout_seconds, transport=transport)

    async def load(self) -> RuleSet:
        """The rules now; BackEndError where the answer is none."""
        try:
            answer = await self._client.get(self._url)
            answer.raise_for_status()
            found = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise BackEndError(f"no answer with rules: {type(error).__name__}") from None
        if not isinstance(found, dict) or "rules" not in found:
            raise BackEndError("the answer has no rules")
        groups = found.get("groups", {})
        if not isinstance(groups, dict):
            raise BackEndError("the answer's groups are not a table")
        try:
            rules = rules_from(tables(found["rules"]))
        except ValidationError as error:
            raise BackEndError(f"a rule is none: {error.errors()[0]['msg']}") from None
        return RuleSet(rules, {name: frozenset(texts(users)) for name, users in groups.items()})

    async def wait(self) -> None:
        """Until it is time to ask again."""
        await asyncio.sleep(self._refresh_seconds)

    async def close(self) -> None:
        """End its connections."""
        await self._client.aclose()


def question_of(request: AuthenticationRequest) -> dict[str, object]:
    """What the service is told."""
    password = request.password
    return {
        "client": request.client,
        "user": request.user,
        "password": None if password is None else password.decode("utf-8", "surrogateescape"),
        "address": request.address,
        "listener": request.listener,
        "version": request.version,
        "peer_name": request.peer_name,
    }


def verdict_of(answer: Any, user: str | None) -> Verdict:
    """The answer about a client that calls itself `user`; BackEndError where it is none."""
    result = answer.get("result") if isinstance(answer, dict) else None
    if result == "ignore":
        return None
    if result == "deny":
        return DENIED
    if result != "allow":
        raise BackEndError("the HTTP service's answer has no result")
    user = answer.get("user", user)
    if user is not None and not isinstance(user, str):
        raise BackEndError("the HTTP service's user is not a text")
    return Identity(
        user,
        groups=frozenset(texts(answer.get("groups"))),
        rules=rules_from(tables(answer.get("rules"))),
        restricted="rules" in answer,
    )
