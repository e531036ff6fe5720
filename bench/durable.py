"""Measures what durability costs: QoS 1 to a persistent session, and Mosquitto beside it.

    python -m bench.durable [--time 1.0] [--repeat 3] [--check]

64 publishers, each with 64 messages of 64 bytes in flight, one subscriber with a persistent
session, on one core and the disk that --data is on. Ours is durable (an acknowledgement follows
the sync), the same broker in memory is what it is compared with, and Mosquitto, which saves
nothing meanwhile, is the yardstick. Then one client alone, one message at a time: how long an
acknowledgement takes. With --check, a goal that is not met is a failure.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import struct
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.measure import Settings, measure
from bench.measured_process import Broker, BrokerSpec
from bench.results import WRONG

HERE = Path(__file__).parent
ENTRY = {
    "load": {
        "messages": 2_000_000,
        "publishers": 64,
        "subscribers": 1,
        "topics": 64,
        "wildcard": True,
        "qos": 1,
        "payload_bytes": 64,
        "window": 64,
        "persistent": True,
    }
}
PINGS = 1_000
# In memory the publishers are ahead of the subscriber; Mosquitto is told the same in its file.
NOTHING_DROPPED = [
    "NOCTULE__LIMITS__MAX_QUEUED_MESSAGES=100000000",
    "NOCTULE__LIMITS__MAX_QUEUED_BYTES=100000000000",
]

ACKNOWLEDGED_PER_SECOND = 100_000
P99_MILLISECONDS = 10.0
CPU_TIMES_MEMORY = 3.0


def main() -> None:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    settings = Settings(given.out, given.broker_cpus, given.load_cpus, given.time)
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(given.repeat):
        for name in ("disk", "memory", "mosquitto"):
            if not spec_of(name, Path()).is_here():
                print(f"{name} is not here", file=sys.stderr)
                continue
            result = run(name, settings, given.data)
            runs.setdefault(name, []).append(result)
            print(json.dumps(result), file=sys.stderr, flush=True)
    (given.out / "durable.json").write_text(json.dumps(runs, indent=1))
    print(table(runs))
    bare = bare_syncs(given.data)
    print(f"{'bare sync':32}{bare['p50_ms']:>10.2f}{bare['p99_ms']:>10.2f}")
    wrong = [name for name in ("disk", "memory") for each in runs[name] if faults(each)]
    missed = goals_missed(runs)
    for each in [*wrong, *missed]:
        print(f"not as it should be: {each}", file=sys.stderr)
    sys.exit(1 if wrong or (given.check and missed) else 0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--time", type=float, default=1.0, help="a factor on message counts")
    parser.add_argument("--broker-cpus", default="0", help="a taskset list; empty: not pinned")
    parser.add_argument("--load-cpus", default="1")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--data", type=Path, default=Path("build"), help="on the disk to measure")
    parser.add_argument("--check", action="store_true", help="a goal that is not met is a failure")
    return parser.parse_args()


def spec_of(name: str, data: Path) -> BrokerSpec:
    """A broker that is to be measured, its store in `data`."""
    if name == "mosquitto":
        command = ["mosquitto", "-c", str(HERE / "mosquitto.conf")]
        return BrokerSpec(name, 21_884, command, scale=0.2)
    listen = ["--listen", "mqtt://127.0.0.1:21893", "--workers", "1"]
    kept = ["--durability", "memory"]
    if name == "disk":
        kept = ["--durability", "disk", "--data-dir", str(data)]
    serve = [sys.executable, "-m", "noctule", "serve", *listen, *kept]
    return BrokerSpec(name, 21_893, ["env", *NOTHING_DROPPED, *serve])


def run(name: str, settings: Settings, on: Path) -> dict[str, Any]:
    """One broker: what it takes under load, and how soon it acknowledges alone."""
    on.mkdir(parents=True, exist_ok=True)
    data = Path(tempfile.mkdtemp(prefix="durable-", dir=on))
    try:
        spec = spec_of(name, data / "store")
        loaded = measure(name, ENTRY, spec, replace(settings, limit_seconds=600.0))
        shutil.rmtree(data / "store", ignore_errors=True)
        with Broker(spec, settings.broker_cpus, settings.folder / f"{name}.log"):
            alone = acknowledgements(spec.port)
    finally:
        shutil.rmtree(data)
    kept = ("per_second", "cpu_us", "seconds", "received", *WRONG)
    return {key: loaded.get(key) for key in kept} | alone | {"broker": name}


def acknowledgements(port: int) -> dict[str, float]:
    """Milliseconds until PUBACK, of one message at a time to a persistent session."""
    with connected(port, b"keeper", clean=False) as keeper:
        keeper.sendall(b"\x82\x0a\x00\x01\x00\x05alone\x01")
        answer(keeper, 5)
    took = []
    with connected(port, b"alone", clean=True) as client:
        for number in range(1, PINGS + 1):
            publish = b"\x00\x05alone" + struct.pack(">H", number) + b"x" * 64
            began = time.perf_counter()
            client.sendall(b"\x32" + bytes([len(publish)]) + publish)
            answer(client, 4)
            took.append((time.perf_counter() - began) * 1e3)
    hundredths = statistics.quantiles(took, n=100)
    return {"p50_ms": statistics.median(took), "p99_ms": hundredths[98], "max_ms": max(took)}


def bare_syncs(folder: Path) -> dict[str, float]:
    """Milliseconds of a write of 4 KiB and its sync, without any broker: what the disk is like."""
    took = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(PINGS // 2):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began) * 1e3)
    return {"p50_ms": statistics.median(took), "p99_ms": statistics.quantiles(took, n=100)[98]}


def connected(port: int, name: bytes, *, clean: bool) -> socket.socket:
    """A connection of MQTT 3.1.1: bytes by hand, so that only the broker is measured."""
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = b"\x00\x04MQTT\x04" + bytes([clean << 1, 0, 60, 0, len(name)]) + name
    client.sendall(b"\x10" + bytes([len(body)]) + body)
    answer(client, 4)
    return client


def answer(client: socket.socket, count: int) -> bytes:
    """The next bytes of the broker; RuntimeError where it has closed."""
    received = client.recv(count, socket.MSG_WAITALL)
    if len(received) < count:
        raise RuntimeError("the broker has closed the connection")
    return received


def faults(result: dict[str, Any]) -> bool:
    """Whether something was lost or not as published."""
    return any(result.get(name) for name in WRONG)


def middle(runs: list[dict[str, Any]], key: str) -> float:
    return statistics.median(each[key] for each in runs)


def table(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Medians over the repetitions."""
    lines = [f"{'':10}{'acked/s':>12}{'CPU µs':>10}{'p50 ms':>10}{'p99 ms':>10}"]
    for name, each in runs.items():
        lines.append(
            f"{name:10}{middle(each, 'per_second'):>12,.0f}{middle(each, 'cpu_us'):>10.2f}"
            f"{middle(each, 'p50_ms'):>10.2f}{middle(each, 'p99_ms'):>10.2f}"
        )
    return "\n".join(lines)


def goals_missed(runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The goals that the medians do not meet."""
    rate, p99 = middle(runs["disk"], "per_second"), middle(runs["disk"], "p99_ms")
    times = middle(runs["disk"], "cpu_us") / middle(runs["memory"], "cpu_us")
    missed = []
    if rate < ACKNOWLEDGED_PER_SECOND:
        missed.append(f"{rate:,.0f} acknowledged a second, not {ACKNOWLEDGED_PER_SECOND:,}")
    if p99 > P99_MILLISECONDS:
        missed.append(f"p99 of an acknowledgement is {p99:.1f} ms, not {P99_MILLISECONDS}")
    if times > CPU_TIMES_MEMORY:
        missed.append(f"{times:.1f} times the CPU of memory, not {CPU_TIMES_MEMORY}")
    if "mosquitto" in runs and rate < middle(runs["mosquitto"], "per_second"):
        missed.append("Mosquitto, not durable, is faster")
    return missed


if __name__ == "__main__":
    main()
