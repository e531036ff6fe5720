"""Everything at once for as long as one likes: `python -m tests.durability.soak MINUTES`.

A broker with its store under torture's clients (QoS 1 and 2, retained messages, shared
subscriptions, subscriptions that change without a pause), with crowds that come and go and
publish to each other. Each cycle ends with a kill -9 or an orderly stop, and torture counts what
was promised: nothing acknowledged is lost, nothing of QoS 2 comes twice, order, retained values,
subscriptions, sessions. A second broker without a store runs through it all, under crowds and a
witness pair, and its memory and descriptors must stay as they were.
"""

import argparse
import random
import signal
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.conformance import brokers
from tests.conformance.brokers import Broker, Options
from tests.conformance.wire import Client, ClosedError, packets
from tests.hostile.witness import Witness
from tests.served_broker import ServedBroker

from .torture import Torture

CYCLE_KILLS = 5
CROWD = 20
WARM_UP_SECONDS = 30.0
MAX_GROWTH_BYTES = 32 << 20
REPORT_SECONDS = 60.0


class OrderlyTorture(Torture):
    """Torture in which every third broker is terminated instead of killed."""

    def end(self, broker: ServedBroker) -> None:
        """Kill it, or ask it to stop."""
        orderly = self.random.random() < 1 / 3
        broker.process.send_signal(signal.SIGTERM if orderly else signal.SIGKILL)


class Crowd(threading.Thread):
    """Clients that connect, subscribe, publish, unsubscribe and go, well or badly."""

    def __init__(self, address: tuple[str, int], seed: int) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._chance = random.Random(seed)
        self._is_over = threading.Event()
        self.clients = 0
        self.messages = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Until `stop`, or until the broker misbehaves."""
        try:
            while not self._is_over.is_set():
                self._gather()
        except BaseException as failure:
            self.failure = failure

    def _gather(self) -> None:
        with ExitStack() as stack:
            members = [stack.enter_context(self._member(at)) for at in range(CROWD)]
            for member in members:
                member.subscribe("crowd/+", f"crowd/{self._chance.randrange(CROWD)}", qos=1)
            for _ in range(10):
                speaker = self._chance.choice(members)
                qos, topic = self._chance.randrange(3), f"crowd/{self._chance.randrange(CROWD)}"
                assert speaker.publish(topic, self._chance.randbytes(500), qos) < 0x80
                self.messages += 1
            for member in members:
                self._leave(member)

    def _member(self, at: int) -> Client:
        version = self._chance.choice((3, 4, 5))
        client = Client(self._address, version, client_id=f"crowd-{self.name}-{at}")
        client.connect(clean=self._chance.random() < 0.5)
        self.clients += 1
        return client

    def _leave(self, member: Client) -> None:
        if self._chance.random() < 0.3:
            member.cut()
            return
        with suppress(ClosedError, OSError):
            member.unsubscribe("crowd/+")
            member.send(packets.disconnect(member.version))

    def stop(self) -> None:
        """Let the crowd go home; raises what went wrong."""
        self._is_over.set()
        self.join(60)
        if self.failure is not None:
            raise self.failure


class Soak:
    """One run."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.torture = OrderlyTorture(directory / "data", "disk", seed)
        self.kills = 0
        self.seed = seed
        self.lost = self.twice = 0
        self.worst = 0.0
        self.highest = self.settled = 0

    def run(self, minutes: float) -> None:
        """Raises AssertionError where a promise was broken."""
        limits = {"max_session_expiry_seconds": 5}
        broker = brokers.start(Options.of(limits=limits))
        witness = Witness(broker.address, broker.pid)
        crowds = [Crowd(broker.address, self.seed + at) for at in range(2)]
        try:
            for crowd in crowds:
                crowd.start()
            self._cycle(broker, witness, crowds, time.monotonic() + minutes * 60)
            for crowd in crowds:
                crowd.stop()
        finally:
            witness.stop()
            broker.stop()
        clients = sum(crowd.clients for crowd in crowds)
        messages = sum(crowd.messages for crowd in crowds)
        print(
            f"{minutes:g} minutes, seed {self.seed}: {self.kills} kills and stops, "
            f"{self.torture.delivered} durable messages counted; {clients} clients came and went "
            f"with {messages} messages; witness lost {self.lost}, twice {self.twice}, worst p99 "
            f"{self.worst:.1f} ms; memory {self.settled >> 20} MiB warm, at most "
            f"{self.highest >> 20} MiB"
        )

    def _cycle(self, broker: Broker, witness: Witness, crowds: list[Crowd], ends_at: float) -> None:
        warm_at = time.monotonic() + WARM_UP_SECONDS
        report_at = time.monotonic() + REPORT_SECONDS
        while time.monotonic() < ends_at:
            self.torture.run(CYCLE_KILLS)
            self.kills += CYCLE_KILLS
            self._check(broker, witness, crowds, is_warm=time.monotonic() > warm_at)
            if time.monotonic() > report_at:
                report_at += REPORT_SECONDS
                print(
                    f"{self.kills} kills, {self.torture.delivered} messages, "
                    f"{broker.resident_bytes() >> 20} MiB, {broker.descriptors()} descriptors",
                    flush=True,
                )

    def _check(
        self, broker: Broker, witness: Witness, crowds: list[Crowd], *, is_warm: bool
    ) -> None:
        for crowd in crowds:
            assert crowd.failure is None, crowd.failure
        report = witness.report()
        self.lost += report.lost
        self.twice += report.twice
        self.worst = max(self.worst, report.percentile_99)
        assert (report.lost, report.twice, report.disordered) == (0, 0, 0), report
        assert broker.alive(), broker.log[-30:]
        resident = broker.resident_bytes()
        self.highest = max(self.highest, resident)
        if not is_warm:
            self.settled = max(self.settled, resident)
            return
        assert resident < self.settled + MAX_GROWTH_BYTES, f"{self.settled} grew to {resident}"


def main() -> None:
    """Run for the minutes given; exits with a traceback where a promise was broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("minutes", type=float)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="noctule-soak-") as directory:
        Soak(Path(directory), arguments.seed).run(arguments.minutes)


if __name__ == "__main__":
    main()
