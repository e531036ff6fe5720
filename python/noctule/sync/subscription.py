"""Messages of some filters, for programs without an event loop.

Generated from ``noctule/client/subscription.py`` by ``tools/generate_sync.py``; change that.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from noctule.protocol._tables import ReasonCode
from noctule.protocol.message import Message
from noctule.sync._portal import Queue

__all__ = ["Subscription"]


class Subscription(Queue):
    """What `Client.subscribe` returns: subscribed within ``with``, and iterable.

        with client.subscribe("sensors/+/temperature", qos=1) as messages:
            for message in messages:
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

    @property
    def filters(self) -> tuple[str, ...]:
        """The topic filters it was made with."""
        return self._wrapped.filters

    @property
    def is_open(self) -> bool:
        """Whether it is subscribed, or about to be."""
        return self._wrapped.is_open

    @property
    def reason_codes(self) -> Mapping[str, ReasonCode]:
        """What the server has granted for each filter: a QoS, as 0x00, 0x01 or 0x02."""
        return self._wrapped.reason_codes

    @property
    def dropped(self) -> int:
        """How many messages were lost because the queue was full."""
        return self._wrapped.dropped

    def open(self) -> None:
        """Subscribes, and waits for the server's answer.

        While there is no connection, it waits for one. SubscribeRefusedError if the server
        refuses a filter, and then none of them stays.
        """
        self._portal.call(self._wrapped.open())

    def close(self) -> None:
        """Unsubscribes, and drops what is in the queue. The end of a running iteration."""
        self._portal.call(self._wrapped.close())

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def acknowledge(self, message: Message, reason_code: ReasonCode = ReasonCode.SUCCESS) -> None:
        """Tells the server that `message` is taken care of; with `manual_acknowledgement`.

        A code of 0x80 and above tells a 5.0 server that it is not, and will not be. Answers
        leave in the order of the messages, whatever the order of the calls. Messages of
        QoS 0 and those acknowledged before are let be.
        """
        self._portal.run(self._wrapped.acknowledge, message, reason_code)
