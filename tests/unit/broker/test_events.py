"""The engine's reports reach logging and listeners, and nobody is waited for."""

import asyncio
import logging
import socket
from collections import deque

import pytest

from noctule.broker.events import MAX_WAITING_BATCHES, Event, EventStream, Reports


class Engine:
    """An engine that reports what it is told to."""

    def __init__(self) -> None:
        self.observed: list[bool] = []
        self._waiting: deque[list[Event]] = deque()
        self._ended = False
        self._ours, self._theirs = socket.socketpair()

    def report(self, *events: Event) -> None:
        self._waiting.append(list(events))
        self._ours.send(b".")

    def end(self) -> None:
        self._ended = True
        self._ours.send(b".")

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()

    def observe(self, observed: bool) -> None:
        self.observed.append(observed)

    def event_fd(self) -> int:
        return self._theirs.fileno()

    def next_events(self, timeout_seconds: float | None, maximum: int = 1024) -> list[Event] | None:
        if self._waiting:
            self._theirs.recv(1)
            return self._waiting.popleft()
        return None if self._ended else []


@pytest.fixture
def engine() -> Engine:
    return Engine()


def connected(client: str) -> Event:
    return {"kind": "connected", "client": client}


async def test_batches_arrive_in_order_and_the_stream_ends(engine: Engine) -> None:
    reports = Reports(engine)
    reports.start()
    stream = reports.stream()
    assert engine.observed == [True]
    engine.report(connected("a"), connected("b"))
    assert await anext(stream) == [connected("a"), connected("b")]
    engine.report(connected("c"))
    engine.end()
    assert [batch async for batch in stream] == [[connected("c")]]
    await reports.finished()
    engine.close()


async def test_every_listener_gets_every_batch(engine: Engine) -> None:
    reports = Reports(engine)
    reports.start()
    streams = [reports.stream(), reports.stream()]
    engine.report(connected("a"))
    engine.end()
    await reports.finished()
    for stream in streams:
        assert [batch async for batch in stream] == [[connected("a")]]
    engine.close()


async def test_recording_ends_when_nobody_listens_any_more(engine: Engine) -> None:
    reports = Reports(engine)
    reports.start()
    stream: EventStream | None = reports.stream()
    assert stream is not None
    stream = None
    engine.report(connected("a"))
    engine.end()
    await reports.finished()
    assert engine.observed[-1] is False
    engine.close()


async def test_log_lines_go_to_logging(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    reports = Reports(engine)
    reports.start()
    stream = reports.stream()
    engine.report(
        {"kind": "log", "level": "warn", "target": "noctule_server::tls", "message": "50% done"}
    )
    engine.report({"kind": "failed", "message": "worker 1 panicked"})
    engine.end()
    assert [batch async for batch in stream] == [
        [{"kind": "failed", "message": "worker 1 panicked"}]
    ]
    assert caplog.record_tuples == [
        ("noctule.server.tls", logging.WARNING, "50% done"),
        ("noctule", logging.CRITICAL, "the engine failed: worker 1 panicked"),
    ]
    await reports.finished()
    engine.close()


async def test_slow_reader_loses_the_oldest_and_is_told_how_many() -> None:
    stream = EventStream()
    for number in range(MAX_WAITING_BATCHES + 2):
        stream.offer([connected(f"{number}"), connected(f"{number}+")])
    first = await anext(stream)
    assert first[0] == {"kind": "events_dropped", "events": 4}
    assert first[1] == connected("2")
    assert await anext(stream) == [connected("3"), connected("3+")]


async def test_reader_is_woken_by_the_end() -> None:
    stream = EventStream()
    reading = asyncio.create_task(anext(stream, None))
    await asyncio.sleep(0)
    stream.end()
    assert await reading is None
