"""A queue far larger than the memory it may take: on disk, and back in order."""

import struct
from pathlib import Path

from tests.conformance.wire import Client
from tests.served_broker import ServedBroker

NEVER_EXPIRES = 0xFFFF_FFFF
MESSAGES = 3_200
PAYLOAD_BYTES = 16_384
WINDOW = 100
# Of 50 MiB that wait: what the store has in hand, and what is on its way.
MOST_GROWTH_BYTES = 25 << 20
# While it begins, 32 MiB of the store's records are gone through at a time.
MOST_START_BYTES = 60 << 20


def resident_bytes(broker: ServedBroker, name: str = "VmRSS") -> int:
    status = Path(f"/proc/{broker.process.pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) << 10


def payload_of(number: int) -> bytes:
    return struct.pack(">I", number) * (PAYLOAD_BYTES // 4)


def come_back(broker: ServedBroker, name: str) -> Client:
    client = Client(("127.0.0.1", broker.port), client_id=name)
    client.connect(clean=False, session_expiry_interval=NEVER_EXPIRES, receive_maximum=WINDOW)
    return client


def publish_all(broker: ServedBroker) -> None:
    with Client(("127.0.0.1", broker.port), client_id="publisher") as publisher:
        publisher.connect()
        under_way = 0
        for number in range(MESSAGES):
            publisher.send_publish("queue", payload_of(number), qos=1)
            under_way += 1
            if under_way == WINDOW:
                publisher.expect("PUBACK")
                under_way -= 1
        for _ in range(under_way):
            publisher.expect("PUBACK")


def take(client: Client, first: int, last: int) -> None:
    for number in range(first, last):
        message = client.expect("PUBLISH", qos=1, payload=payload_of(number))
        client.send_ack("PUBACK", message.packet_id)


def test_large_queue_stays_out_of_memory_and_comes_back_in_order(tmp_path: Path) -> None:
    options = tmp_path / "noctule.toml"
    options.write_text("[limits]\nqueue_memory_bytes = 1_000_000\n", encoding="utf-8")
    arguments = ("--config", str(options), "--data-dir", str(tmp_path / "data"))
    with ServedBroker(*arguments) as broker:
        with come_back(broker, "subscriber") as subscriber:
            subscriber.subscribe("queue", qos=1)
        before = resident_bytes(broker)
        publish_all(broker)
        assert resident_bytes(broker) - before < MOST_GROWTH_BYTES
        with come_back(broker, "subscriber") as subscriber:
            take(subscriber, 0, MESSAGES // 2)
            subscriber.ping()
        assert resident_bytes(broker) - before < MOST_GROWTH_BYTES
        broker.kill()
    with ServedBroker(*arguments) as broker:
        assert resident_bytes(broker, "VmHWM") - before < MOST_START_BYTES
        with come_back(broker, "subscriber") as subscriber:
            assert subscriber.connack.session_present
            # What was acknowledged a moment before may come once more.
            again = subscriber.expect("PUBLISH", qos=1)
            (first,) = struct.unpack_from(">I", again.payload)
            assert first <= MESSAGES // 2
            subscriber.send_ack("PUBACK", again.packet_id)
            take(subscriber, first + 1, MESSAGES)
            subscriber.expect_nothing()
