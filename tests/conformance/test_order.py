"""Order of messages and of acknowledgements. MQTT 3.1.1 §4.6, MQTT 5.0 §4.6."""

import pytest

from tests.conformance import wire
from tests.conformance.wire import Will

statement = pytest.mark.statement
COUNT = 200


def numbered(count=COUNT):
    return [b"%d" % at for at in range(count)]


@statement("MQTT311", "MQTT-4.6.0-5", "MQTT-4.6.0-6")
@statement("MQTT5", "MQTT-4.6.0-5", "MQTT-4.6.0-6")
@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("published", [0, 1, 2])
def test_messages_arrive_in_the_order_of_their_publisher(
    connect, version, topic, published, granted
):
    client, publisher = connect(version), connect(version)
    client.subscribe(topic, qos=granted)
    for payload in numbered():
        publisher.publish(topic, payload, published)
    assert [client.expect_message(topic).payload for _ in range(COUNT)] == numbered()


@statement("MQTT311", "MQTT-4.6.0-5", "MQTT-4.6.0-6")
@statement("MQTT5", "MQTT-4.6.0-5", "MQTT-4.6.0-6")
def test_order_holds_for_every_subscriber_and_publisher(connect, version, topic):
    subscribers = [connect(version) for _ in range(3)]
    for subscriber in subscribers:
        subscriber.subscribe(f"{topic}/+", qos=1)
    publishers = [connect(version) for _ in range(3)]
    for payload in numbered(60):
        for name, publisher in enumerate(publishers):
            publisher.send_publish(f"{topic}/{name}", payload, 1)
    for subscriber in subscribers:
        messages = [subscriber.expect_message() for _ in range(180)]
        for name in range(3):
            own = [message.payload for message in messages if message.topic == f"{topic}/{name}"]
            assert own == numbered(60)


@statement("MQTT311", "MQTT-4.6.0-6")
@statement("MQTT5", "MQTT-4.6.0-5")
def test_order_holds_from_the_offline_queue_into_live_messages(connect, version, topic):
    client = connect(version, persistent=True)
    client.subscribe(topic, qos=1)
    client.disconnect()
    publisher = connect(version)
    for payload in numbered(30):
        publisher.publish(topic, payload, 1)
    again = connect(version, client.client_id, persistent=True)
    for at in range(30, 60):
        publisher.publish(topic, b"%d" % at, 1)
    assert [again.expect_message(topic).payload for _ in range(60)] == numbered(60)


@statement("MQTT311", "MQTT-4.6.0-1", "MQTT-4.4.0-1")
@statement("MQTT5", "MQTT-4.6.0-1", "MQTT-4.4.0-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_messages_are_resent_in_their_first_order(connect, version, topic, qos):
    client = connect(version, persistent=True)
    client.subscribe(topic, qos=qos)
    publisher = connect(version)
    for payload in numbered(12):
        publisher.publish(topic, payload, qos)
    first = [client.expect("PUBLISH") for _ in range(12)]
    # Settle a few out of the middle, so that order cannot come from identifiers alone.
    for at in (4, 1, 9):
        client.ack(first[at])
    client.ping()
    client.cut()
    left = [message for at, message in enumerate(first) if at not in (1, 4, 9)]
    again = connect(version, client.client_id, persistent=True)
    resent = [again.expect("PUBLISH", dup=True) for _ in left]
    assert [message.payload for message in resent] == [message.payload for message in left]
    assert [message.packet_id for message in resent] == [message.packet_id for message in left]


@statement("MQTT311", "MQTT-4.6.0-1", "MQTT-4.4.0-1", "MQTT-4.3.3-1")
@statement("MQTT5", "MQTT-4.6.0-1", "MQTT-4.4.0-1", "MQTT-4.3.3-6")
def test_open_pubrels_and_publishes_are_resent_with_their_ids(connect, version, topic):
    client = connect(version, persistent=True)
    client.subscribe(topic, qos=2)
    publisher = connect(version)
    for payload in numbered(4):
        publisher.publish(topic, payload, 2)
    first = [client.expect("PUBLISH").packet_id for _ in range(4)]
    for packet_id in first[:2]:
        client.send_ack("PUBREC", packet_id)
        client.expect("PUBREL", packet_id=packet_id)
    client.cut()
    again = connect(version, client.client_id, persistent=True)
    packets = [again.receive() for _ in range(4)]
    assert {(packet.type, packet.packet_id) for packet in packets} == {
        ("PUBREL", first[0]),
        ("PUBREL", first[1]),
        ("PUBLISH", first[2]),
        ("PUBLISH", first[3]),
    }
    for kind in ("PUBREL", "PUBLISH"):
        ids = [packet.packet_id for packet in packets if packet.type == kind]
        assert ids == [packet_id for packet_id in first if packet_id in ids]
    again.expect_nothing()


@statement("MQTT311", "MQTT-4.6.0-6", "MQTT-4.6.0-1")
@statement("MQTT5", "MQTT-4.6.0-1", "MQTT-4.6.0-5")
def test_waiting_messages_come_behind_the_resent_ones(connect, version, topic):
    client = connect(version, persistent=True, will=Will(f"{topic}/gone", b""))
    client.subscribe(topic, qos=1)
    publisher = connect(version)
    publisher.subscribe(f"{topic}/gone")
    for payload in numbered(3):
        publisher.publish(topic, payload, 1)
        client.expect("PUBLISH")
    client.cut()
    publisher.expect("PUBLISH", topic=f"{topic}/gone")
    for at in range(3, 6):
        publisher.publish(topic, b"%d" % at, 1)
    again = connect(version, client.client_id, persistent=True)
    messages = again.messages(6)
    assert [message.payload for message in messages] == numbered(6)
    assert [message.dup for message in messages] == [True] * 3 + [False] * 3


@statement("MQTT311", "MQTT-4.6.0-2")
@statement("MQTT5", "MQTT-4.6.0-2")
def test_pubacks_come_in_the_order_of_the_publishes(connect, version, topic):
    client = connect(version)
    ids = [at * 7 % 101 + 1 for at in range(50)]
    client.send(
        b"".join(wire.publish(version, topic, b"", qos=1, packet_id=packet_id) for packet_id in ids)
    )
    assert [client.expect("PUBACK").packet_id for _ in ids] == ids


@statement("MQTT311", "MQTT-4.6.0-3")
@statement("MQTT5", "MQTT-4.6.0-3")
def test_pubrecs_come_in_the_order_of_the_publishes(connect, version, topic):
    client = connect(version)
    ids = [at * 7 % 101 + 1 for at in range(15)]
    client.send(
        b"".join(wire.publish(version, topic, b"", qos=2, packet_id=packet_id) for packet_id in ids)
    )
    assert [client.expect("PUBREC").packet_id for _ in ids] == ids
    client.send(b"".join(wire.acknowledgement(version, "PUBREL", one) for one in ids))
    assert [client.expect("PUBCOMP").packet_id for _ in ids] == ids


@statement("MQTT311", "MQTT-4.6.0-4")
@statement("MQTT5", "MQTT-4.6.0-4")
def test_pubrels_come_in_the_order_of_the_pubrecs(connect, version, topic):
    client, publisher = connect(version), connect(version)
    client.subscribe(topic, qos=2)
    for payload in numbered(10):
        publisher.publish(topic, payload, 2)
    ids = [client.expect("PUBLISH").packet_id for _ in range(10)]
    order = [ids[at * 3 % 10] for at in range(10)]
    client.send(b"".join(wire.acknowledgement(version, "PUBREC", one) for one in order))
    assert [client.expect("PUBREL").packet_id for _ in order] == order
    for packet_id in order:
        client.send_ack("PUBCOMP", packet_id)
    client.expect_nothing()


@statement("MQTT311", "MQTT-4.6.0-6")
@statement("MQTT5", "MQTT-4.6.0-5")
def test_acknowledging_out_of_order_keeps_the_order_of_delivery(connect, version, topic):
    client, publisher = connect(version), connect(version)
    client.subscribe(topic, qos=1)
    for payload in numbered(60):
        publisher.publish(topic, payload, 1)
    got, window = [], []
    while len(got) < 60:
        message = client.expect("PUBLISH")
        got.append(message.payload)
        window.append(message)
        if len(window) == 5:
            for at in (3, 0, 4, 1, 2):
                client.ack(window[at])
            window.clear()
    assert got == numbered(60)
