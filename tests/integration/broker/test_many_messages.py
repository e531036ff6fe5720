"""What has to hold in numbers: a million messages in order, ten thousand connections at once,
a hundred thousand messages exactly once over ten cuts."""

import random
import resource
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest

from tests.integration.broker.wire import (
    PINGREQ,
    PINGRESP,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    Connection,
    acknowledgement,
    publish,
)

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]

PAYLOAD_BYTES = 64
MILLION = 1_000_000
BATCH = 5_000
CONNECTIONS = 10_000
QOS2_MESSAGES = 100_000
CUTS = 10
QOS2_WINDOW = 500
SEED = 20_240_229
RESET = struct.pack("ii", 1, 0)


@pytest.fixture
def descriptors() -> Iterator[None]:
    """As many open descriptors as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def payload(number: int) -> bytes:
    """64 bytes that say which message it is."""
    return struct.pack("!Q", number).ljust(PAYLOAD_BYTES, b".")


def batch(topic: str, first: int) -> bytes:
    """BATCH QoS 0 messages from that number on, as they stand on the wire."""
    return b"".join(publish(topic, payload(number)) for number in range(first, first + BATCH))


def test_million_messages_arrive_complete_and_in_order(broker_port: int) -> None:
    topic = "many/million"
    with Connection(broker_port) as subscriber, Connection(broker_port) as publisher:
        subscriber.open("million-subscriber")
        subscriber.subscribe(topic, 0)
        publisher.open("million-publisher")

        def send() -> None:
            for first in range(0, MILLION, BATCH):
                publisher.socket.sendall(batch(topic, first))

        sender = threading.Thread(target=send)
        sender.start()
        for first in range(0, MILLION, BATCH):
            expected = batch(topic, first)
            assert received(subscriber, len(expected)) == expected, f"after message {first}"
        sender.join()


def received(connection: Connection, length: int) -> bytes:
    """The next bytes of the connection, so many."""
    data = bytearray(length)
    view = memoryview(data)
    filled = 0
    while filled < length:
        count = connection.socket.recv_into(view[filled:])
        assert count, f"the broker closed the connection {length - filled} bytes early"
        filled += count
    return bytes(data)


def test_ten_thousand_connections_are_held_at_once(broker_port: int, descriptors: None) -> None:
    with ExitStack() as stack:
        held: list[Connection] = []
        for number in range(CONNECTIONS):
            held.append(connection := stack.enter_context(Connection(broker_port)))
            # Closed by a reset, it keeps its port from nobody for a minute.
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.open(f"held-{number}")
            connection.subscribe("many/held", 0)
        with Connection(broker_port) as publisher:
            publisher.open("held-publisher")
            publisher.socket.sendall(publish("many/held", b"to all of you"))
            for connection in held:
                kind, _, body = connection.packet()
                assert (kind, body[-13:]) == (PUBLISH, b"to all of you")
        for connection in held:
            connection.socket.sendall(PINGREQ)
        assert all(connection.packet()[0] == PINGRESP for connection in held)


def test_qos2_arrives_exactly_once_over_ten_cuts(broker_port: int) -> None:
    topic = "many/exactly-once"
    subscriber = ExactlyOnceSubscriber(broker_port, topic, random.Random(SEED))
    failures: list[BaseException] = []

    def send() -> None:
        try:
            publish_exactly_once(broker_port, topic)
        except BaseException as error:  # raised again by the test
            failures.append(error)

    publisher = threading.Thread(target=send)
    publisher.start()
    subscriber.run()
    publisher.join()
    assert not failures
    assert subscriber.connections == CUTS + 1
    assert subscriber.delivered == list(range(QOS2_MESSAGES))


def publish_exactly_once(port: int, topic: str) -> None:
    """Publish all messages at QoS 2, QOS2_WINDOW of them unacknowledged at most."""
    with Connection(port) as connection:
        connection.open("exactly-once-publisher")
        sent = complete = 0
        while complete < QOS2_MESSAGES:
            out = bytearray()
            while sent < QOS2_MESSAGES and sent - complete < QOS2_WINDOW:
                out += publish(topic, payload(sent), 2, sent % 65_535 + 1)
                sent += 1
            connection.socket.sendall(out)
            answers = bytearray()
            for kind, _, body in connection.packets():
                if kind == PUBREC:
                    answers += acknowledgement(PUBREL, int.from_bytes(body))
                elif kind == PUBCOMP:
                    complete += 1
            connection.socket.sendall(answers)
        connection.close()


class ExactlyOnceSubscriber:
    """A subscriber with a session that loses its connection CUTS times at random moments.

    It keeps what [MQTT-4.3.3-2] has a receiver keep: the packet identifiers between PUBLISH and
    PUBREL, over all of its connections.
    """

    def __init__(self, port: int, topic: str, chance: random.Random) -> None:
        self.port = port
        self.delivered: list[int] = []
        self.connections = 0
        self._client = f"exactly-once-{uuid4().hex}"
        self._unreleased: set[int] = set()
        # The message after which each cut comes, anywhere between two acknowledgements.
        self._cuts = sorted(chance.sample(range(1, QOS2_MESSAGES), CUTS))
        self._connection = self._connect()
        self._connection.subscribe(topic, 2)

    def run(self) -> None:
        """Receive until every message has come, and the last is released."""
        while len(self.delivered) < QOS2_MESSAGES or self._unreleased:
            for kind, flags, body in self._connection.packets():
                if kind == PUBLISH:
                    self._take(flags, body)
                elif kind == PUBREL:
                    self._release(int.from_bytes(body))
                if self._cuts and len(self.delivered) >= self._cuts[0]:
                    del self._cuts[0]
                    self._connection.cut()
                    self._connection = self._connect()
                    break
        self._connection.close()

    def _take(self, flags: int, body: bytes) -> None:
        assert flags & 0x06 == 0x04, "not QoS 2"
        at = 2 + int.from_bytes(body[:2])
        identifier = int.from_bytes(body[at : at + 2])
        if identifier not in self._unreleased:
            self._unreleased.add(identifier)
            self.delivered.append(int.from_bytes(body[at + 2 : at + 10]))
        self._connection.socket.sendall(acknowledgement(PUBREC, identifier))

    def _release(self, identifier: int) -> None:
        self._unreleased.discard(identifier)
        self._connection.socket.sendall(acknowledgement(PUBCOMP, identifier))

    def _connect(self) -> Connection:
        connection = Connection(self.port)
        present = connection.open(self._client, clean=False)
        assert present == (self.connections > 0)
        self.connections += 1
        return connection
