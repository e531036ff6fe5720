"""Functions that are told what happened: in batches, beside the engine, never in its way.

A hook that raises or takes too long is logged and counted, and the next batch goes to it all the
same.
"""

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from noctule.broker.events import Event, EventStream

__all__ = ["EventHook", "Hooks"]

EventHook = Callable[[list[Event]], Awaitable[None] | None]

TIMEOUT_SECONDS = 30.0

logger = logging.getLogger("noctule.hooks")


class Hooks:
    """Hooks by the kind of event they want."""

    def __init__(self) -> None:
        self._hooks: list[tuple[str, EventHook]] = []
        self._task: asyncio.Task[None] | None = None
        self.failures: Counter[str] = Counter()

    def add(self, kind: str, hook: EventHook) -> None:
        """Tell `hook` of events of that kind, `connected` or `dropped`."""
        self._hooks.append((kind, hook))

    def registered(self) -> tuple[tuple[str, EventHook], ...]:
        """What is there now."""
        return tuple(self._hooks)

    def restore(self, before: tuple[tuple[str, EventHook], ...]) -> None:
        """Forget what was added since."""
        self._hooks[:] = before

    def wants(self, kind: str) -> bool:
        """Whether somebody is told of this kind."""
        return any(each == kind for each, _ in self._hooks)

    def start(self, open_stream: Callable[[], EventStream]) -> None:
        """Begin to tell; where nobody wants to know, no event is recorded."""
        if self._hooks:
            self._task = asyncio.create_task(self._tell_all(open_stream()))

    async def finished(self) -> None:
        """Wait until all that happened has been told."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _tell_all(self, stream: EventStream) -> None:
        async for batch in stream:
            for kind, hook in self._hooks:
                events = [event for event in batch if event["kind"] == kind]
                if events:
                    await self._tell(hook, events)

    async def _tell(self, hook: EventHook, events: list[Event]) -> None:
        name = getattr(hook, "__qualname__", repr(hook))
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = hook(events)
                if inspect.isawaitable(answer):
                    await answer
        except Exception:
            self.failures[name] += 1
            logger.exception("the hook %s failed on %d events", name, len(events))
