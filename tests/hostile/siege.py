"""A broker under attack, and the four conditions that hold whatever is done to it.

Alive, bounded, alone, said once: docs/hostile-clients.md. Sizes are scaled so that the suite
takes minutes; NOCTULE_SOAK=1 plays the catalogue's own.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.conformance.brokers import Broker
from tests.conformance.certificates import client_context
from tests.conformance.conftest import connecter, dialler, unique
from tests.conformance.wire import Client
from tests.hostile.witness import Witness
from tests.stopwatch import Stopwatch

__all__ = ["SOAK", "Siege", "besieged", "size"]

SOAK = bool(os.environ.get("NOCTULE_SOAK"))
# Of the 99th percentile, without what the machine keeps the processes waiting for.
MAX_DELAY_MILLISECONDS = float(os.environ.get("NOCTULE_HOSTILE_DELAY_MILLISECONDS", "250"))
RECOVERY_SECONDS = 10.0
MAX_GROWTH_BYTES = 32 << 20
MAX_GROWTH_SHARE = 0.2
MAX_LOG_LINES_PER_SECOND = 20


def size(quick: int, full: int) -> int:
    """How many: the scaled-down number, or the catalogue's own in a soak."""
    return full if SOAK else quick


@contextmanager
def besieged(broker: Broker, witness: Witness, clients: list[Client]) -> Iterator["Siege"]:
    """Attack in here: behind it the attackers are cut and the four conditions are checked."""
    witness.report()
    before = Measure.of(broker)
    yield Siege(broker, clients, dialler(broker, clients), connecter(broker, clients))
    for client in clients:
        client.close()
    assert broker.alive(), "\n".join(broker.log[-30:])
    check_witness(witness)
    check_bounded(broker, before)
    check_log(broker, before)


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

    def stopwatch(self) -> Stopwatch:
        """For what the broker may take no longer than so long."""
        return Stopwatch(self.broker.pid)

    def dial_tls(self) -> Client:
        """A socket to the TLS listener, on which nothing has been said."""
        client = Client(self.broker.addresses["tls"])
        self.clients.append(client)
        return client

    def connect_tls(self, certificate: str = "", listener: str = "tls") -> Client:
        """A good client that comes by TLS."""
        address, tls = self.broker.addresses[listener], client_context(certificate)
        client = Client(address, client_id=unique(), tls=tls)
        self.clients.append(client)
        client.connect()
        return client

    def watch(self, *filters: str, qos: int = 1, version: int = 5) -> Client:
        """A good client that is subscribed to these."""
        watcher = self.connect(version)
        watcher.subscribe(*filters, qos=qos)
        return watcher


def check_witness(witness: Witness) -> None:
    """Alive and alone: the witness lost nothing, saw nothing twice and was not slowed down."""
    report = witness.report()
    assert report.published > 0, report
    assert (report.lost, report.twice, report.disordered) == (0, 0, 0), report
    assert report.own_percentile_99 <= MAX_DELAY_MILLISECONDS, report


def check_bounded(broker: Broker, before: Measure) -> None:
    """Bounded: memory, descriptors and threads go back to where they were."""
    allowed = before.resident_bytes + max(
        MAX_GROWTH_BYTES, int(before.resident_bytes * MAX_GROWTH_SHARE)
    )
    stopwatch = Stopwatch(broker.pid)
    while True:
        now = Measure.of(broker)
        back = now.descriptors <= before.descriptors and now.threads <= before.threads
        if back and now.resident_bytes <= allowed:
            return
        late = stopwatch.seconds() > RECOVERY_SECONDS
        assert not late, f"before {before}, {RECOVERY_SECONDS} s after {now}"
        time.sleep(0.05)


def check_log(broker: Broker, before: Measure) -> None:
    """Said once: no flood of log lines."""
    lines = len(broker.log) - before.log_lines
    seconds = time.monotonic() - before.moment
    assert lines <= MAX_LOG_LINES_PER_SECOND * (1 + seconds), broker.log[-lines:][:20]
