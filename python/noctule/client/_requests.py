"""Request and response, MQTT 5.0 §4.10."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from noctule.client.options import MessageProperties, Payload
from noctule.client.subscription import Subscription
from noctule.protocol.errors import NotOfferedError
from noctule.protocol.message import Message
from noctule.protocol.packets import Version

if TYPE_CHECKING:
    from noctule.client.client import Client

__all__ = ["Requests"]

RESPONSE_PREFIX = "noctule/response"


class Requests:
    """A client's open requests: one topic for all answers, told apart by correlation data."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._numbers = itertools.count(1)
        self._open: dict[bytes, asyncio.Future[Message]] = {}
        self._answers: Subscription | None = None
        self._topic = ""
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    async def request(
        self,
        topic: str,
        payload: Payload,
        qos: int,
        timeout: float | None,
        properties: MessageProperties,
    ) -> Message:
        if self._client.version < Version.V5:
            raise NotOfferedError("request and response came with 5.0")
        async with asyncio.timeout(timeout):
            await self._start(qos)
            correlation = next(self._numbers).to_bytes(8, "big")
            answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
            self._open[correlation] = answer
            properties = properties.copy()
            properties["response_topic"] = self._topic
            properties["correlation_data"] = correlation
            try:
                await self._client.publish(topic, payload, qos=qos, **properties)
                self._client._waits_for_answer(1)
                try:
                    return await answer
                finally:
                    self._client._waits_for_answer(-1)
            finally:
                del self._open[correlation]

    async def _start(self, qos: int) -> None:
        """Subscribes to the answers, once.

        Below what the server calls its response information, if it said so.
        """
        async with self._starting:
            if self._answers is not None:
                return
            prefix = self._client.granted.response_information or RESPONSE_PREFIX
            self._topic = f"{prefix.rstrip('/')}/{self._client.client_id}"
            answers = self._client.subscribe(self._topic, qos=max(qos, 1))
            await answers.open()
            self._answers = answers
            self._reader = asyncio.create_task(self._read(answers), name="noctule responses")

    async def _read(self, answers: Subscription) -> None:
        async for message in answers:
            waiting = self._open.get(message.correlation_data or b"")
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    def fail(self, error: BaseException) -> None:
        """The client is closed: nobody will answer any more."""
        for waiting in self._open.values():
            if not waiting.done():
                waiting.set_exception(error)

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None
