"""`noctule store` on what a real broker has kept: while it runs, and after it was killed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conformance.wire import Client
from tests.served_broker import ServedBroker

NEVER = 0xFFFF_FFFF


def store(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "noctule", "store", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


def lines_of(directory: Path) -> list[dict[str, Any]]:
    result = store("export", directory)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def serve(directory: Path) -> ServedBroker:
    return ServedBroker("--data-dir", str(directory), "--durability", "disk", "--workers", "2")


def connected(broker: ServedBroker, name: str, **fields: Any) -> Client:
    client = Client(("127.0.0.1", broker.port), 5, client_id=name)
    client.connect(clean=False, session_expiry_interval=NEVER, **fields)
    return client


def leave_state(broker: ServedBroker) -> None:
    """A session of every kind: messages queued, sent, released and received."""
    away = connected(broker, "away")
    away.subscribe("t/#", qos=2, subscription_identifier=5)
    with connected(broker, "publisher") as publisher:
        publisher.publish("t/sent", b"\xff\x00", qos=2, correlation_data=b"\x80")
        sent = away.expect("PUBLISH")
        publisher.publish("t/released", b"released", qos=2)
        released = away.expect("PUBLISH")
        away.send_ack("PUBREC", released.packet_id)
        away.expect("PUBREL", packet_id=released.packet_id)
        away.cut()
        publisher.publish("t/queued", b"queued", qos=1, message_expiry_interval=1000)
        publisher.publish("kept", b"retained", qos=1, retain=True, user_property=("k", "v"))
        publisher.send_publish("t/received", b"received", qos=2)
        publisher.expect("PUBREC")
        publisher.cut()
    assert sent.packet_id != released.packet_id


def resumed(broker: ServedBroker) -> list[tuple[str, str, bytes]]:
    """What the broker sends a client that comes back: kind, topic, payload."""
    with Client(("127.0.0.1", broker.port), 5, client_id="away") as client:
        assert client.connect(clean=False, session_expiry_interval=NEVER).session_present
        packets = [client.receive() for _ in range(4)]
    return [(packet.type, packet.topic, packet.payload) for packet in packets if packet]


def test_backup_of_a_running_broker_is_restored(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    with serve(data) as broker:
        leave_state(broker)
        refused = store("export", data)
        assert refused.returncode == 2
        assert "a running broker has" in refused.stderr
        assert "noctule store backup" in refused.stderr
        done = store("backup", data, copy)
        assert done.returncode == 0, done.stderr
        with connected(broker, "publisher") as later:
            later.publish("t/later", b"later", qos=1)
        broker.kill()
    before = lines_of(copy)
    with serve(copy) as restored:
        seen = resumed(restored)
    topics = [topic for _, topic, _ in seen]
    assert "t/later" not in topics
    assert {"t/sent", "t/queued", "t/received"} <= set(topics)
    assert [kind for kind, *_ in seen].count("PUBREL") == 1
    assert {line["type"] for line in before} == {
        "store",
        "session",
        "subscription",
        "queued",
        "released",
        "received",
        "retained",
    }
    [sent] = [line for line in before if "packet_identifier" in line and line["type"] == "queued"]
    assert sent["message"]["payload_base64"] == "/wA="
    assert ["correlation_data", "gA=="] in sent["message"]["properties"]


def test_what_was_imported_is_served_as_what_was_exported(tmp_path: Path) -> None:
    data, moved = tmp_path / "data", tmp_path / "moved"
    with serve(data) as broker:
        leave_state(broker)
        broker.kill()
    file = tmp_path / "lines.jsonl"
    assert store("export", data, "-o", file).returncode == 0
    assert store("import", moved, file).returncode == 0
    assert lines_of(moved) == [json.loads(line) for line in file.read_text().splitlines()]
    with serve(data) as broker:
        expected = resumed(broker)
    with serve(moved) as broker:
        assert resumed(broker) == expected
        with connected(broker, "publisher") as publisher:
            # The QoS 2 message that was not released is known: it is not published twice.
            publisher.subscribe("kept", qos=1)
            assert publisher.expect_message("kept", b"retained").properties["user_property"]
