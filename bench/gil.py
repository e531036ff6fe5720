"""Shows that Python code does not slow an embedded broker down.

    python -m bench.gil [--repeat 5] [--seconds 2]

A broker runs in this process. Three arms take turns: nothing else ("quiet"), a process that
spins ("process"), and a Python thread that spins in this very process, holding the GIL as much
as it can ("thread"). The spinning process is there for machines with few cores: it takes as much
CPU as the thread and no GIL, so what differs between the two is the GIL's doing alone. The
broker's worker has a core of its own; load generator and spinners share the others.
Exit code 1: throughput or latency of "thread" is worse than that of "process".
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.measure import Settings, load
from noctule.broker import Broker, BrokerOptions

ARMS = ("quiet", "process", "thread")
# What noise may make of equals: shares of the "process" arm, and the time slice of a scheduler
# that has two to serve on one core.
LEAST_THROUGHPUT = 0.8
MOST_LATENCY = 1.5
LATENCY_NOISE_US = 4_000

SHAPE = {"publishers": 10, "subscribers": 10, "topics": 10, "messages": 0}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("this needs two cores: one for the broker's worker")
    others = set(cores[1:])
    settings = Settings(Path(), load_cpus=",".join(map(str, sorted(others))))
    runs = asyncio.run(measure_all(given, cores[0], others, settings))
    worse = report(runs)
    sys.exit(1 if worse else 0)


async def measure_all(
    given: argparse.Namespace, core: int, others: set[int], settings: Settings
) -> list[dict[str, Any]]:
    """Every arm, `repeat` times in turn: one dictionary for each run."""
    options = BrokerOptions(listeners=("mqtt://127.0.0.1:0",), workers=1, durability="memory")
    os.sched_setaffinity(0, {core})  # the worker's thread inherits it
    runs = []
    async with Broker(options) as broker:
        os.sched_setaffinity(0, others)
        port = int(broker.addresses[0].rpartition(":")[2])
        for _ in range(given.repeat):
            for arm in ARMS:
                with spinning(arm, others):
                    runs.append({"arm": arm, **await measure(port, given.seconds, settings)})
    return runs


async def measure(port: int, seconds: float, settings: Settings) -> dict[str, float]:
    """Throughput of a closed loop, then latency at 5,000 messages a second."""
    base = {**SHAPE, "port": port, "duration_seconds": seconds}
    closed = await asyncio.to_thread(load, base, settings)
    paced = await asyncio.to_thread(load, {**base, "qos": 1, "rate": 5_000.0}, settings)
    if closed["lost"] or paced["lost"]:
        sys.exit("messages were lost")
    latency = paced["latency"]
    return {
        "per_second": closed["per_second"],
        "p50_us": latency["p50_us"],
        "p99_us": latency["p99_us"],
    }


@contextmanager
def spinning(arm: str, cores: set[int]) -> Iterator[None]:
    """Something that takes a whole core's time, or nothing."""
    if arm == "quiet":
        yield
    elif arm == "process":
        pinned = ["taskset", "-c", ",".join(map(str, sorted(cores)))]
        process = subprocess.Popen([*pinned, sys.executable, "-c", "while True: pass"])
        try:
            yield
        finally:
            process.kill()
            process.wait()
    else:
        over = threading.Event()
        thread = threading.Thread(target=spin, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def spin(over: threading.Event) -> None:
    """Bytecode and nothing else; the GIL is let go only when another thread asks for it."""
    while not over.is_set():
        for _ in range(10_000):
            pass


def report(runs: list[dict[str, Any]]) -> bool:
    """Prints the medians of each arm; whether the thread does worse than the process."""

    def median(arm: str, figure: str) -> float:
        return statistics.median(run[figure] for run in runs if run["arm"] == arm)

    print(f"{'spinning':10} {'messages/s':>12} {'p50 µs':>8} {'p99 µs':>8}")
    for arm in ARMS:
        figures = [median(arm, name) for name in ("per_second", "p50_us", "p99_us")]
        print(f"{arm:10} {figures[0]:12,.0f} {figures[1]:8,.0f} {figures[2]:8,.0f}")
    throughput = median("thread", "per_second") / median("process", "per_second")
    allowed = median("process", "p99_us") * MOST_LATENCY + LATENCY_NOISE_US
    slower = throughput < LEAST_THROUGHPUT
    later = median("thread", "p99_us") > allowed
    print(f"thread against process: {throughput:.2f} of the throughput")
    return slower or later


if __name__ == "__main__":
    main()
