"""What the engine reports, handed on: its log lines to `logging`, its events to who listens.

The engine reports in batches, through a descriptor that is readable while some wait. Nothing
runs in Python while there is nothing to report, and events are only recorded while somebody
listens.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol, Self
from weakref import WeakSet

__all__ = ["Event", "EventStream", "Reports"]

Event = dict[str, object]
"""`kind`, such as "connected", and what there is to say of it, by name."""

BATCH = 1024
# What a listener may leave unread before it loses the oldest batch.
MAX_WAITING_BATCHES = 64


class Source(Protocol):
    """The part of the engine that reports."""

    def observe(self, observed: bool) -> None:
        """Record events from now on, or no longer."""

    def event_fd(self) -> int:
        """A descriptor that is readable while reports wait, and after the end."""

    def next_events(
        self, timeout_seconds: float | None, maximum: int = BATCH
    ) -> list[Event] | None:
        """Reports, oldest first; None once the engine has stopped and all were taken."""


class EventStream:
    """Batches of events, for `async for`; ends when the broker has stopped.

    Who reads too slowly is not waited for: beyond 64 batches the oldest is dropped, and the next
    batch begins with an event `{"kind": "events_dropped", "events": N}`.
    """

    def __init__(self) -> None:
        self._batches: deque[list[Event]] = deque()
        self._dropped = 0
        self._ended = False
        self._changed = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Event]:
        while not self._batches:
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        batch = self._batches.popleft()
        if self._dropped:
            batch = [{"kind": "events_dropped", "events": self._dropped}, *batch]
            self._dropped = 0
        return batch

    def offer(self, batch: list[Event]) -> None:
        """Put a batch behind the others."""
        if len(self._batches) == MAX_WAITING_BATCHES:
            self._dropped += len(self._batches.popleft())
        self._batches.append(batch)
        self._changed.set()

    def end(self) -> None:
        """Let the reader end when it has read what waits."""
        self._ended = True
        self._changed.set()


class Reports:
    """Takes the engine's reports from `start` on, until the engine has stopped."""

    def __init__(self, source: Source) -> None:
        self._source = source
        # Weak: who leaves its `async for` need not say so.
        self._streams: WeakSet[EventStream] = WeakSet()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take reports; needs a running event loop that can watch a descriptor."""
        self._task = asyncio.create_task(self._hand_on())

    async def finished(self) -> None:
        """Wait until the engine has stopped and all that it had to say is handed on."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def stream(self) -> EventStream:
        """A stream of the events from now on."""
        stream = EventStream()
        self._streams.add(stream)
        self._source.observe(True)
        return stream

    async def _hand_on(self) -> None:
        async for reports in self._batches():
            events = [report for report in reports if not logged(report)]
            streams = tuple(self._streams)
            if not streams:
                self._source.observe(False)
            for stream in streams if events else ():
                stream.offer(events)
        for stream in tuple(self._streams):
            stream.end()

    async def _batches(self) -> AsyncIterator[list[Event]]:
        while (reports := self._source.next_events(0.0, BATCH)) is not None:
            if reports:
                yield reports
            else:
                await readable(self._source.event_fd())


async def readable(descriptor: int) -> None:
    """Wait until the descriptor is readable; it is watched only meanwhile."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    loop.add_reader(descriptor, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(descriptor)


def logged(report: Event) -> bool:
    """Pass a log line to `logging`; False where the report is an event."""
    if report["kind"] == "failed":
        logging.getLogger("noctule").critical("the engine failed: %s", report["message"])
        return False
    if report["kind"] == "denied":
        log_denied(report)
    if report["kind"] != "log":
        return False
    name = str(report["target"]).replace("::", ".").replace("noctule_", "noctule.", 1)
    level = logging.getLevelNamesMapping().get(str(report["level"]).upper(), logging.WARNING)
    logging.getLogger(name).log(level, "%s", report["message"])
    return True


def log_denied(report: Event) -> None:
    """A line for what a client was not allowed; its names are quoted, so they forge no line."""
    user, rule = report.get("user"), report.get("rule")
    logging.getLogger("noctule.access").warning(
        "denied: client %r%s may not %s %r: %s",
        report["client"],
        "" if user is None else f" of user {user!r}",
        f"{report['action']} to",
        report["topic"],
        "no rule allows it" if rule is None else f"by the rule {rule!r}",
    )
