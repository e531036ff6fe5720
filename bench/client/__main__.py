"""The Python clients side by side: CPU microseconds per message of 64 bytes.

    python -m bench.client [--broker noctule|mosquitto | --port PORT] [--clients noctule,paho]
                           [--repeat 3] [--json FILE] [--amqtt PYTHON]

Each figure is the least of the repetitions, and counts the CPU of the client's process
alone, user and system, for its whole public API. Without --port a broker is started; the
receivers are fed by a noctule client in a process of its own. What receiving costs depends on
how many messages a read brings: Mosquitto writes each by itself, noctule a turn's together.
amqtt needs other versions of packages than ours: PYTHON is the interpreter of the environment
where it is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PROGRAMS = Path(__file__).with_name("programs.py")
CLIENTS = ("noctule", "gmqtt", "paho", "aiomqtt", "amqtt")
SCENARIOS = ("publish-0", "publish-1", "receive-0", "receive-1")
LIMITS = {"publish-0": 1.0, "publish-1": 3.0, "receive-0": 1.5, "receive-1": 2.0}
COUNTS = {"noctule": 200_000, "gmqtt": 50_000, "paho": 30_000, "aiomqtt": 10_000, "amqtt": 3_000}

MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
max_inflight_messages 1000
max_queued_messages 0
"""


@contextmanager
def mosquitto() -> Iterator[int]:
    path = shutil.which("mosquitto", path=os.environ["PATH"] + os.pathsep + "/usr/sbin")
    if path is None:
        sys.exit("mosquitto is not installed; name a running broker with --port")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "mosquitto.conf")
        config.write_text(MOSQUITTO.format(port=port))
        broker = subprocess.Popen([path, "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            wait_for(port)
            yield port
        finally:
            broker.terminate()
            broker.wait()


@contextmanager
def noctule() -> Iterator[int]:
    serve = [sys.executable, "-m", "noctule", "serve", "--listen", "mqtt://127.0.0.1:0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as broker:
        assert broker.stdout is not None
        try:
            yield int(broker.stdout.readline().rpartition(":")[2])
        finally:
            broker.terminate()


BROKERS = {"mosquitto": mosquitto, "noctule": noctule}


def wait_for(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit(f"nobody listens on port {port}")


def start(
    client: str,
    scenario: str,
    port: int,
    count: int,
    python: str = sys.executable,
    errors: IO[str] | int = subprocess.DEVNULL,
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, str(PROGRAMS), client, scenario, str(port), str(count)],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )


def measure(client: str, scenario: str, port: int, python: str = sys.executable) -> float | None:
    """Microseconds per message; None if the client did not get there, with its last words."""
    with tempfile.TemporaryFile("w+") as errors:
        used = measure_program(client, scenario, port, python, errors)
        errors.seek(0)
        if used is None:
            words = errors.read().splitlines()[-1:] or ["no answer within a minute"]
            print(f"{client} {scenario}: {words[0]}", file=sys.stderr)
        return used


def measure_program(
    client: str, scenario: str, port: int, python: str, errors: IO[str]
) -> float | None:
    count = COUNTS[client]
    process = start(client, scenario, port, count, python, errors)
    assert process.stdout is not None
    feeder = None
    try:
        if scenario.startswith("receive"):
            process.stdout.readline()
            feeder = start("noctule", f"feed-{scenario[-1]}", port, count)
        out, _ = process.communicate(timeout=60)
        return float(out.split()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError):
        process.kill()
        process.wait()
        return None
    finally:
        if feeder is not None:
            feeder.communicate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    broker = parser.add_mutually_exclusive_group()
    broker.add_argument("--broker", choices=BROKERS, default="noctule")
    broker.add_argument("--port", type=int)
    parser.add_argument("--clients", default=",".join(CLIENTS))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--amqtt", default=sys.executable, metavar="PYTHON")
    arguments = parser.parse_args()
    if arguments.port is not None:
        return report(arguments, arguments.port)
    with BROKERS[arguments.broker]() as port:
        return report(arguments, port)


def report(arguments: argparse.Namespace, port: int) -> int:
    clients = arguments.clients.split(",")
    print(f"{'µs CPU per message':20}" + "".join(f"{name:>10}" for name in clients) + "    limit")
    results: dict[str, dict[str, float | None]] = {}
    for scenario in SCENARIOS:
        row = results[scenario] = {}
        for client in clients:
            python = arguments.amqtt if client == "amqtt" else sys.executable
            runs = [measure(client, scenario, port, python) for _ in range(arguments.repeat)]
            row[client] = min((run for run in runs if run is not None), default=None)
        cells = "".join(f"{'-' if v is None else f'{v:.2f}':>10}" for v in row.values())
        print(f"{scenario:20}{cells}{LIMITS[scenario]:>9.1f}", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2))
    ours = [(results[s].get("noctule"), LIMITS[s]) for s in SCENARIOS]
    return int(any(value is None or value > limit for value, limit in ours))


if __name__ == "__main__":
    sys.exit(main())
