"""Ways to a broker: TLS, WebSocket, Unix sockets, SRV records; and what is said when they fail."""

import asyncio
import struct
import threading
from pathlib import Path

import pytest

from noctule.cli.connection import srv
from noctule.cli.connection.errors import ConnectError
from noctule.cli.connection.link import Link
from noctule.cli.connection.target import complete
from noctule.cli.flags.parse import parse
from tests.integration.cli.stage import NOCTULE, Outcome, environment
from tests.integration.client.conftest import RunningBroker


async def run(home: Path, *arguments: str) -> Outcome:
    process = await asyncio.create_subprocess_exec(
        *NOCTULE,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(home),
    )
    async with asyncio.timeout(30):
        stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Outcome(stdout, stderr, process.returncode)


def ways(broker: RunningBroker) -> dict[str, tuple[str, ...]]:
    cafile = ("--cafile", str(broker.folder / "server.pem"))
    tls = ("-p", str(broker.tls_port))
    return {
        "tls": (*tls, *cafile),
        "mqtts": ("-L", f"mqtts://127.0.0.1:{broker.tls_port}", *cafile),
        "tls 1.2": (*tls, *cafile, "--tls-version", "tlsv1.2", "--ciphers", "ECDHE+AESGCM"),
        "ws": ("--ws", "-p", str(broker.websocket_port)),
        "ws url": (f"ws://localhost:{broker.websocket_port}/mqtt",),
        "unix": ("--unix", str(broker.folder / "mqtt.sock")),
        "unix url": (f"unix://{broker.folder}/mqtt.sock",),
        "bound": ("-p", str(broker.port), "-h", "127.0.0.1", "-A", "127.0.0.2"),
        "no delay": ("-p", str(broker.port), "--nodelay"),
    }


@pytest.mark.parametrize(
    "name",
    ["tls", "mqtts", "tls 1.2", "ws", "ws url", "unix", "unix url", "bound", "no delay"],
)
async def test_message_over_every_transport(
    tmp_path: Path, mosquitto: RunningBroker, name: str
) -> None:
    way = ways(mosquitto)[name]
    topic = f"cli/{name.replace(' ', '-')}"
    payload = "x" * 200_000  # More than a socket takes at once.
    (tmp_path / "payload").write_text(payload)
    file = str(tmp_path / "payload")
    published = await run(tmp_path, "pub", *way, "-t", topic, "-f", file, "-r", "-q", "1")
    assert published == Outcome(b"", b"", 0)
    received = await run(tmp_path, "sub", *way, "-t", topic, "-C", "1", "-W", "20")
    assert received == Outcome(payload.encode() + b"\n", b"", 0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("-p", "TLS", "--tls"), "does not hold (self-signed certificate): --cafile names"),
        (("-p", "TLS", "-h", "127.1", "--cafile", "CA"), "connect by the name"),
        (("-p", "TCP", "--tls"), "not speak TLS"),
        (("-p", "TLS"), "hung up without an answer: it may want TLS"),
        (("-p", "TCP", "--ws"), "does not speak WebSocket"),
        (("-p", "1"), "connection refused at localhost:1: is a broker running? `noctule serve`"),
        (("-h", "nonexistent.invalid"), "no host is known as nonexistent.invalid"),
        (("-p", "TCP", "-h", "127.0.0.1", "-A", "192.0.2.1"), "no address like -A"),
        (("--unix", "/nonexistent"), "there is no socket /nonexistent"),
        (("--cafile", "/nonexistent"), "--cafile /nonexistent"),
        (("--tls", "--ciphers", "nonsense"), "--ciphers nonsense"),
        (("-p", "TCP", "--proxy", "socks5h://127.0.0.1:1"), "through the proxy 127.0.0.1:1"),
    ],
)
async def test_failures_say_what_to_do(
    tmp_path: Path, mosquitto: RunningBroker, arguments: tuple[str, ...], text: str
) -> None:
    put_in = {
        "TLS": str(mosquitto.tls_port),
        "TCP": str(mosquitto.port),
        "CA": str(mosquitto.folder / "server.pem"),
    }
    given = [put_in.get(argument, argument) for argument in arguments]
    outcome = await run(tmp_path, "pub", *given, "-t", "t", "-m", "x")
    assert outcome.code == 1
    assert text in outcome.stderr.decode().replace("self signed", "self-signed")


async def test_doctor_examines_tls(tmp_path: Path, mosquitto: RunningBroker) -> None:
    tls = ("-p", str(mosquitto.tls_port))
    well = await run(tmp_path, "doctor", *tls, "--cafile", str(mosquitto.folder / "server.pem"))
    assert well.code == 0
    assert "the certificate is for localhost, 127.0.0.1, signed by localhost" in (
        well.stdout.decode()
    )
    assert "! TLS          the certificate ends in 2 days" in well.stdout.decode()
    unwell = await run(tmp_path, "doctor", *tls, "--tls")
    assert unwell.code == 1
    assert "✗ TLS" in unwell.stdout.decode()
    assert "MQTT" not in unwell.stdout.decode()  # No step after the one that failed.


class DnsServer(threading.Thread):
    """Answers the next question with these SRV records: priority, weight, port, host."""

    def __init__(self, records: list[tuple[int, int, int, str]]) -> None:
        import socket

        super().__init__()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._socket.getsockname()
        self._records = records
        self.question = b""

    def run(self) -> None:
        with self._socket:
            self.question, client = self._socket.recvfrom(512)
            answer = self.question[:2] + struct.pack(">5H", 0x8180, 1, len(self._records), 0, 0)
            answer += self.question[12:]
            for priority, weight, port, host in self._records:
                name = b"".join(bytes((len(p),)) + p.encode() for p in host.split(".")) + b"\0"
                data = struct.pack(">3H", priority, weight, port) + name
                answer += struct.pack(">HHHIH", 0xC00C, 33, 1, 60, len(data)) + data
            self._socket.sendto(answer, client)


def test_srv_records_are_tried_in_their_order(
    monkeypatch: pytest.MonkeyPatch, mosquitto: RunningBroker
) -> None:
    """The first is not there, so the second is connected to."""
    server = DnsServer([(20, 0, mosquitto.port, "127.0.0.1"), (10, 0, 1, "127.0.0.1")])
    server.start()
    monkeypatch.setattr(srv, "_resolvers", lambda: [server.address])
    settings = parse("sub", ["-S", "-h", "example.org", "-t", "t"])
    complete(settings, {"XDG_CONFIG_HOME": "/nonexistent"})
    link = Link(settings)
    link.open()
    assert link.where == f"127.0.0.1:{mosquitto.port}"
    link.close()
    server.join()
    assert b"\x05_mqtt\x04_tcp\x07example\x03org\x00" in server.question


@pytest.mark.parametrize("answer", [b"", b"\x80" * 40, b"\xc0\x0c" * 20])
def test_broken_dns_answers_are_refused(answer: bytes) -> None:
    head = struct.pack(">6H", 0, 0x8180, 0, 3, 0, 0)
    with pytest.raises(ConnectError):
        srv._records(head + answer)


def test_no_dns_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(srv, "RESOLVER_FILE", "/nonexistent")
    with pytest.raises(ConnectError, match="no DNS server answers"):
        srv.servers("example.org", False, 1.0)
