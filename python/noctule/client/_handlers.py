"""Handlers: ``@client.on("plant/{line}/temp")``."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from noctule.client.errors import ClientClosedError
from noctule.client.subscription import Subscription
from noctule.protocol.errors import InvalidArgumentError, NoctuleError
from noctule.protocol.message import Message
from noctule.protocol.topics import check_topic_filter

if TYPE_CHECKING:
    from noctule.client.client import Client

__all__ = ["Call", "Handler", "HandlerTask", "Pattern", "Responder"]

logger = logging.getLogger("noctule.client")

Handler: TypeAlias = Callable[..., Awaitable[object] | object]
"""Called with the message and the pattern's parameters, as far as it has arguments for them."""

Responder: TypeAlias = Callable[..., Awaitable[Any] | Any]
"""A handler whose result is the answer: bytes or text."""

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\.\.\.)?\}")


class Pattern:
    """A topic filter with names for its wildcards.

    ``{name}`` is one level, ``{name...}`` the rest of the levels, at the end only. Plain
    ``+`` and ``#`` are allowed and have no name.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.names: list[str] = []
        self._positions: list[tuple[str, int, bool]] = []
        levels = pattern.split("/")
        is_shared = levels[0] == "$share"
        for index, level in enumerate(levels):
            found = _PARAMETER.fullmatch(level)
            if found is None:
                if "{" in level or "}" in level:
                    raise InvalidArgumentError(f"{pattern!r}: a parameter fills a whole level")
                continue
            name, is_rest = found[1], bool(found[2])
            if name in self.names:
                raise InvalidArgumentError(f"{pattern!r} has {{{name}}} twice")
            self.names.append(name)
            self._positions.append((name, index - 2 * is_shared, is_rest))
            levels[index] = "#" if is_rest else "+"
        self.topic_filter = "/".join(levels)
        check_topic_filter(self.topic_filter)

    def parameters(self, topic: str) -> dict[str, str]:
        """The values that a matching topic has for the names."""
        levels = topic.split("/")
        return {
            name: "/".join(levels[index:]) if is_rest else levels[index]
            for name, index, is_rest in self._positions
        }


class Call:
    """A handler with what it wants to know, found out once."""

    def __init__(self, handler: Handler, pattern: Pattern) -> None:
        self.handler = handler
        self.pattern = pattern
        parameters = inspect.signature(handler).parameters
        kinds = [p.kind for p in parameters.values()]
        takes_any = inspect.Parameter.VAR_KEYWORD in kinds
        self._names = [n for n in pattern.names if takes_any or n in parameters]
        needed = [
            name
            for name, p in list(parameters.items())[1:]
            if p.default is inspect.Parameter.empty
            and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
            and name not in pattern.names
        ]
        if needed or not parameters:
            raise InvalidArgumentError(
                f"{getattr(handler, '__name__', handler)!r} must take the message first"
                + (f", and {pattern.pattern!r} has no {{{needed[0]}}}" if needed else "")
            )

    def arguments(self, message: Message) -> Mapping[str, str]:
        if not self._names:
            return {}
        values = self.pattern.parameters(message.topic)
        return {name: values[name] for name in self._names}

    async def __call__(self, message: Message) -> object:
        result = self.handler(message, **self.arguments(message))
        if inspect.isawaitable(result):
            return await result
        return result


class HandlerTask:
    """Calls a handler for each message of its subscription, from `start` to `stop`."""

    def __init__(
        self, client: Client, call: Call, messages: Subscription, concurrency: int
    ) -> None:
        if concurrency < 1:
            raise InvalidArgumentError("concurrency is at least 1")
        self._client = client
        self._call = call
        self._messages = messages
        self._concurrency = concurrency
        self._task: asyncio.Task[None] | None = None
        self._workers: list[asyncio.Task[None]] = []

    async def start(self, *, waits: bool) -> None:
        """Subscribes, and waits for the server's answer if asked to."""
        if self._task is not None:
            return
        if waits:
            await self._messages.open()
        self._task = asyncio.create_task(self._run(), name=f"noctule {self._call.pattern.pattern}")

    def start_soon(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"noctule {self._call.pattern.pattern}")

    async def stop(self, who: asyncio.Task[Any] | None) -> None:
        """Ends the handler where it stands, unless it is `who` that asks for it."""
        task = self._task
        if task is None or who in self._workers:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            if not self._messages.is_open:
                await self._messages.open()
            loop = asyncio.get_running_loop()
            self._workers = [loop.create_task(self._work()) for _ in range(self._concurrency)]
            await asyncio.gather(*self._workers)
        except ClientClosedError:
            return
        except NoctuleError as error:
            self._client._fail(error)

    async def _work(self) -> None:
        messages = self._messages
        async for message in messages:
            try:
                await self._call(message)
            except Exception as error:
                name = getattr(self._call.handler, "__qualname__", repr(self._call.handler))
                logger.exception("handler %s failed on %r", name, message.topic)
                if self._client._options.on_handler_error == "close":
                    self._client._fail(error)
                    return
            messages.acknowledge(message)
