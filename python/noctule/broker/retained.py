"""The retained messages of a broker, to read, set and clear."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, Unpack

from noctule.broker.properties import MessageProperties
from noctule.broker.tap import TappedMessage, message_from

__all__ = ["Retained"]

BATCH = 256


class Source(Protocol):
    """The part of the engine that keeps them."""

    def retained(
        self,
        filter: str,  # noqa: A002
        after: str | None,
        maximum: int,
    ) -> tuple[list[dict[str, Any]], bool]:
        """Some of them, and whether there may be more."""

    def retained_of(self, topic: str) -> dict[str, Any] | None:
        """That of one topic."""


class Retained:
    """One message a topic at most: the last that was published with the retain flag.

    `$SYS/…` is in it too, and can be read only.
    """

    def __init__(self, source: Source, publish: Callable[..., Awaitable[None]]) -> None:
        self._source = source
        self._publish = publish

    def get(self, topic: str) -> TappedMessage | None:
        """The message of a topic, if it has one."""
        found = self._source.retained_of(topic)
        return None if found is None else message_from(found)

    async def messages(self, topic_filter: str = "#") -> AsyncIterator[TappedMessage]:
        """Those that match a filter, in the order of their topics.

        Taken in batches: what changes meanwhile may be seen or not. ValueError for a filter that
        is none.
        """
        after: str | None = None
        more = True
        while more:
            found, more = await asyncio.to_thread(self._source.retained, topic_filter, after, BATCH)
            for each in found:
                yield message_from(each)
                after = each["topic"]

    async def set(
        self, topic: str, payload: bytes, *, qos: int = 0, **properties: Unpack[MessageProperties]
    ) -> None:
        """Publish a message that stays; ValueError for an empty payload, which would clear it."""
        if not payload:
            raise ValueError("an empty payload clears a topic: say so with clear")
        await self._publish(topic, payload, qos=qos, retain=True, **properties)

    async def clear(self, topic: str) -> None:
        """Forget the message of a topic; its subscribers get an empty one, as MQTT has it."""
        await self._publish(topic, b"", retain=True)
