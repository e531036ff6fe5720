"""A connection that the broker ends while acknowledgements wait for the disk."""

from pathlib import Path

from tests.conformance.wire import Client, packets
from tests.served_broker import ServedBroker

PROTOCOL_ERROR = 0x82
RESERVED_TYPE = b"\x00\x00"


def test_broker_says_what_is_on_disk_and_why_it_closes(tmp_path: Path) -> None:
    with ServedBroker("--data-dir", str(tmp_path / "data")) as broker:
        address = ("127.0.0.1", broker.port)
        with Client(address, client_id="s") as subscriber:
            subscriber.connect(clean=False, session_expiry_interval=60)
            subscriber.subscribe("a", qos=1)
        with Client(address, client_id="p") as publisher:
            publisher.connect()
            publish = packets.publish(5, "a", b"x", qos=1, packet_id=7, properties={})
            publisher.send(publish + RESERVED_TYPE)
            publisher.expect("PUBACK", packet_id=7, code=0)
            publisher.expect("DISCONNECT", code=PROTOCOL_ERROR)
