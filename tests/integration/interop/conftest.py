"""Peers by name, and those versions of MQTT that each speaks."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.interop.peer import Peer

HERE = Path(__file__).parent
NODE_MODULES = HERE.parents[2] / "build" / "interop"

VERSIONS = {
    "paho": ("3.1", "3.1.1", "5.0"),
    "gmqtt": ("3.1.1", "5.0"),
    "aiomqtt": ("3.1", "3.1.1", "5.0"),
    "mqttjs": ("3.1", "3.1.1", "5.0"),
}

PeerStarter = Callable[[str], Peer]


def command_of(name: str) -> list[str]:
    """What starts the peer; skips the test where its runtime is not on this machine."""
    if name != "mqttjs":
        return [sys.executable, str(HERE / "peers" / f"{name}_peer.py")]
    node = shutil.which("node")
    if node is None:
        pytest.skip("mqtt.js needs node, which is not on this machine")
    if not (NODE_MODULES / "node_modules" / "mqtt").is_dir():
        pytest.skip("mqtt.js is not installed; `make test-python` does that where there is npm")
    return [node, str(HERE / "node" / "peer.mjs"), str(NODE_MODULES)]


@pytest.fixture(scope="module")
def start_peer() -> Iterator[PeerStarter]:
    """Starts a peer by name; all of them end with the module."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(Peer(command_of(name)))
