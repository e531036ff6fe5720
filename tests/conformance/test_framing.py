"""Lengths, fragments and packet borders. MQTT 3.1.1 §2, MQTT 5.0 §1.5.5 and §2.1."""

import pytest

from tests.conformance import wire

statement = pytest.mark.statement
MALFORMED, PROTOCOL_ERROR = 0x81, 0x82


@statement("MQTT5", "MQTT-1.5.5-1", "MQTT-4.13.1-1")
@pytest.mark.versions(5)
@pytest.mark.parametrize(
    "length", [b"\x80\x00", b"\x80\x80\x00", b"\x80\x80\x80\x00"], ids=bytes.hex
)
def test_remaining_length_not_in_its_shortest_form_is_malformed(connect, version, length):
    client = connect(version)
    client.send(b"\xc0" + length)
    client.expect_disconnect(MALFORMED)


@statement("MQTT311", "MQTT-4.8.0-1")
@statement("MQTT5", "MQTT-1.5.5-1", "MQTT-4.13.1-1")
def test_remaining_length_of_five_bytes_is_malformed(connect, version):
    client = connect(version)
    client.send(b"\x30\xff\xff\xff\xff\x01")
    client.expect_disconnect(MALFORMED)


@statement("MQTT311", "MQTT-4.8.0-1")
@statement("MQTT5", "MQTT-4.13.1-1")
def test_unfinished_remaining_length_of_four_bytes_is_refused_at_once(connect, version):
    client = connect(version)
    client.send(b"\x30\xff\xff\xff\xff")
    client.expect_disconnect(MALFORMED)


@statement("MQTT311", "MQTT-7.1.1-1")
@statement("MQTT5", "MQTT-4.2-1")
def test_packets_may_come_a_byte_at_a_time(dial, version, topic):
    client = dial(version)
    stream = (
        wire.connect(version, client.client_id)
        + wire.subscribe(version, 1, [(topic, 2)])
        + wire.publish(version, topic, b"x" * 200, qos=2, packet_id=2)
        + wire.acknowledgement(version, "PUBREL", 2)
        + wire.PINGREQ
    )
    for at in range(len(stream)):
        client.send(stream[at : at + 1])
    client.expect("CONNACK", code=0)
    client.expect("SUBACK", codes=(2,))
    client.await_packet("PUBREC", packet_id=2)
    client.await_packet("PUBCOMP", packet_id=2)
    client.await_packet("PINGRESP")
    client.expect("PUBLISH", payload=b"x" * 200)


@statement("MQTT311", "MQTT-7.1.1-1")
@statement("MQTT5", "MQTT-4.2-1")
@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_packets_may_be_cut_anywhere(dial, version, cut):
    client = dial(version)
    stream = wire.connect(version, client.client_id) + wire.PINGREQ * 3
    client.send(stream[:cut])
    client.send(stream[cut:])
    client.expect("CONNACK", code=0)
    for _ in range(3):
        client.expect("PINGRESP")


def packets_of(version):
    return {
        "PUBLISH": wire.publish(version, "a/b", b"", qos=1, packet_id=1),
        "PUBACK": wire.acknowledgement(version, "PUBACK", 1),
        "PUBREL": wire.acknowledgement(version, "PUBREL", 1),
        "SUBSCRIBE": wire.subscribe(version, 1, [("a/b", 0)]),
        "UNSUBSCRIBE": wire.unsubscribe(version, 1, ["a/b"]),
        "PINGREQ": wire.PINGREQ,
    }


@statement("MQTT311", "MQTT-4.8.0-1")
@statement("MQTT5", "MQTT-4.13.1-1")
@pytest.mark.versions(4, 5)
@pytest.mark.parametrize("kind", ["PUBLISH", "PUBACK", "PUBREL", "SUBSCRIBE", "UNSUBSCRIBE"])
def test_length_shorter_than_the_fields_is_malformed(connect, version, kind):
    """The next packet's bytes are never taken for fields of this one."""
    whole = packets_of(version)[kind]
    for missing in range(1, len(whole) - 1):
        body = whole[2 : len(whole) - missing]
        if version == 5 and kind == "PUBACK" and len(body) >= 2:
            continue
        if kind == "PUBLISH" and len(body) == len(whole) - 2:
            continue
        client = connect(version)
        client.send(wire.frame(whole[0], body) + wire.PINGREQ * 8)
        client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)


@statement("MQTT311", "MQTT-4.8.0-1")
@statement("MQTT5", "MQTT-4.13.1-1")
@pytest.mark.versions(4, 5)
@pytest.mark.parametrize("kind", ["PUBACK", "PUBREL", "SUBSCRIBE", "UNSUBSCRIBE", "PINGREQ"])
@pytest.mark.parametrize("more", [1, 2, 20])
def test_length_longer_than_the_fields_is_malformed(connect, version, kind, more):
    whole = packets_of(version)[kind]
    client = connect(version)
    client.send(wire.frame(whole[0], whole[2:] + b"\xff" * more))
    client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)


@statement("MQTT5", "MQTT-2.2.2-1", "MQTT-1.5.5-1")
def test_every_packet_of_the_server_is_strictly_well_formed(connect, topic):
    """The test's own reader refuses wrong flags, long integers, stray properties and codes."""
    client = connect(5, "", topic_alias_maximum=2, request_response_information=1)
    client.subscribe(topic, qos=2, subscription_identifier=200)
    for qos in (0, 1, 2):
        client.publish(topic, b"x", qos, message_expiry_interval=9, user_property=[("", "")])
    client.messages(3)
    client.unsubscribe(topic)
    client.expect_nothing()
