"""Subscriptions in the process: messages of one filter, for `async for`."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Any, Self

from noctule.broker.events import readable
from noctule.broker.tap import Opened, Source, TappedMessage, message_from, nameless

__all__ = ["Subscription"]

BATCH = 256


class Subscription:
    """The messages of one filter from the moment it is opened, one by one.

        async with broker.subscribe("sensors/#") as messages:
            async for message in messages:
                ...

    It is open once the block is entered, or with the first message that is waited for. Like a tap
    it is a subscriber inside the engine: who reads slowly is a slow subscriber. At QoS 1 a slow
    reader's messages wait in its queue; at QoS 0 they are dropped as a client's are. It ends when
    it is closed, or when the broker stops.
    """

    def __init__(self, source: Source, topic_filter: str, qos: int) -> None:
        if qos not in (0, 1):
            raise ValueError(f"qos = {qos}: a subscription in the process has 0 or 1")
        self._source = source
        self._filter = topic_filter
        self._qos = qos
        self._opened: Opened | None = None
        self._waiting: deque[TappedMessage] = deque()
        self._ended = False

    async def open(self) -> None:
        """Subscribe: what is published after this is not missed. ConnectionError if it fails."""
        if self._opened is None and not self._ended:
            self._opened = await asyncio.to_thread(
                self._source.tap, nameless(), self._filter, self._qos, False
            )

    async def close(self) -> None:
        """End the subscription; what has not been read is gone."""
        self._ended = True
        self._waiting.clear()
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TappedMessage:
        await self.open()
        while not self._waiting:
            if self._opened is None:
                raise StopAsyncIteration
            try:
                found: list[dict[str, Any]] = self._opened.take(BATCH)
                if found:
                    self._opened.acknowledge()
                else:
                    await readable(self._opened.fileno())
            except ConnectionError:
                await self.close()
                raise StopAsyncIteration from None
            self._waiting.extend(map(message_from, found))
        return self._waiting.popleft()
