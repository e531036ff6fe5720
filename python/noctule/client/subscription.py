"""Messages of some filters, in a queue with a limit, to be iterated over."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

from noctule.protocol._tables import ReasonCode
from noctule.protocol.errors import InvalidArgumentError
from noctule.protocol.message import Message
from noctule.protocol.packets import SubscriptionRequest

if TYPE_CHECKING:
    from noctule.client.client import Client

__all__ = ["Overflow", "Subscription"]

Overflow: TypeAlias = Literal["block", "drop-oldest", "drop-newest"]

HARD_LIMIT_FACTOR = 16
"""How far over its limit a blocking queue may go while the program waits for an answer."""


class Subscription:
    """What `Client.subscribe` returns: subscribed within ``async with``, and iterable.

        async with client.subscribe("sensors/+/temperature", qos=1) as messages:
            async for message in messages:
                ...

    The queue holds `queue_limit` messages. When it is full, "block" stops reading from the
    network until there is room, so that the server has to wait (TCP's back-pressure);
    "drop-oldest" and "drop-newest" lose messages and count them in `dropped`.

    A QoS 1 or 2 message is acknowledged when the program takes it out of the queue, or,
    with `manual_acknowledgement`, when the program calls `acknowledge`.

    While the program itself waits for an answer of the server (say, publishes with QoS 1
    inside of the loop), reading has to go on even with a full queue. What then goes beyond
    16 times the limit is dropped at QoS 0, and counted; QoS 1 and 2 are kept, and limited by
    the receive maximum.
    """

    def __init__(
        self,
        client: Client,
        requests: tuple[SubscriptionRequest, ...],
        *,
        queue_limit: int,
        overflow: Overflow,
        manual_acknowledgement: bool,
        durable: bool,
    ) -> None:
        if queue_limit < 1:
            raise InvalidArgumentError("queue_limit is at least 1 message")
        if overflow not in ("block", "drop-oldest", "drop-newest"):
            raise InvalidArgumentError(f"overflow {overflow!r}")
        self._client = client
        self._requests = requests
        self._limit = queue_limit
        self._low = queue_limit // 2
        self._overflow = overflow
        self._is_manual = manual_acknowledgement
        self._acknowledgements = client._to_acknowledge
        self._takers = client._takers
        self._is_durable = durable
        self._items: deque[Message] = deque()
        self._held: dict[Message, None] = {}
        self._waiters: set[asyncio.Future[None]] = set()
        self._is_blocking = False
        self._ceiling = 0
        self._is_open = False
        self._is_ended = False
        self._error: BaseException | None = None
        self._dropped = 0
        self._reason_codes: dict[str, ReasonCode] = {}

    @property
    def filters(self) -> tuple[str, ...]:
        """The topic filters it was made with."""
        return tuple(request.topic_filter for request in self._requests)

    @property
    def is_open(self) -> bool:
        """Whether it is subscribed, or about to be."""
        return self._is_open

    @property
    def reason_codes(self) -> Mapping[str, ReasonCode]:
        """What the server has granted for each filter: a QoS, as 0x00, 0x01 or 0x02."""
        return self._reason_codes

    @property
    def dropped(self) -> int:
        """How many messages were lost because the queue was full."""
        return self._dropped

    def __len__(self) -> int:
        """How many messages wait in the queue."""
        return len(self._items)

    # --- Opening and closing ----------------------------------------------------------

    async def open(self) -> None:
        """Subscribes, and waits for the server's answer.

        While there is no connection, it waits for one. SubscribeRefusedError if the server
        refuses a filter, and then none of them stays.
        """
        if self._is_open:
            raise InvalidArgumentError("the subscription is open already")
        self._is_open = True
        try:
            await self._client._subscribe(self, self._requests)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Unsubscribes, and drops what is in the queue. The end of a running iteration."""
        if not self._is_open:
            return
        self._is_open = False
        self._end(None)
        try:
            await self._client._unsubscribe(self, is_durable=self._is_durable)
        finally:
            self._settle_rest()

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

    # --- Taking messages --------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        items = self._items
        if not items:
            await self._wait()
        message = items.popleft()
        if self._is_blocking and len(items) <= self._low:
            self._unblock()
        if message.packet_identifier:
            acknowledgements = self._acknowledgements
            if acknowledgements and not self._is_manual and not self._takers:
                # For speed (`bench/client`): a flush that takes it along is due already.
                acknowledgements.append(message)
            else:
                self._taken(message)
        return message

    async def next(self, timeout: float | None = None) -> Message:
        """The next message; TimeoutError if there is none within `timeout` seconds.

        StopAsyncIteration becomes ClientClosedError or the reason why there is an end.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self.__anext__()
        except StopAsyncIteration:
            raise InvalidArgumentError("the subscription is closed") from None

    async def take(self, maximum: int = 1024) -> list[Message]:
        """Waits for a message and returns it with those behind it, `maximum` at most.

        An empty list is the end: the subscription is closed.
        """
        try:
            taken = [await self.__anext__()]
        except StopAsyncIteration:
            return []
        while self._items and len(taken) < maximum:
            taken.append(await self.__anext__())
        return taken

    def acknowledge(self, message: Message, reason_code: ReasonCode = ReasonCode.SUCCESS) -> None:
        """Tells the server that `message` is taken care of; with `manual_acknowledgement`.

        A code of 0x80 and above tells a 5.0 server that it is not, and will not be. Answers
        leave in the order of the messages, whatever the order of the calls. Messages of
        QoS 0 and those acknowledged before are let be.
        """
        if self._held.pop(message, True) is None:
            self._client._acknowledge(message, reason_code)

    def _taken(self, message: Message) -> None:
        if self._is_manual:
            self._held[message] = None
        else:
            self._client._acknowledge(message)

    async def _wait(self) -> None:
        """Until there is a message; raises what ends the iteration."""
        while not self._items:
            if self._error is not None:
                raise self._error
            if self._is_ended or not self._is_open:
                raise StopAsyncIteration
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    # --- For the client ---------------------------------------------------------------

    def _arrived(self) -> None:
        """Messages have been put into the queue: wakes the program, and keeps the limit."""
        if self._waiters:
            self._wake()
            if self._items[-1].packet_identifier:
                # Due right behind the woken program, so that one write acknowledges it all.
                self._client._schedule_flush()
        if len(self._items) >= self._limit:
            self._overflown()

    def _wake(self) -> None:
        """Wakes all who wait: several tasks may take from one queue."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _overflown(self) -> None:
        items = self._items
        if self._overflow == "block":
            if not self._is_blocking:
                # What was read together with the last message that fits is here already.
                self._is_blocking = True
                self._ceiling = max(len(items), self._limit * HARD_LIMIT_FACTOR)
                self._client._block(self)
            while len(items) > self._ceiling and not items[-1].packet_identifier:
                self._drop(items.pop())
            return
        while len(items) > self._limit:
            self._drop(items.popleft() if self._overflow == "drop-oldest" else items.pop())

    def _drop(self, message: Message) -> None:
        self._dropped += 1
        self._client._acknowledge(message)

    def _unblock(self) -> None:
        self._is_blocking = False
        self._client._unblock(self)

    def _end(self, error: BaseException | None) -> None:
        """No more messages will come; those in the queue can still be taken."""
        self._is_ended = True
        self._error = self._error or error
        self._wake()
        if self._is_blocking:
            self._unblock()

    def _settle_rest(self) -> None:
        """Answers for what the program did not take, so that later answers need not wait."""
        if not self._is_durable:
            for message in (*self._held, *self._items):
                self._client._acknowledge(message)
        self._dropped += len(self._items)
        self._held.clear()
        self._items.clear()
