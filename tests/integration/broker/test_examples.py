"""Every example of the broker runs and does what it says."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.broker.wire import Connection

EXAMPLES = Path(__file__).parents[3] / "examples" / "broker"
SECONDS = 60


@contextmanager
def running(name: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The example as a process, and the port that it printed."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / name)], stdout=subprocess.PIPE, encoding="utf-8"
    )
    assert process.stdout is not None
    with process.stdout:
        try:
            found = re.search(r"listening on port (\d+)", process.stdout.readline())
            assert found
            yield process, int(found[1])
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 0


def test_embedded_broker_serves() -> None:
    with running("embedded.py") as (_, port), Connection(port) as connection:
        connection.open("example")
        connection.subscribe("a/b", 2)


def test_watcher_prints_who_comes_and_goes() -> None:
    with running("watch_clients.py") as (process, port):
        with Connection(port) as connection:
            connection.open("visitor")
            connection.subscribe("a/b", 2)
            connection.close()
        assert process.stdout is not None
        kinds = []
        for line in process.stdout:
            kinds.append(line.split()[0])
            assert line.split()[1] == "visitor"
            if kinds[-1] == "disconnected":
                break
        assert kinds[:2] == ["connected", "subscribed"]


def test_several_brokers_have_limits_of_their_own() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "several.py")],
        check=True,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
    )
    assert "devices: packets of up to 4,096 bytes" in done.stdout
    assert "services: packets of up to 16,777,216 bytes" in done.stdout


def test_every_example_is_tested() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    for example in EXAMPLES.glob("*.py"):
        assert f'"{example.name}"' in text
