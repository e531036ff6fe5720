"""Measures what many things cost: connections, retained messages, subscriptions.

    python -m bench.sizes [--only connections,retained,subscriptions,storm] [--scale 1.0]

Each figure is the growth of a fresh broker's resident memory, divided by how many there are; the
storm is the latency of steady publishing while subscriptions come and go. Exit code 1: a goal is
not met, or something was lost.
"""

import argparse
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.measure import Settings, load
from bench.measured_process import Broker, read_specs

HERE = Path(__file__).parent

# What is measured: unit, and the most it may be.
GOALS = {
    "connections": ("bytes for each idle connection", 1_000.0),
    "retained": ("bytes for each retained message of 16 bytes", 300.0),
    "subscriptions": ("bytes for each subscription, ten a session", 250.0),
    "storm": ("ms, p99 of publishing while subscriptions come and go", 50.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(GOALS))
    parser.add_argument("--broker", default="noctule")
    parser.add_argument("--scale", type=float, default=1.0, help="a factor on how many there are")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    settings = Settings(given.out, limit_seconds=600)
    missed = False
    for name in given.only.split(","):
        what, goal = GOALS[name]
        value = RUNS[name](given.broker, settings, given.scale)
        missed |= value > goal
        print(f"{name:14} {value:8,.1f} {what} (at most {goal:,.0f})", flush=True)
    sys.exit(1 if missed else 0)


@contextmanager
def fresh(name: str, settings: Settings) -> Iterator[Broker]:
    """A broker that has just been started."""
    specs = read_specs(tomllib.loads((HERE / "brokers.toml").read_text()))
    spec = next(spec for spec in specs if spec.name == name)
    with Broker(spec, settings.broker_cpus, settings.folder / f"{name}.log") as broker:
        yield broker


def clean(report: dict[str, Any]) -> dict[str, Any]:
    """The report, if nothing was lost or refused."""
    if report["lost"] or report["refused"] or report["stalled"]:
        sys.exit(f"{report['kind']}: {report['first_problem'] or 'messages were lost'}")
    return report


def growth(
    name: str, settings: Settings, scenario: dict[str, Any], phase: str | None = None
) -> float:
    """Resident bytes that a scenario leaves behind, or has while it is in a phase."""
    with fresh(name, settings) as broker:
        before = broker.usage().resident_bytes
        during: list[int] = []

        def on_phase(moment: dict[str, Any]) -> None:
            if moment["phase"] == phase:
                time.sleep(1)  # the broker has tidied up after the last connection
                during.append(broker.usage().resident_bytes)

        clean(load({**scenario, "port": broker.spec.port}, settings, on_phase))
        after = during[0] if during else broker.usage().resident_bytes
        return after - before


def connections(name: str, settings: Settings, scale: float) -> float:
    count = int(10_000 * scale)
    scenario = {"kind": "idle", "connections": count, "hold_seconds": 3.0}
    return growth(name, settings, scenario, "holding") / count


def retained(name: str, settings: Settings, scale: float) -> float:
    count = int(1_000_000 * scale)
    scenario = {"kind": "retained", "messages": count, "payload_bytes": 16, "subscribers": 0}
    return growth(name, settings, {**scenario, "qos": 1, "prefix": "ret"}) / count


def subscriptions(name: str, settings: Settings, scale: float) -> float:
    """Sessions with ten subscriptions each against sessions with none.

    Each filter has ten subscribers, as the topics of many clients of one kind have.
    """
    sessions = int(100_000 * scale)
    scenario = {
        "kind": "connect",
        "messages": sessions,
        "connections": 20,
        "version": 5,
        "persistent": True,
        "topics": sessions,
    }
    without = growth(name, settings, scenario)
    subscribed = growth(name, settings, {**scenario, "filters": 10})
    return (subscribed - without) / (10 * sessions)


def storm(name: str, settings: Settings, scale: float) -> float:
    """Milliseconds, the p99 of 2,000 messages a second."""
    count = int(100_000 * scale)
    with fresh(name, settings) as broker:
        # One session comes with a hundred subscriptions and takes them away again, twenty at once.
        coming = {
            "port": broker.spec.port,
            "kind": "connect",
            "messages": count // 100,
            "connections": 20,
            "filters": 100,
            "topics": count,
            "prefix": "storm",
        }
        publishing = {
            "port": broker.spec.port,
            "publishers": 10,
            "subscribers": 10,
            "topics": 10,
            "messages": 0,
            "rate": 2_000.0,
            "qos": 1,
        }
        comings: list[dict[str, Any]] = []
        thread = threading.Thread(target=lambda: comings.append(load(coming, settings)))
        thread.start()
        latencies = []
        while thread.is_alive():
            report = clean(load({**publishing, "duration_seconds": 1.0}, settings))
            latencies.append(report["latency"]["p99_us"] / 1e3)
        thread.join()
    for report in comings:
        clean(report)
    return max(latencies)


RUNS = {
    "connections": connections,
    "retained": retained,
    "subscriptions": subscriptions,
    "storm": storm,
}


if __name__ == "__main__":
    main()
