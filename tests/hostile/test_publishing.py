"""Group B of the catalogue: PUBLISH, acknowledgements, flow control."""

import contextlib
import threading
import time

import pytest

from tests.conformance import wire
from tests.conformance.wire import ILL_FORMED, ClosedError
from tests.hostile.siege import size

hostile = pytest.mark.hostile
MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID = 0x81, 0x82, 0x90
RECEIVE_MAXIMUM_EXCEEDED, TOPIC_ALIAS_INVALID, TOO_LARGE = 0x93, 0x94, 0x95


@hostile("B1")
@pytest.mark.parametrize(
    ("first", "body"),
    [
        (0x36, b"\x00\x01a\x00\x01\x00"),
        (0x38, b"\x00\x01a\x00"),
        (0x32, b"\x00\x01a\x00\x00\x00"),
        (0x30, b"\x00\x00\x00"),
        (0x30, b"\x00\x01+\x00"),
        (0x30, b"\x00\x01#\x00"),
        (0x30, b"\x00\x01\x00\x00"),
    ],
    ids=["qos-3", "dup-0", "id-0", "empty", "plus", "hash", "null"],
)
def test_impossible_publishes(siege, first, body):
    client = siege.connect()
    client.send(wire.frame(first, body))
    client.expect_disconnect(MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID)


@hostile("B2")
def test_every_ill_formed_string_in_every_place(siege):
    for text in ILL_FORMED.values():
        for raw in (None, b"\x03" + wire.string(text), b"\x08" + wire.string(text)):
            client = siege.connect()
            if raw is None:
                client.send_publish(text, b"")
            else:
                client.send_publish("a", b"", raw_properties=raw)
            client.expect_disconnect(MALFORMED, TOPIC_NAME_INVALID)


@hostile("B3")
def test_topics_as_long_and_deep_as_can_be(siege):
    publisher = siege.connect()
    watcher = siege.watch("#", qos=0)
    for name in ("t" * 65_535, "/" * 65_535, "a/" * 32_767 + "a"):
        stopwatch = siege.stopwatch()
        for _ in range(size(20, 10_000)):
            with contextlib.suppress(OSError):
                publisher.send_publish(name, b"")
            while watcher.has_packet():
                watcher.receive()
        publisher.send(wire.PINGREQ)
        answer = publisher.receive()
        if answer is None or answer.type == "DISCONNECT":
            assert answer is None or answer.code in (TOPIC_NAME_INVALID, 0x97, TOO_LARGE)
            publisher = siege.connect()
        assert stopwatch.seconds() < 2


@hostile("B4")
@pytest.mark.broker(limits={"max_packet_bytes": 100_000})
def test_payloads_at_the_limit(siege, version, topic):
    overhead = len(wire.publish(version, topic, b"x" * 90_000)) - 90_000
    client = siege.connect(version)
    client.subscribe(topic)
    client.publish(topic, b"x" * (100_000 - overhead))
    client.expect_message(topic)
    client.send_publish(topic, b"x" * (100_001 - overhead))
    client.expect_disconnect(TOO_LARGE)
    announcer = siege.connect(version)
    announcer.send(b"\x30\xff\xff\xff\x7f\x00")
    announcer.expect_disconnect(TOO_LARGE)


@hostile("B5")
def test_payload_that_is_not_the_text_it_claims(siege, topic):
    answers = set()
    for _ in range(5):
        client = siege.connect()
        answers.add(client.publish(topic, b"\xff\xfe", 1, payload_format_indicator=1))
    assert answers in ({0x10}, {0x99})


@hostile("B6", "B7")
def test_topic_aliases_out_of_bounds(siege, topic):
    probe = siege.connect()
    maximum = probe.connack.properties.get("topic_alias_maximum", 0)
    for alias in (0, maximum + 1, 65_535):
        client = siege.connect()
        client.send_publish(topic, b"", topic_alias=alias)
        client.expect_disconnect(TOPIC_ALIAS_INVALID, PROTOCOL_ERROR)
    client = siege.connect()
    client.send_publish("", b"", topic_alias=1)
    client.expect_disconnect(PROTOCOL_ERROR, TOPIC_ALIAS_INVALID)
    mapper = siege.connect()
    for alias in range(1, maximum + 1):
        mapper.send_publish("m" * 1_000 + str(alias), b"", topic_alias=alias)
    mapper.ping()
    mapper.subscribe(f"{topic}/#")
    for at in range(200):
        mapper.send_publish(f"{topic}/{at}", b"", topic_alias=1)
        mapper.send_publish("", b"again", topic_alias=1)
    for at in range(200):
        mapper.expect("PUBLISH", topic=f"{topic}/{at}")
        mapper.expect("PUBLISH", topic=f"{topic}/{at}", payload=b"again")
    name = mapper.client_id
    mapper.disconnect()
    again = siege.connect(5, name)
    again.send_publish("", b"", topic_alias=1)
    again.expect_disconnect(PROTOCOL_ERROR, TOPIC_ALIAS_INVALID)


@hostile("B8")
@pytest.mark.parametrize("section", [b"\x0b\x01", b"\x08\x00\x03a/+", b"\x08\x00\x01#"])
def test_properties_a_client_may_not_send(siege, section):
    client = siege.connect()
    client.send_publish("a", b"", raw_properties=section)
    client.expect_disconnect(PROTOCOL_ERROR, TOPIC_NAME_INVALID, MALFORMED)


@hostile("B9")
def test_qos_2_again_and_again(siege, version, topic):
    watcher, client = siege.watch(topic, qos=2, version=version), siege.connect(version)
    client.send_publish(topic, b"first", 2, packet_id=7)
    client.expect("PUBREC", packet_id=7)
    for at in range(size(100, 10_000)):
        client.send_publish(topic, b"other %d" % at, 2, packet_id=7, dup=at % 2 == 0)
        client.expect("PUBREC", packet_id=7)
    client.send_ack("PUBREL", 7)
    client.expect("PUBCOMP", packet_id=7)
    watcher.expect_message(topic, b"first")
    watcher.expect_nothing(after=client)


@hostile("B10")
def test_qos_2_without_pubrel(siege, topic):
    client = siege.connect()
    maximum = client.connack.properties.get("receive_maximum", 65_535)
    for packet_id in range(1, min(maximum + 1, 65_535) + 1):
        client.send_publish(topic, b"", 2, packet_id=packet_id)
        if packet_id <= maximum:
            client.expect("PUBREC", packet_id=packet_id)
    if maximum < 65_535:
        client.expect_disconnect(RECEIVE_MAXIMUM_EXCEEDED)


@hostile("B11")
def test_pubrel_for_unknown_ids(siege, version):
    client = siege.connect(version)
    before = siege.broker.resident_bytes()
    for _ in range(size(20, 1_000)):
        client.send(
            b"".join(wire.acknowledgement(version, "PUBREL", one) for one in range(1, 1_001))
        )
        for one in range(1, 1_001):
            client.expect("PUBCOMP", packet_id=one, code=0x92 if version == 5 else 0)
    assert siege.broker.resident_bytes() - before < 4 << 20


@hostile("B12")
@pytest.mark.parametrize("kind", ["PUBACK", "PUBREC", "PUBCOMP"])
def test_acknowledgements_nobody_asked_for(siege, version, topic, kind):
    client = siege.connect(version, persistent=True)
    client.subscribe(topic, qos=2)
    publisher = siege.connect(version)
    publisher.publish(topic, b"kept", 2)
    message = client.expect("PUBLISH")
    for packet_id in range(1, 300):
        if packet_id != message.packet_id or kind != "PUBREC":
            with contextlib.suppress(OSError):
                client.send_ack(kind, packet_id)
    with contextlib.suppress(OSError):
        client.send(wire.PINGREQ)
        while (packet := client.receive()) is not None and packet.type != "PINGRESP":
            pass
    again = siege.connect(version, client.client_id, persistent=True)
    again.expect_message(topic, b"kept", packet_id=message.packet_id, dup=True)


@hostile("B13")
@pytest.mark.broker(limits={"max_queued_messages": 100})
def test_subscriber_that_acknowledges_nothing(siege, topic):
    client = siege.connect(5, receive_maximum=10)
    client.subscribe(topic, qos=1)
    publisher = siege.connect()
    for at in range(size(1_000, 100_000)):
        publisher.publish(topic, b"%d" % at, 1)
    assert [client.expect("PUBLISH").payload for _ in range(10)] == [b"%d" % n for n in range(10)]
    client.expect_nothing()


@hostile("B14")
def test_acknowledging_out_of_order_twice_and_late(siege, version, topic):
    client = siege.connect(version, persistent=True)
    client.subscribe(topic, qos=1)
    publisher = siege.connect(version)
    for at in range(10):
        publisher.publish(topic, b"%d" % at, 1)
    first = [client.expect("PUBLISH") for _ in range(10)]
    for at in (7, 7, 3, 3, 7):
        client.send_ack("PUBACK", first[at].packet_id)
    client.ping()
    client.cut()
    again = siege.connect(version, client.client_id, persistent=True)
    left = [message for at, message in enumerate(first) if at not in (3, 7)]
    for message in left:
        again.expect("PUBLISH", payload=message.payload, packet_id=message.packet_id, dup=True)
    for message in reversed(left):
        again.ack(message)
    again.expect_nothing()


@hostile("B15")
@pytest.mark.parametrize("code", [0x80, 0x97, 0x99])
def test_error_pubrec_settles(siege, topic, code):
    client = siege.connect(5, persistent=True)
    client.subscribe(topic, qos=2)
    publisher = siege.connect()
    for _ in range(100):
        publisher.publish(topic, b"refused", 2)
        client.send_ack("PUBREC", client.expect("PUBLISH", payload=b"refused").packet_id, code)
    client.expect_nothing()
    client.cut()
    siege.connect(5, client.client_id, persistent=True).expect_nothing()


@hostile("B16")
def test_publisher_faster_than_its_subscriber(siege, topic):
    slow = siege.dial(5, receive_buffer_bytes=8_192)
    slow.connect()
    slow.subscribe(topic)
    publisher, before = siege.connect(), siege.broker.resident_bytes()
    batch = wire.publish(5, topic, b"x" * 64) * 1_000

    def flood():
        with contextlib.suppress(OSError):
            for _ in range(size(50, 1_000)):
                publisher.socket.settimeout(60)
                publisher.send(batch)

    flooding = threading.Thread(target=flood)
    flooding.start()
    received, until = 0, time.monotonic() + 2
    while time.monotonic() < until:
        received += len(slow.socket.recv(20_000))
        time.sleep(0.02)
        assert siege.broker.resident_bytes() - before < 64 << 20
    slow.close()
    publisher.close()
    flooding.join(60)
    assert received


@hostile("B17")
def test_message_expiry_at_its_edges(siege, topic):
    away = siege.connect(5, persistent=True)
    away.subscribe(topic, qos=1)
    away.disconnect()
    publisher = siege.connect()
    for interval in (0, 1, 0xFFFF_FFFF):
        publisher.publish(topic, b"%d" % interval, 1, message_expiry_interval=interval)
    time.sleep(1.2)
    again = siege.connect(5, away.client_id, persistent=True)
    message = again.expect_message(topic, b"4294967295")
    assert 0xFFFF_FFFF - 5 <= message.properties["message_expiry_interval"] < 0xFFFF_FFFF
    again.expect_nothing()


@hostile("B18")
def test_all_packet_ids_for_rounds(siege, topic):
    """Every id from 1 to 65,535 and round again, a few always open."""
    client, publisher = siege.connect(5, receive_maximum=60), siege.connect()
    client.subscribe(topic, qos=1)
    batch = b"".join(wire.publish(5, topic, b"", qos=1, packet_id=one) for one in range(1, 51))
    held = []
    for turn in range(size(1_400, 4_000)):
        publisher.send(batch)
        answers = b""
        for _ in range(50):
            message = client.expect("PUBLISH", qos=1)
            assert message.packet_id not in held
            if len(held) < 5 and turn % 10 == 0:
                held.append(message.packet_id)
            else:
                answers += wire.acknowledgement(5, "PUBACK", message.packet_id)
        client.send(answers)
        for _ in range(50):
            publisher.expect("PUBACK")


@hostile("B19")
def test_id_of_a_subscribe_used_for_publish(siege, version, topic):
    client = siege.connect(version)
    client.send(
        wire.subscribe(version, 5, [(topic, 0)])
        + wire.publish(version, f"{topic}/other", b"", qos=1, packet_id=5)
    )
    with contextlib.suppress(ClosedError):
        client.await_packet("SUBACK", packet_id=5)
        assert client.await_packet("PUBACK", packet_id=5).code in (0, 0x10, 0x91)
