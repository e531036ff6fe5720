"""Other people's client libraries over TLS and WebSocket."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.conformance.certificates import folder
from tests.integration.interop.conftest import PeerStarter
from tests.integration.interop.peer import Message
from tests.served_broker import ServedBroker

pytestmark = pytest.mark.interop

FOLDER = folder()
SERVER = f"tls_certificate={FOLDER}/server.pem&tls_key={FOLDER}/server.key"
MUTUAL = f"{SERVER}&client_certificates=required&client_ca={FOLDER}/authority.pem"
LISTEN = {
    "ws": "ws://127.0.0.1:0/mqtt",
    # mqtt.js offers compression wherever it can.
    "wss": f"wss://127.0.0.1:0/mqtt?{SERVER}&websocket_compression=true",
    "mqtts": f"mqtts://127.0.0.1:0?{MUTUAL}&crl={FOLDER}/revocations.pem",
}
FILES = {
    "wss": {"ca": f"{FOLDER}/authority.pem"},
    "mqtts": {
        "ca": f"{FOLDER}/authority.pem",
        "cert": f"{FOLDER}/good.pem",
        "key": f"{FOLDER}/good.key",
    },
}


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """A broker's port for each transport."""
    first, *others = LISTEN.values()
    more = [word for url in others for word in ("--listen", url)]
    with ServedBroker("--durability", "memory", *more, listen=first) as broker:
        found = re.findall(r"//127\.0\.0\.1:(\d+)", broker.ready_line)
        yield dict(zip(LISTEN, map(int, found), strict=True))


@pytest.mark.parametrize(
    ("name", "transport", "version"),
    [
        *[(name, transport, "5.0") for name in ("paho", "mqttjs") for transport in LISTEN],
        ("paho", "ws", "3.1"),
        ("mqttjs", "ws", "3.1.1"),
        ("gmqtt", "mqtts", "3.1.1"),
    ],
)
def test_messages_come_and_go_at_every_qos(
    start_peer: PeerStarter, ports: dict[str, int], name: str, transport: str, version: str
) -> None:
    topic = f"transports/{uuid4().hex}"
    with start_peer(name) as peer:
        peer.connect(
            ports[transport],
            version,
            uuid4().hex[:20],
            transport=transport,
            files=FILES.get(transport),
        )
        peer.subscribe(topic, 2)
        # Longer than a packet in the network, and than a record of TLS.
        for qos, payload in ((0, "ü"), (1, "x" * 5_000), (2, "y" * 300_000)):
            peer.publish(topic, payload, qos)
            assert peer.message() == Message(topic, payload, qos, retain=False)
        peer.disconnect()


@pytest.mark.skipif(
    shutil.which("mosquitto_sub") is None, reason="mosquitto-clients is not installed"
)
def test_mosquitto_tools_use_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "mqtt"

    def run(tool: str, *arguments: str) -> str:
        command = [tool, "--unix", str(path), "-t", "t", "-q", "1", *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, encoding="utf-8", timeout=60
        ).stdout

    more = ("--durability", "memory", "--listen", "mqtt://127.0.0.1:0")
    with ServedBroker(*more, listen=f"unix://{path}"):
        run("mosquitto_pub", "-m", "kept", "-r")
        assert run("mosquitto_sub", "-C", "1", "-F", "%r %p") == "1 kept\n"
