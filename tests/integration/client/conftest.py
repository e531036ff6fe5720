"""The brokers that the client is tried against: Debian's Mosquitto, and our own."""

from __future__ import annotations

import getpass
import importlib.util
import itertools
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.served_broker import ServedBroker

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")

MOSQUITTO_CONFIG = """\
user {user}
per_listener_settings false
allow_anonymous true
max_inflight_messages 1000
max_queued_messages 100000
set_tcp_nodelay true
listener {tcp} 127.0.0.1
listener {websocket} 127.0.0.1
protocol websockets
listener {tls} 127.0.0.1
certfile {folder}/server.pem
keyfile {folder}/server.key
listener 0 {folder}/mqtt.sock
"""

_numbers = itertools.count(1)


@dataclass(frozen=True)
class RunningBroker:
    """Where a broker listens. `folder` holds server.pem, the certificate to trust."""

    name: str
    port: int
    websocket_port: int = 0
    tls_port: int = 0
    folder: Path = Path()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))  # Mosquitto takes it for WebSocket on all addresses.
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"nobody listens on port {port}")


def make_certificate(folder: Path) -> None:
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", "server.key", "-out", "server.pem",
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )  # fmt: skip


def start_mosquitto(folder: Path) -> Iterator[RunningBroker]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    make_certificate(folder)
    tcp, websocket, tls = free_port(), free_port(), free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        MOSQUITTO_CONFIG.format(
            user=getpass.getuser(), tcp=tcp, websocket=websocket, tls=tls, folder=folder
        )
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stderr=log)
        try:
            wait_for(tls)
            yield RunningBroker("mosquitto", tcp, websocket, tls, folder)
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    yield from start_mosquitto(tmp_path_factory.mktemp("mosquitto"))


@pytest.fixture(scope="session")
def own_broker() -> Iterator[RunningBroker]:
    if "NOCTULE_TEST_PORT" in os.environ:
        yield RunningBroker("noctule", int(os.environ["NOCTULE_TEST_PORT"]))
        return
    if importlib.util.find_spec("noctule._engine") is None:
        pytest.skip("the engine is not built")
    with ServedBroker("--durability", "memory") as served:
        yield RunningBroker("noctule", served.port)


@pytest.fixture(params=["mosquitto", "noctule"])
def broker(request: pytest.FixtureRequest) -> RunningBroker:
    name = "mosquitto" if request.param == "mosquitto" else "own_broker"
    found: RunningBroker = request.getfixturevalue(name)
    return found


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"client/{os.getpid()}/{next(_numbers)}"
