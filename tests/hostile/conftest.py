"""Fixtures of the hostile-client suite.

    siege     a running broker with a witness pair; behind the test the four conditions
              are checked: alive, bounded, alone, said once (docs/hostile-clients.md)

Sizes are scaled so that the suite takes minutes; NOCTULE_SOAK=1 plays the catalogue's own.
Marker: `hostile(id, ...)` names the rows of the catalogue that a test plays.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conformance.brokers import Broker, Brokers, NotOfferedError, Options
from tests.conformance.conftest import (
    client_id,
    clients,
    connecter,
    dialler,
    pytest_generate_tests,
    topic,
    unique,
)
from tests.conformance.wire import Client
from tests.hostile.witness import Witness

__all__ = ["client_id", "clients", "pytest_generate_tests", "topic"]

SOAK = bool(os.environ.get("NOCTULE_SOAK"))
# Of the 99th percentile; a loaded test machine may be given more.
MAX_DELAY_MILLISECONDS = float(os.environ.get("NOCTULE_HOSTILE_DELAY_MILLISECONDS", "250"))
RECOVERY_SECONDS = 10.0
MAX_GROWTH_BYTES = 32 << 20
MAX_GROWTH_SHARE = 0.2
MAX_LOG_LINES_PER_SECOND = 20
LIMITS = {"connect_timeout_seconds": 2}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "hostile(*ids): the rows of the catalogue that are played")
    config.addinivalue_line("markers", "broker(**options): start the broker with these options")
    config.addinivalue_line("markers", "versions(*levels): the protocol levels a test runs at")


def size(quick: int, full: int) -> int:
    """How many: the scaled-down number, or the catalogue's own in a soak."""
    return full if SOAK else quick


@dataclass(frozen=True)
class Measure:
    """What a broker held at one moment."""

    resident_bytes: int
    descriptors: int
    threads: int
    log_lines: int
    moment: float

    @classmethod
    def of(cls, broker: Broker) -> "Measure":
        return cls(
            broker.resident_bytes(),
            broker.descriptors(),
            broker.threads(),
            len(broker.log),
            time.monotonic(),
        )


@dataclass
class Siege:
    """The broker under attack and the means to attack it."""

    broker: Broker
    clients: list[Client]
    dial: Callable[..., Client]
    connect: Callable[..., Client]

    def unique(self) -> str:
        return unique()

    def watch(self, *filters: str, qos: int = 1, version: int = 5) -> Client:
        """A good client that is subscribed to these."""
        watcher = self.connect(version)
        watcher.subscribe(*filters, qos=qos)
        return watcher


@pytest.fixture(scope="session")
def brokers() -> Iterator[Brokers]:
    running = Brokers()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def witnesses() -> Iterator[dict[int, Witness]]:
    """The witness pair of each broker, by its process id."""
    found: dict[int, Witness] = {}
    yield found
    for witness in found.values():
        witness.stop()


@pytest.fixture
def siege(
    request: pytest.FixtureRequest,
    brokers: Brokers,
    witnesses: dict[int, Witness],
    clients: list[Client],
) -> Iterator[Siege]:
    marker = request.node.get_closest_marker("broker")
    options: dict[str, Any] = dict(marker.kwargs) if marker else {}
    options["limits"] = LIMITS | options.get("limits", {})
    try:
        broker = brokers.running(Options.of(**options))
    except NotOfferedError as reason:
        pytest.skip(str(reason))
    if broker.pid not in witnesses:
        witnesses[broker.pid] = Witness(broker.address)
    witness = witnesses[broker.pid]
    witness.report()
    before = Measure.of(broker)
    yield Siege(broker, clients, dialler(broker, clients), connecter(broker, clients))
    for client in clients:
        client.close()
    assert broker.alive(), "\n".join(broker.log[-30:])
    check_witness(witness)
    check_bounded(broker, before)
    check_log(broker, before)


def check_witness(witness: Witness) -> None:
    """Alive and alone: the witness lost nothing, saw nothing twice and was not slowed down."""
    report = witness.report()
    assert report.published > 0, report
    assert (report.lost, report.twice, report.disordered) == (0, 0, 0), report
    assert report.percentile_99 <= MAX_DELAY_MILLISECONDS, report


def check_bounded(broker: Broker, before: Measure) -> None:
    """Bounded: memory, descriptors and threads go back to where they were."""
    allowed = before.resident_bytes + max(
        MAX_GROWTH_BYTES, int(before.resident_bytes * MAX_GROWTH_SHARE)
    )
    deadline = time.monotonic() + RECOVERY_SECONDS
    while True:
        now = Measure.of(broker)
        back = now.descriptors <= before.descriptors and now.threads <= before.threads
        if back and now.resident_bytes <= allowed:
            return
        assert time.monotonic() < deadline, f"before {before}, {RECOVERY_SECONDS} s after {now}"
        time.sleep(0.05)


def check_log(broker: Broker, before: Measure) -> None:
    """Said once: no flood of log lines."""
    lines = len(broker.log) - before.log_lines
    seconds = time.monotonic() - before.moment
    assert lines <= MAX_LOG_LINES_PER_SECOND * (1 + seconds), broker.log[-lines:][:20]
