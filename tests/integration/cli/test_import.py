"""From a real Mosquitto with users, rules, sessions, queues and retained messages to a broker of
ours in which clients find all of it.
"""

import getpass
import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from noctule.protocol import Version, decode_fixed_header, decode_packet, encode_packet
from noctule.protocol.packets import (
    Connack,
    Connect,
    Packet,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    SubscriptionRequest,
)
from tests.integration.cli.stage import NOCTULE, environment
from tests.integration.client.conftest import MOSQUITTO, free_port, wait_for
from tests.served_broker import ServedBroker

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
    pytest.mark.skipif(
        shutil.which("mosquitto_passwd") is None, reason="mosquitto_passwd is not installed"
    ),
]

SECONDS = 30
CONFIGURATION = """\
user {user}
listener {port} 127.0.0.1
password_file {folder}/pwfile
acl_file {folder}/aclfile
persistence true
persistence_location {folder}/
max_inflight_messages 2
autosave_interval 3600
log_type error
"""
RULES = """\
user alice
topic readwrite #
user bob
topic read news/#
"""


class Old:
    """A Mosquitto with two users."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.configuration = folder / "mosquitto.conf"
        self.configuration.write_text(
            CONFIGURATION.format(user=getpass.getuser(), port=self.port, folder=folder)
        )
        (folder / "aclfile").write_text(RULES)
        for number, (name, password) in enumerate({"alice": "secret", "bob": "tiger"}.items()):
            create = () if number else ("-c",)
            command = ["mosquitto_passwd", "-b", *create, str(folder / "pwfile"), name, password]
            subprocess.run(command, check=True, capture_output=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Until the end of the block; it saves what it has when it is told to end."""
        assert MOSQUITTO is not None
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen([MOSQUITTO, "-c", str(self.configuration)], stderr=log)
            try:
                wait_for(self.port)
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(SECONDS)


def run(home: Path, *arguments: str, password: str = "secret") -> tuple[str, int]:
    done = subprocess.run(
        [*NOCTULE, *arguments],
        env=environment(home, NOCTULE_PASSWORD=password),
        capture_output=True, encoding="utf-8", timeout=SECONDS, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr, done.returncode


@contextmanager
def raw(port: int, version: Version, client: str, user: str | None = "alice") -> Iterator["Raw"]:
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        peer = Raw(connection, version)
        password = None if user is None else b"secret"
        peer.send(
            Connect(
                version, client, clean_start=False, keep_alive=60,
                user_name=user, password=password,
            )
        )  # fmt: skip
        yield peer


class Raw:
    """A client that does nothing of itself."""

    def __init__(self, connection: socket.socket, version: Version) -> None:
        self._socket = connection
        self._version = version
        self._held = b""

    def send(self, packet: Packet) -> None:
        self._socket.sendall(encode_packet(self._version, packet))

    def receive(self) -> Packet:
        while True:
            header = decode_fixed_header(self._held)
            if header is not None and header.stop <= len(self._held):
                packet = decode_packet(self._version, self._held[: header.stop])
                self._held = self._held[header.stop :]
                return packet
            data = self._socket.recv(65_536)
            assert data, "the server hung up"
            self._held += data


def fill(old: Old, home: Path) -> None:
    """Sessions of both versions, queues, messages on their way in both directions."""
    base = ("-h", "127.0.0.1", "-p", str(old.port), "-u", "alice")
    sub = ("sub", *base, "-q", "2", "-c", "-E")
    assert run(home, *sub, "-i", "three", "-t", "news/#")[1] == 0
    five = ("-V", "5", "-x", "3600", "-D", "subscribe", "subscription-identifier", "7")
    assert run(home, *sub, "-i", "five", "-t", "news/+", "--retain-as-published", *five)[1] == 0
    assert run(home, *sub, "-i", "member", "-t", "$share/g/work")[1] == 0
    properties = (
        *(
            "-D",
            "publish",
            "content-type",
            "text/plain",
            "-D",
            "publish",
            "user-property",
            "a",
            "b",
        ),
        *("-D", "publish", "correlation-data", "xyz", "-D", "publish", "response-topic", "re"),
        *("-D", "publish", "message-expiry-interval", "3600"),
    )
    with raw(old.port, Version.V3_1_1, "receiver") as receiver:
        assert isinstance(receiver.receive(), Connack)
        receiver.send(Subscribe(1, (SubscriptionRequest("way/#", 2),)))
        receiver.receive()
        for number in range(3):  # One on its way, one released, one behind them.
            arguments = ("-t", f"way/{number}", "-m", str(number), "-q", "2")
            assert run(home, "pub", *base, *arguments)[1] == 0
        first, second = receiver.receive(), receiver.receive()
        assert isinstance(first, Publish)
        assert isinstance(second, Publish)
        receiver.send(Pubrec(first.packet_identifier))
        assert isinstance(receiver.receive(), Pubrel)
    for number in range(3):
        arguments = ("-t", f"news/{number}", "-m", f"message {number}", "-q", str(number))
        assert run(home, "pub", *base, *arguments, *properties)[1] == 0
    assert (
        run(home, "pub", *base, "-t", "news/kept", "-m", "kept", "-q", "1", "-r", *properties)[1]
        == 0
    )
    assert run(home, "pub", *base, "-t", "work", "-m", "task", "-q", "1")[1] == 0
    with raw(old.port, Version.V3_1_1, "sender") as sender:
        assert isinstance(sender.receive(), Connack)
        sender.send(Publish("news/half", b"half", qos=2, packet_identifier=9))
        sender.receive()  # PUBREC; PUBREL is not sent.


def show(home: Path, port: int, *arguments: str) -> list[dict[str, object]]:
    """What `noctule sub` gets in a second, as records without their time."""
    base = ("-h", "127.0.0.1", "-p", str(port), "-u", "alice", "-W", "1", "--json", "--quiet")
    text, code = run(home, "sub", *base, *arguments)
    assert code in (0, 27), text
    records = [json.loads(line) for line in text.splitlines()]
    for record in records:
        del record["time"]
    return records


def test_a_mosquitto_moves(tmp_path: Path) -> None:
    folder, target = tmp_path / "old", tmp_path / "new"
    folder.mkdir()
    old = Old(folder)
    with old.running():
        fill(old, tmp_path)
    text, code = run(tmp_path, "import", "mosquitto", str(old.configuration), "--to", str(target))
    assert code == 0, text
    assert "user" in text.partition("Without counterpart")[2]
    # Mosquitto 2.0.11 does not save shared subscriptions, though the messages of one.
    assert "5 sessions, 3 subscriptions, 12 queued messages, 1 retained" in text, text
    with ServedBroker("--config", str(target / "noctule.toml")) as served:
        check(served.port, tmp_path)
    again, code = run(
        tmp_path, "import", "mosquitto", str(old.configuration), "--to", str(tmp_path / "other"),
        "--data-dir", str(target / "data"),
    )  # fmt: skip
    assert code == 1
    assert "--data-dir names another directory" in again
    assert not (tmp_path / "other").exists()


def check(port: int, home: Path) -> None:
    base = ("-h", "127.0.0.1", "-p", str(port))
    # Users and rules.
    assert run(home, "pub", *base, "-u", "alice", "-t", "x", "-m", "x", password="wrong")[1] != 0
    assert run(home, "pub", *base, "-t", "x", "-m", "x")[1] != 0
    refused, _ = run(
        home, "pub", *base, "-u", "bob", "-V", "5", "-q", "1", "-t", "news/1", "-m", "x",
        password="tiger",
    )  # fmt: skip
    assert "0x87" in refused
    # Queues, in their order; what was half here when Mosquitto ended is here, once.
    three = show(home, port, "-i", "three", "-c", "-q", "2", "-t", "other", "-V", "311")
    assert [(each["topic"], each["payload"], each["qos"], each["retain"]) for each in three] == [
        ("news/1", "message 1", 1, False),
        ("news/2", "message 2", 2, False),
        ("news/kept", "kept", 1, False),
        ("news/half", "half", 2, False),
    ]
    five = show(home, port, "-i", "five", "-c", "-x", "3600", "-q", "2", "-t", "other", "-V", "5")
    assert [(each["topic"], each["qos"], each["retain"]) for each in five] == [
        ("news/1", 1, False),
        ("news/2", 2, False),
        ("news/kept", 1, True),
        ("news/half", 2, False),
    ]
    properties = five[0]["properties"]
    assert isinstance(properties, dict)
    assert 3000 < properties.pop("message-expiry-interval") <= 3600
    assert properties == {
        "content-type": "text/plain",
        "user-property": [["a", "b"]],
        "correlation-data": "eHl6",
        "response-topic": "re",
    }
    member = show(home, port, "-i", "member", "-c", "-q", "2", "-t", "other")
    assert [each["payload"] for each in member] == ["task"]
    # Retained messages, for subscribers who come now.
    retained = show(home, port, "-t", "#", "-q", "1")
    assert [(each["topic"], each["payload"], each["retain"]) for each in retained] == [
        ("news/kept", "kept", True)
    ]
    # The subscriptions go on.
    assert run(home, "pub", *base, "-u", "alice", "-q", "1", "-t", "news/9", "-m", "9")[1] == 0
    three = show(home, port, "-i", "three", "-c", "-q", "2", "-t", "other")
    assert [each["payload"] for each in three] == ["9"]
    # Handshakes that were under way end as they should.
    with raw(port, Version.V3_1_1, "receiver") as receiver:
        connack = receiver.receive()
        assert isinstance(connack, Connack)
        assert connack.session_present
        came = {type(packet).__name__: packet for packet in (receiver.receive() for _ in range(2))}
        released, sent = came["Pubrel"], came["Publish"]
        assert isinstance(sent, Publish)
        assert (sent.topic, sent.dup, sent.packet_identifier) == ("way/1", True, 2)
        assert isinstance(released, Pubrel)
        assert released.packet_identifier == 1
        receiver.send(Pubcomp(1))  # Of the two that may be in flight one is done.
        last = receiver.receive()
        assert isinstance(last, Publish)
        assert (last.topic, last.dup) == ("way/2", False)
    with raw(port, Version.V3_1_1, "sender") as sender:
        sender.receive()
        sender.send(Publish("news/half", b"half", qos=2, packet_identifier=9, dup=True))
        assert type(sender.receive()).__name__ == "Pubrec"
        sender.send(Pubrel(9))
        assert type(sender.receive()).__name__ == "Pubcomp"
    assert show(home, port, "-i", "three", "-c", "-q", "2", "-t", "other") == []  # Not twice.
