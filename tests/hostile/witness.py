"""A well-behaved pair of clients in a process of its own, so that no attack slows it down.

`python -m tests.hostile.witness HOST PORT PROCESS NAME` publishes numbered messages at QoS 1 and
receives them; PROCESS is the identifier of the broker's. Each line "end" on its input makes it
wait for all of them and print one line of JSON about the time since the last report. Any
misbehaviour of the broker towards it ends it with a traceback.
"""

import json
import select
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from tests.conformance.wire import Client
from tests.stopwatch import Stopwatch

ROOT = Path(__file__).parents[2]
INTERVAL_SECONDS = 0.02
DRAIN_SECONDS = 30.0


@dataclass(frozen=True)
class Report:
    """What a witness saw since its last report; times in milliseconds."""

    published: int
    received: int
    lost: int
    twice: int
    disordered: int
    percentile_99: float
    slowest: float
    own_percentile_99: float
    """As `percentile_99`, without the time that broker and witness waited for a processor."""


class Witness:
    """The test's side of a witness process."""

    def __init__(self, address: tuple[str, int], process: int, name: str = "pair") -> None:
        command = [sys.executable, "-m", "tests.hostile.witness", address[0], str(address[1])]
        command += [str(process), name]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self.report()
        except AssertionError:
            self.stop()
            raise

    def report(self) -> Report:
        """What was seen since the last report; the count begins anew."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("end\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the witness was disconnected or handed a bad packet; see its traceback"
        return Report(**json.loads(line))

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Pair:
    """The two clients, and what they saw in the span that the next report is about."""

    def __init__(self, address: tuple[str, int], process: int, name: str) -> None:
        self._process = process
        self._topic = f"witness/{name}"
        self._subscriber = Client(address, client_id=f"witness-subscriber-{name}")
        self._subscriber.connect(keep_alive=0)
        self._subscriber.subscribe(self._topic, qos=1)
        self._publisher = Client(address, client_id=f"witness-publisher-{name}")
        self._publisher.connect(keep_alive=0)
        self._next_number = 0
        self.begin()

    def begin(self) -> None:
        """Forget what was seen."""
        self._sent: dict[int, tuple[float, Stopwatch]] = {}
        self._seen: list[int] = []
        self._delays: list[float] = []
        self._own_delays: list[float] = []

    def publish(self) -> None:
        self._sent[self._next_number] = (time.monotonic(), Stopwatch(self._process))
        self._publisher.send_publish(self._topic, b"%d" % self._next_number, 1)
        self._next_number += 1

    def take(self, seconds: float) -> None:
        """Receive what comes in this time."""
        deadline = time.monotonic() + seconds
        while self._subscriber.has_packet(max(0.0, deadline - time.monotonic())):
            number = int(self._subscriber.expect_message(self._topic).payload)
            self._seen.append(number)
            if number in self._sent:
                begin, stopwatch = self._sent[number]
                self._delays.append(time.monotonic() - begin)
                self._own_delays.append(stopwatch.seconds())
        while self._publisher.has_packet():
            self._publisher.expect("PUBACK", code=0)

    def drain(self) -> None:
        """Receive until all that was sent has come."""
        deadline = time.monotonic() + DRAIN_SECONDS
        while len(set(self._seen)) < len(self._sent) and time.monotonic() < deadline:
            self.take(INTERVAL_SECONDS)

    def report(self) -> Report:
        seen, delays, own = self._seen, sorted(self._delays), sorted(self._own_delays)
        return Report(
            published=len(self._sent),
            received=len(seen),
            lost=len(set(self._sent) - set(seen)),
            twice=len(seen) - len(set(seen) & set(self._sent)),
            disordered=sum(later < earlier for earlier, later in pairwise(seen)),
            percentile_99=delays[int(len(delays) * 0.99)] * 1_000 if delays else 0.0,
            slowest=delays[-1] * 1_000 if delays else 0.0,
            own_percentile_99=own[int(len(own) * 0.99)] * 1_000 if own else 0.0,
        )


def main(host: str, port: int, process: int, name: str) -> None:
    """Publish and receive until the input ends."""
    pair = Pair((host, port), process, name)
    while True:
        pair.publish()
        pair.take(INTERVAL_SECONDS)
        if not select.select([sys.stdin], [], [], 0)[0]:
            continue
        if not sys.stdin.readline():
            return
        pair.drain()
        print(json.dumps(asdict(pair.report())), flush=True)
        pair.begin()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
