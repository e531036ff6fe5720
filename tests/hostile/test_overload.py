"""The memory budget of the process: near it publishers are slowed, at it the new is refused.

Who is connected stays connected, and what the broker holds stays near `max_memory_bytes`. No
witness pair here: at QoS 1 it is refused what everybody is refused.
"""

import contextlib
import time

import pytest

from tests.conformance import brokers, wire
from tests.conformance.brokers import Options
from tests.conformance.conftest import connecter, dialler
from tests.conformance.wire import Client, ClosedError
from tests.hostile.siege import Siege

pytestmark = pytest.mark.skipif(brokers.MOSQUITTO, reason="about max_memory_bytes")

MEMORY_BYTES = 128 << 20
# What may come between two measurements, and the allocator's own.
SLACK_BYTES = 80 << 20
QUOTA_EXCEEDED, SERVER_BUSY = 0x97, 0x89
SHORT, SPENT, WELL = "memory is short", "memory is spent", "memory is no longer short"


@pytest.fixture
def siege(clients):
    """A broker with little memory, and the means to attack it."""
    limits = {"max_memory_bytes": MEMORY_BYTES}
    broker = brokers.start(Options.of(limits=limits, system_topics_interval_seconds=1))
    try:
        yield Siege(broker, clients, dialler(broker, clients), connecter(broker, clients))
        assert broker.alive(), broker.log
    finally:
        broker.stop()


@pytest.fixture
def bystanders(siege):
    """Two that were there before, at QoS 0: `check` says whether they are served."""
    subscriber, publisher = siege.connect(), siege.connect()
    subscriber.subscribe("bystanders")

    def check():
        publisher.publish("bystanders", b"still here")
        subscriber.expect_message("bystanders")

    return check


def said(siege, text):
    """How often the broker said so."""
    return sum(text in line for line in siege.broker.log)


def await_said(siege, text):
    """Wait until the broker has said so."""
    deadline = time.monotonic() + 10
    while not said(siege, text):
        assert time.monotonic() < deadline, siege.broker.log
        time.sleep(0.02)


def await_well(siege):
    """Wait until somebody new is let in."""
    deadline = time.monotonic() + 10
    while True:
        client = siege.dial()
        client.send_connect()
        if client.expect("CONNACK").code == 0:
            return client
        assert time.monotonic() < deadline, "memory does not come back"


def test_queues_end_where_the_memory_does(siege, bystanders, topic):
    names = [f"sleeper-{at}" for at in range(4)]
    for name in names:
        sleeper = siege.connect(5, name, persistent=True)
        sleeper.subscribe(f"{topic}/{name}", qos=1)
        sleeper.disconnect()
    publisher, payload, kept = siege.connect(), b"x" * 100_000, 0
    publisher.subscribe("$SYS/broker/overload/+")
    while publisher.publish(f"{topic}/{names[kept % 4]}", payload, 1) == 0:
        kept += 1
        assert siege.broker.resident_bytes() < MEMORY_BYTES + SLACK_BYTES
        assert kept < 5_000, "nothing is ever refused"
    bystanders()
    await_said(siege, SPENT)
    late = siege.dial()
    late.send_connect()
    late.expect_refusal(SERVER_BUSY, may_just_close=False)
    await_counts(publisher)
    # Who has something to take is let in, and that makes room.
    for at, name in enumerate(names):
        sleeper = siege.connect(5, name, persistent=True)
        messages = sleeper.messages(len(range(at, kept, 4)))
        assert all(message.payload == payload for message in messages)
    await_said(siege, WELL)
    await_well(siege).ping()
    assert (said(siege, SHORT), said(siege, SPENT)) == (1, 1), siege.broker.log


def await_counts(observer):
    """Wait until the broker's own topics count each step once."""
    counts = {}
    while set(counts.values()) != {b"1"} or len(counts) < 2:
        message = observer.await_packet("PUBLISH")
        counts[message.topic.rpartition("/")[2]] = message.payload
    assert counts.keys() == {"slowed", "refused"}


@pytest.mark.parametrize("qos", [0, 1])
def test_packets_that_do_not_come_to_their_end(siege, bystanders, qos):
    head = b"\x30\x80\x80\x80\x07" if qos == 0 else b"\x32\x80\x80\x80\x07"
    attackers = [siege.connect() for _ in range(120)]
    for attacker in attackers:
        with contextlib.suppress(OSError):
            attacker.send(head + b"\x00\x01t" + bytes(4 << 20))
        assert siege.broker.resident_bytes() < MEMORY_BYTES + SLACK_BYTES
    codes = {code_of(attacker) for attacker in attackers}
    assert QUOTA_EXCEEDED in codes
    bystanders()
    for attacker in attackers:
        attacker.close()
    await_well(siege).ping()


def code_of(client):
    """The reason code that the client is told now, if any."""
    with contextlib.suppress(OSError, ClosedError):
        if client.has_packet() and (packet := client.receive()) is not None:
            return packet.code
    return None


def test_readers_that_do_not_read(siege, bystanders, topic):
    stalled = [siege.dial(5, receive_buffer_bytes=4_096) for _ in range(400)]
    for client in stalled:
        client.connect()
        client.subscribe(topic)
    publisher = siege.connect()
    for _ in range(400):
        publisher.send(wire.publish(5, topic, b"x" * 9_000))
        assert siege.broker.resident_bytes() < MEMORY_BYTES + SLACK_BYTES
    publisher.ping()
    bystanders()
    for client in stalled:
        client.close()
    await_well(siege).ping()


def test_retained_messages_of_qos_0(siege, bystanders, topic):
    publisher = siege.connect()
    for at in range(1_600):
        publisher.send(wire.publish(5, f"{topic}/{at}", b"r" * 60_000, retain=True))
    publisher.ping()
    assert siege.broker.resident_bytes() < MEMORY_BYTES + SLACK_BYTES
    bystanders()
    for at in range(1_600):
        publisher.send(wire.publish(5, f"{topic}/{at}", b"", retain=True))
    publisher.ping()
    await_well(siege).ping()


def test_budget_is_left_alone_while_there_is_room(siege):
    Client(siege.broker.address, client_id="alone").close()
    siege.connect().publish("room", b"x" * 1_000_000, 1)
    assert not siege.broker.log[1:], siege.broker.log
