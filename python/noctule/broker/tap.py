"""Taps: every message of a filter goes to a function, in batches, without any MQTT client.

Inside, a tap is a session of the engine like that of a client, so a slow function is a slow
subscriber: what waits for it is bounded by `limits.max_queued_messages` and
`limits.max_queued_bytes`, and what does not fit is treated, and counted, as for a client. With a
name the session is kept: what comes while the function or the program is away waits for it, over
a restart too where the broker is durable.
"""

import asyncio
import inspect
import itertools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Any, Protocol

from noctule.broker.events import readable

__all__ = ["Opened", "Source", "Tap", "TapHandler", "TappedMessage", "message_from", "nameless"]

PAUSE_SECONDS = 1.0

logger = logging.getLogger("noctule.taps")
numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class TappedMessage:
    """A message as it was published; of retained ones only those that are new."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    content_type: str | None
    response_topic: str | None
    correlation_data: bytes | None
    user_properties: list[tuple[str, str]]


TapHandler = Callable[[list[TappedMessage]], Awaitable[None] | None]

FIELDS = tuple(each.name for each in fields(TappedMessage))


class Opened(Protocol):
    """The engine's end of a tap."""

    def fileno(self) -> int:
        """A descriptor that is readable while messages wait."""

    def take(self, maximum: int) -> list[dict[str, Any]]:
        """Messages that are there; ConnectionError at the end."""

    def acknowledge(self) -> None:
        """Let go of what has been taken."""

    def close(self) -> None:
        """End it."""


class Source(Protocol):
    """The part of the engine that opens taps."""

    @property
    def is_running(self) -> bool:
        """Whether the workers run."""

    def tap(self, name: str, filter: str, qos: int = 1, kept: bool = False) -> Opened:  # noqa: A002
        """Open one."""


class Tap:
    """Brings the messages of `topic_filter` to `handler`, up to `batch` at a time.

    A batch that is not full waits `linger` seconds for more. With a `name` it is kept, and a
    batch at whose handling the function raised comes again; without, it is logged and gone.
    """

    def __init__(
        self, topic_filter: str, handler: TapHandler, batch: int, linger: float, name: str | None
    ) -> None:
        if batch < 1 or linger < 0:
            raise ValueError("batch is 1 or more, linger 0 seconds or more")
        self._filter = topic_filter
        self._handler = handler
        self._batch = batch
        self._linger = linger
        self._kept = name is not None
        self._name = name if name is not None else nameless()
        self._task: asyncio.Task[None] | None = None
        self.failures = 0
        """Batches at whose handling the function raised."""

    async def start(self, source: Source) -> None:
        """Open the tap: what is published after this is not missed."""
        opened = await self._open(source)
        self._task = asyncio.create_task(self._run(source, opened))

    async def stop(self) -> None:
        """End it; a batch under way is finished first only where the function is quick."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _open(self, source: Source) -> Opened:
        return await asyncio.to_thread(
            source.tap, self._name, self._filter, 1 if self._kept else 0, self._kept
        )

    async def _run(self, source: Source, opened: Opened) -> None:
        while True:
            try:
                await self._hand_on(opened)
            except ConnectionError as error:
                if not source.is_running:
                    return
                logger.warning("the tap %s is opened again: %s", self._name, error)
            except HandlerError:
                logger.exception("the tap %s failed; its batch comes again", self._name)
            finally:
                opened.close()
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                opened = await self._open(source)
            except ConnectionError:
                if not source.is_running:
                    return
                raise

    async def _hand_on(self, opened: Opened) -> None:
        while True:
            batch = await self._next_batch(opened)
            try:
                answer = self._handler(batch)
                if inspect.isawaitable(answer):
                    await answer
            except Exception as error:
                self.failures += 1
                if self._kept:
                    raise HandlerError from error
                logger.exception("the tap %s lost %d messages", self._name, len(batch))
            opened.acknowledge()

    async def _next_batch(self, opened: Opened) -> list[TappedMessage]:
        found: list[dict[str, Any]] = []
        while not found:
            found = opened.take(self._batch)
            if not found:
                await readable(opened.fileno())
        loop = asyncio.get_running_loop()
        until = loop.time() + self._linger
        while len(found) < self._batch and loop.time() < until:
            more = opened.take(self._batch - len(found))
            found += more
            if not more:
                try:
                    async with asyncio.timeout_at(until):
                        await readable(opened.fileno())
                except TimeoutError:
                    break
        return [message_from(each) for each in found]


def message_from(raw: dict[str, Any]) -> TappedMessage:
    """The engine's dict as a message."""
    return TappedMessage(**{name: raw[name] for name in FIELDS})


def nameless() -> str:
    """A name that no other tap of this process has."""
    return f"nameless-{next(numbers)}"


class HandlerError(Exception):
    """The function of a kept tap raised."""
