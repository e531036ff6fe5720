"""`noctule serve` as a process: one line when ready, an orderly end."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.broker.wire import Connection
from tests.served_broker import ServedBroker

BrokerStarter = Callable[..., ServedBroker]


def test_one_line_says_that_it_is_ready(start_broker: BrokerStarter) -> None:
    broker = start_broker()
    assert broker.ready_line == f"noctule is ready: mqtt://127.0.0.1:{broker.port}\n"
    with Connection(broker.port) as connection:
        connection.open("first")
    assert broker.terminate() == 0
    assert broker.process.stdout is not None
    assert broker.process.stdout.read() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_it_in_order(start_broker: BrokerStarter, number: signal.Signals) -> None:
    broker = start_broker()
    with Connection(broker.port) as connection:
        connection.open("witness")
        assert broker.terminate(number) == 0
        with pytest.raises(ConnectionError):
            connection.packet()


def test_file_environment_and_command_line_are_used(tmp_path: Path) -> None:
    file = tmp_path / "noctule.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file.write_text(f'listeners = ["mqtt://127.0.0.1:{port}"]\n', encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "noctule", "serve", "--config", str(file)],
            capture_output=True,
            encoding="utf-8",
            timeout=30,
            env=dict(os.environ),
        )
    assert done.returncode == 1
    assert f"mqtt://127.0.0.1:{port}" in done.stderr
    with ServedBroker("--config", str(file)) as broker:  # --listen wins
        assert broker.port != port


def test_limit_of_the_configuration_reaches_the_engine(
    start_broker: BrokerStarter, tmp_path: Path
) -> None:
    file = tmp_path / "noctule.toml"
    file.write_text("[limits]\nmax_connections = 2\n", encoding="utf-8")
    broker = start_broker("--config", str(file))
    with Connection(broker.port) as first, Connection(broker.port) as second:
        first.open("first")
        second.open("second")
        with Connection(broker.port) as third, pytest.raises((ConnectionError, AssertionError)):
            third.open("third")
