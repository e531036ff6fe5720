"""What publishing gives back, for programs without an event loop.

Generated from ``noctule/client/receipt.py`` by ``tools/generate_sync.py``; change that.
"""

from __future__ import annotations

import asyncio

from noctule.client.receipt import Receipt as AsyncReceipt
from noctule.protocol._tables import ReasonCode
from noctule.sync._portal import Wrapper

__all__ = ["Receipt"]


class Receipt(Wrapper[AsyncReceipt]):
    """A published message's fate: ``receipt.wait()`` waits for it, as often as one likes.

    Awaiting returns the receipt itself once the server has answered, and raises
    PublishRefusedError where it has answered with an error, DeliveryUnknownError where it
    has lost the session, NotOfferedError or PacketTooLargeError where the message, which
    waited for a connection, cannot be sent over the one that came.

    To cancel the waiting takes nothing back: the message stays on its way.
    """

    def wait(self, timeout: float | None = None) -> Receipt:
        """Waits for the server's answer; TimeoutError if there is none in `timeout` seconds.

        Returns the receipt itself, or raises what `result` does. To stop waiting takes
        nothing back: the message stays on its way.
        """

        async def answered() -> None:
            async with asyncio.timeout(timeout):
                await self._wrapped

        self._portal.call(answered())
        return self

    @property
    def reason_code(self) -> ReasonCode | None:
        """What the server has answered; None as long as it has not."""
        return self._wrapped.reason_code

    @property
    def error(self) -> Exception | None:
        """Why there will be no answer."""
        return self._wrapped.error

    @property
    def is_settled(self) -> bool:
        """Whether it is over, well or not."""
        return self._wrapped.is_settled

    def result(self) -> Receipt:
        """The receipt itself if all is well, or the error that waiting would raise."""
        self._wrapped.result()
        return self

    def __repr__(self) -> str:
        return repr(self._wrapped)

    @property
    def reason_string(self) -> str | None:
        """What the server said for people to read."""
        return self._wrapped.reason_string
