"""What publishing gives back: how the message fared, now or later."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TYPE_CHECKING, Self

from noctule.client.errors import PublishRefusedError
from noctule.protocol._tables import PropertyId, ReasonCode
from noctule.protocol.message import Delivery
from noctule.protocol.properties import NO_PROPERTIES, Properties

if TYPE_CHECKING:
    from noctule.client._flow import Flow

__all__ = ["Receipt"]


class Receipt(Delivery):
    """A published message's fate: ``await receipt`` waits for it, as often as one likes.

    Awaiting returns the receipt itself once the server has answered, and raises
    PublishRefusedError where it has answered with an error, DeliveryUnknownError where it
    has lost the session, NotOfferedError or PacketTooLargeError where the message, which
    waited for a connection, cannot be sent over the one that came.

    To cancel the waiting takes nothing back: the message stays on its way.
    """

    __slots__ = ("_client", "_waiting")

    _waiting: list[asyncio.Future[None]]

    def __init__(
        self,
        client: Flow | None,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool = False,
        properties: Properties = NO_PROPERTIES,
    ) -> None:
        # Not through super().__init__, for speed.
        self._client = client
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.properties = properties
        self.dup = False
        self.packet_identifier = 0
        self.reason_code: ReasonCode | None = None
        self.error: Exception | None = None
        self.context: object = None

    def __await__(self) -> Generator[object, None, Self]:
        if self.reason_code is None and self.error is None:
            yield from self._wait()
        if self.reason_code is not None and self.reason_code < 0x80:
            return self
        return self.result()

    def result(self) -> Self:
        """The receipt itself if all is well, or the error that awaiting would raise."""
        if self.error is not None:
            raise self.error
        if self.reason_code is None:
            raise asyncio.InvalidStateError("the server has not answered yet")
        if self.reason_code >= 0x80:
            raise PublishRefusedError(self.topic, self.reason_code, self.answer)
        return self

    @property
    def reason_string(self) -> str | None:
        """What the server said for people to read."""
        return self.answer.string(PropertyId.REASON_STRING)

    def _wait(self) -> Generator[object, None, None]:
        client = self._client
        assert client is not None
        future = asyncio.get_running_loop().create_future()
        if self.context is None:
            self.context = self._waiting = []
        self._waiting.append(future)
        client._waits_for_answer(1)
        try:
            yield from future
        finally:
            client._waits_for_answer(-1)

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    def __repr__(self) -> str:
        fate = "waiting" if self.reason_code is None else self.reason_code.name
        return f"<Receipt {self.topic!r} QoS {self.qos} {self.error or fate}>"
