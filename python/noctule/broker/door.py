"""Takes the engine's authentication requests to the authenticator, and the answers back."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from noctule.broker.authentication import (
    Accept,
    Answer,
    AuthenticationRequest,
    Authenticator,
    Challenge,
    EngineRule,
    Refuse,
)
from noctule.broker.events import readable

__all__ = ["Door", "all_clients", "rules_json"]

BATCH = 256
BAD_METHOD = 0x8C
NOT_AUTHORIZED = 0x87
# Challenges whose client may have gone; beyond it the oldest is forgotten.
MAX_OPEN_EXCHANGES = 65_536

Connection = tuple[int, int, int]
Terms = tuple[int | None, int | None]
Entrance = Callable[[AuthenticationRequest, Accept], Awaitable[Terms | Refuse]]

logger = logging.getLogger("noctule.authentication")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One client's way in, or its re-authentication."""

    first: AuthenticationRequest
    request: AuthenticationRequest
    state: object = None


class Source(Protocol):
    """The part of the engine that asks."""

    def request_fd(self) -> int:
        """A descriptor that is readable while requests wait, and after the end."""

    def next_requests(
        self, timeout_seconds: float | None, maximum: int = 1024
    ) -> list[dict[str, Any]] | None:
        """Requests, oldest first; None once the engine has stopped."""

    def accept(
        self,
        number: int,
        user: str | None,
        data: bytes | None,
        rules_json: str | None,
        keep_alive_seconds: int | None = None,
        session_expiry_seconds: int | None = None,
    ) -> bool:
        """Let a client in."""

    def challenge(self, number: int, data: bytes | None) -> bool:
        """Go on with an AUTH."""

    def refuse(self, number: int, reason_code: int, text: str | None = None) -> bool:
        """Turn a client away."""

    def disconnect(self, client: str, reason_code: int) -> None:
        """End a client's connection."""

    def clients(self, timeout_seconds: float = 5.0) -> list[dict[str, Any]] | None:
        """Every session; None where a worker has not answered in time."""


class Door:
    """Answers every request of the engine, from `start` until the engine has stopped.

    `timeout_seconds` is what an authenticator may take for one answer. `enter` is asked about
    each CONNECT that it accepts.
    """

    def __init__(
        self,
        source: Source,
        authenticator: Authenticator,
        timeout_seconds: float,
        enter: Entrance | None = None,
    ) -> None:
        self._enter = enter
        self._source = source
        self._authenticator = authenticator
        self._method: str | None = getattr(authenticator, "method", None)
        self._timeout_seconds = timeout_seconds
        self._exchanges: dict[Connection, Exchange] = {}
        self._expiries: dict[str, asyncio.TimerHandle] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to answer; needs a running event loop that can watch a descriptor."""
        self._task = asyncio.create_task(self._answer_all())

    async def finished(self) -> None:
        """Wait until the engine has stopped, and give up the answers it no longer wants."""
        if self._task is None:
            return
        await asyncio.wait([self._task])
        for handle in self._expiries.values():
            handle.cancel()
        answering = tuple(self._answering)
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)

    async def _answer_all(self) -> None:
        while (requests := self._source.next_requests(0.0, BATCH)) is not None:
            for request in requests:
                self._spawn(self._answer(request))
            if not requests:
                await readable(self._source.request_fd())

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, raw: dict[str, Any]) -> None:
        number: int = raw["number"]
        connection: Connection = raw["connection"]
        exchange = self._exchanges.pop(connection, None)
        request = request_from(raw, None if exchange is None else exchange.state)
        first = request if exchange is None else exchange.first
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await self._decide(request)
            terms = await self._terms(first, answer)
            match terms:
                case Refuse():
                    self._source.refuse(number, terms.reason_code, terms.text)
                case _:
                    self._send(number, connection, Exchange(first, request), answer, terms)
        except TimeoutError:
            logger.error(
                "no answer about client %r within %g s: refused",
                request.client,
                self._timeout_seconds,
            )
            self._source.refuse(number, NOT_AUTHORIZED)
        except Exception as error:
            # The error's text and the frames' values may hold secrets, so only its kind is told.
            logger.error(
                "an error about client %r, so it is refused: %s in %s",
                request.client,
                type(error).__name__,
                place_of(error),
            )
            self._source.refuse(number, NOT_AUTHORIZED)

    async def _decide(self, request: AuthenticationRequest) -> Answer:
        if self._method is not None and request.method != self._method:
            return Refuse(NOT_AUTHORIZED if request.method is None else BAD_METHOD)
        if request.stage == "continue":
            return await self._authenticator.continue_(request)
        return await self._authenticator.start(request)

    async def _terms(self, first: AuthenticationRequest, answer: Answer) -> Terms | Refuse:
        """What a client that comes in is granted; hooks have times of their own."""
        if self._enter is None or first.stage != "connect" or not isinstance(answer, Accept):
            return None, None
        return await self._enter(first, answer)

    def _send(
        self, number: int, connection: Connection, exchange: Exchange, answer: Answer, terms: Terms
    ) -> None:
        request = exchange.request
        match answer:
            case Accept():
                rules = answer.rules() if callable(answer.rules) else answer.rules
                self._source.accept(number, answer.user, answer.data, rules_json(rules), *terms)
                self._watch_expiry(request, answer)
            case Challenge():
                if len(self._exchanges) >= MAX_OPEN_EXCHANGES:
                    del self._exchanges[next(iter(self._exchanges))]
                self._exchanges[connection] = replace(exchange, state=answer.state)
                self._source.challenge(number, answer.data)
            case Refuse():
                self._source.refuse(number, answer.reason_code, answer.text)
            case _:
                raise TypeError(f"an authenticator answered with {type(answer).__name__}")

    def _watch_expiry(self, request: AuthenticationRequest, answer: Accept) -> None:
        # Of a client that the broker names itself, the address is all there is to find it by.
        key = request.client or f"{request.address} {request.port}"
        earlier = self._expiries.pop(key, None)
        if earlier is not None:
            earlier.cancel()
        if answer.expires_at is None:
            return
        seconds = max(0.0, answer.expires_at - time.time())
        loop = asyncio.get_running_loop()
        self._expiries[key] = loop.call_later(seconds, self._expire, key, request)

    def _expire(self, key: str, request: AuthenticationRequest) -> None:
        self._expiries.pop(key, None)
        if request.client:
            self._source.disconnect(request.client, NOT_AUTHORIZED)
        else:
            self._spawn(self._expire_nameless(request))

    async def _expire_nameless(self, request: AuthenticationRequest) -> None:
        place = (request.address, request.port)
        for client in await all_clients(self._source):
            if (client["address"], client["port"]) == place:
                self._source.disconnect(client["client"], NOT_AUTHORIZED)


async def all_clients(source: Source) -> list[dict[str, Any]]:
    """Every session there is, however long the workers take: rules are put on each of them."""
    while (found := await asyncio.to_thread(source.clients)) is None:
        logger.warning("the workers have much to do: sessions are asked for again")
    return found


def rules_json(rules: Sequence[EngineRule] | None) -> str | None:
    """Rules as the engine takes them."""
    return None if rules is None else json.dumps(list(rules))


NAMES = frozenset(each.name for each in fields(AuthenticationRequest))


def request_from(raw: dict[str, Any], state: object) -> AuthenticationRequest:
    """The engine's dict as a request."""
    return AuthenticationRequest(
        **{name: value for name, value in raw.items() if name in NAMES}, state=state
    )


def place_of(error: Exception) -> str:
    """File and line in which it was raised."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return "?"
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
