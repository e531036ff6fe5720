"""What a client writes and refuses on the wire. MQTT 3.1.1 §1.5, §2, §4.7; MQTT 5.0 the same."""

from __future__ import annotations

import pytest

from noctule.protocol import (
    Properties,
    PropertyId,
    ReasonCode,
    SubscriptionRequest,
    Version,
    decode_packet,
    encode_packet,
)
from noctule.protocol.errors import InvalidArgumentError, InvalidTopicError, ProtocolError
from noctule.protocol.events import Disconnected
from noctule.protocol.message import Message
from noctule.protocol.packets import (
    Connect,
    Disconnect,
    Publish,
    Subscribe,
    Unsubscribe,
    WillPacket,
)
from tests.unit.protocol.serving import Server, only

statement = pytest.mark.statement
VERSIONS = pytest.mark.versions(Version.V3_1_1, Version.V5)

BAD_UTF8 = [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xe2\x82"]


def publish_bytes(version: Version, topic: bytes, first: int = 0x30) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + (b"\0" if version == 5 else b"") + b"x"
    return bytes((first, len(body))) + body


def refused(version: Version, data: bytes) -> Disconnected:
    """What happens when the server sends `data`: the connection ends."""
    server = Server(version=version)
    server.accept()
    [event] = server.send_bytes(data)
    assert isinstance(event, Disconnected)
    assert event.error is not None
    sent = server.sent()
    if version == 5:
        assert [p.reason_code for p in only(Disconnect, sent)] == [event.reason_code]
    else:
        assert sent == []
    return event


# --- Strings --------------------------------------------------------------------------


@statement("MQTT311", "MQTT-1.5.3-1", "MQTT-3.3.2-1", "MQTT-4.8.0-1")
@statement("MQTT5", "MQTT-1.5.4-1", "MQTT-3.3.2-1")
@pytest.mark.parametrize("raw", BAD_UTF8)
@VERSIONS
def test_strings_that_are_not_utf_8_end_the_connection(version: Version, raw: bytes) -> None:
    assert refused(version, publish_bytes(version, raw)).reason_code == 0x81


@statement("MQTT311", "MQTT-1.5.3-1", "MQTT-1.5.3-2", "MQTT-3.3.2-1")
@statement("MQTT5", "MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-3.3.2-1")
@pytest.mark.parametrize("text", ["\ud800", "a\0b"])
@VERSIONS
def test_such_strings_are_never_sent(version: Version, text: str) -> None:
    server = Server(version=version)
    server.accept()
    with pytest.raises(InvalidArgumentError):
        server.publish(text)
    with pytest.raises(InvalidArgumentError):
        server.session.subscribe([SubscriptionRequest(text)])
    assert server.sent() == []


@statement("MQTT311", "MQTT-1.5.3-2", "MQTT-4.7.3-2")
@statement("MQTT5", "MQTT-1.5.4-2", "MQTT-4.7.3-2")
@VERSIONS
def test_u_0000_in_a_string_ends_the_connection(version: Version) -> None:
    refused(version, publish_bytes(version, b"a\0b"))


@statement("MQTT311", "MQTT-1.5.3-3")
@statement("MQTT5", "MQTT-1.5.4-3")
@VERSIONS
def test_byte_order_mark_is_a_character(version: Version) -> None:
    server = Server(version=version)
    server.accept()
    server.publish("\ufeffa", qos=0)
    assert [p.topic for p in only(Publish, server.sent())] == ["\ufeffa"]
    [message] = server.deliver(0, 0, topic="\ufeffa")
    assert isinstance(message, Message)
    assert message.topic == "\ufeffa"


@statement("MQTT5", "MQTT-1.5.7-1")
@pytest.mark.parametrize("pair", [("\ud800", "b"), ("a", "\0")])
def test_both_halves_of_a_user_property_are_strings(pair: tuple[str, str]) -> None:
    server = Server()
    server.accept()
    with pytest.raises(InvalidArgumentError):
        server.publish(properties=Properties([(PropertyId.USER_PROPERTY, pair)]))
    good = encode_packet(
        5, Publish("a", b"", properties=Properties([(PropertyId.USER_PROPERTY, ("ab", "cd"))]))
    )
    for half in (b"ab", b"cd"):
        refused(Version.V5, good.replace(half, b"\xff\xfe"))


@statement("MQTT5", "MQTT-1.5.5-1")
def test_variable_byte_integers_are_as_short_as_can_be() -> None:
    refused(Version.V5, b"\x30\x85\x00\x00\x01a\x00x")
    refused(Version.V5, b"\x30\x06\x00\x01a\x80\x00x")
    server = Server()
    server.accept()
    for size, length_bytes in ((122, 1), (123, 1), (124, 2), (16_379, 2), (16_380, 3)):
        server.publish("a", bytes(size), 0)
        data = server.sent_bytes()
        assert len(data) == 1 + length_bytes + 4 + size


@statement("MQTT5", "MQTT-2.2.2-1")
def test_no_properties_are_a_property_length_of_0() -> None:
    server = Server()
    server.accept()
    server.publish("a", b"x", 0)
    assert server.sent_bytes() == b"\x30\x05\x00\x01a\x00x"
    server.session.subscribe([SubscriptionRequest("a")])
    assert server.sent_bytes()[4:5] == b"\x00"


# --- Flags ----------------------------------------------------------------------------


@statement("MQTT311", "MQTT-2.2.2-1", "MQTT-2.2.2-2", "MQTT-3.6.1-1")
@statement("MQTT5", "MQTT-2.1.3-1", "MQTT-3.6.1-1", "MQTT-3.14.1-1", "MQTT-3.15.1-1")
@pytest.mark.parametrize(
    "data",
    [b"\x61\x02\0\1", b"\x60\x02\0\1", b"\x41\x02\0\1", b"\xd1\0", b"\xe1\0", b"\xf1\0"],
)
@VERSIONS
def test_wrong_fixed_header_flags_end_the_connection(version: Version, data: bytes) -> None:
    refused(version, data)


@statement("MQTT311", "MQTT-2.2.2-1", "MQTT-3.6.1-1", "MQTT-3.8.1-1", "MQTT-3.10.1-1")
@statement(
    "MQTT5", "MQTT-2.1.3-1", "MQTT-3.6.1-1", "MQTT-3.8.1-1", "MQTT-3.10.1-1", "MQTT-3.14.1-1"
)
@VERSIONS
def test_packets_have_the_flags_laid_down(version: Version) -> None:
    server = Server(version=version)
    server.accept()
    server.session.subscribe([SubscriptionRequest("a")])
    assert server.sent_bytes()[0] == 0x82
    server.session.unsubscribe(["a"])
    assert server.sent_bytes()[0] == 0xA2
    server.publish(qos=2)
    server.sent()
    server.send_bytes(b"\x50\x02\x00\x03")
    assert server.sent_bytes() == b"\x62\x02\x00\x03"
    server.session.ping(server.now)
    assert server.sent_bytes() == b"\xc0\x00"
    server.session.disconnect(server.now)
    assert server.sent_bytes() == b"\xe0\x00"


@statement("MQTT5", "MQTT-3.15.1-1")
def test_auth_has_flags_0() -> None:
    server = Server(authentication_method="M")
    server.session.connect(server.now)
    server.sent()
    server.session.authenticate(b"x")
    assert server.sent_bytes()[0] == 0xF0


@statement("MQTT311", "MQTT-3.3.1-4")
@statement("MQTT5", "MQTT-3.3.1-4")
@VERSIONS
def test_qos_3_is_malformed_and_never_sent(version: Version) -> None:
    assert refused(version, publish_bytes(version, b"a", 0x36)).reason_code == 0x81
    server = Server(version=version)
    server.accept()
    with pytest.raises(InvalidArgumentError):
        server.publish(qos=3)


@statement("MQTT311", "MQTT-3.3.1-2")
@statement("MQTT5", "MQTT-3.3.1-2")
@VERSIONS
def test_dup_on_qos_0_ends_the_connection(version: Version) -> None:
    refused(version, publish_bytes(version, b"a", 0x38))


# --- Topics ---------------------------------------------------------------------------


@statement("MQTT311", "MQTT-3.3.2-2", "MQTT-4.7.1-1", "MQTT-4.7.3-1", "MQTT-4.7.3-3")
@statement("MQTT5", "MQTT-3.3.2-2", "MQTT-4.7.0-1", "MQTT-4.7.3-1", "MQTT-4.7.3-3")
@pytest.mark.parametrize("topic", ["a/+", "#", "a#", "", "x" * 65_536])
@VERSIONS
def test_such_topic_names_are_never_sent(version: Version, topic: str) -> None:
    server = Server(version=version)
    server.accept()
    for qos in (0, 1, 2):
        with pytest.raises(InvalidTopicError):
            server.publish(topic, qos=qos)
    assert server.sent() == []


@statement("MQTT311", "MQTT-3.3.2-2", "MQTT-4.7.1-1", "MQTT-4.7.3-1")
@statement("MQTT5", "MQTT-3.3.2-2", "MQTT-4.7.0-1", "MQTT-4.7.3-1")
@pytest.mark.parametrize("topic", [b"a/+", b"#", b""])
@VERSIONS
def test_such_topic_names_end_the_connection(version: Version, topic: bytes) -> None:
    refused(version, publish_bytes(version, topic))


@statement("MQTT311", "MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-4.7.3-1", "MQTT-4.7.3-3")
@statement("MQTT311", "MQTT-3.8.3-1", "MQTT-3.10.3-1", "MQTT-4.7.3-2")
@statement("MQTT5", "MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-4.7.3-1", "MQTT-4.7.3-3")
@statement("MQTT5", "MQTT-3.8.3-1", "MQTT-3.10.3-1", "MQTT-4.7.3-2")
@statement("MQTT5", "MQTT-4.8.2-1", "MQTT-4.8.2-2")
@pytest.mark.parametrize(
    "topic_filter",
    [
        "", "a#", "a/#/b", "#/a", "a+", "+a/b", "a/b+/c", "x" * 65_536, "\ud800", "a\0",
        "$share/", "$share/g", "$share//a", "$share/g+/a", "$share/#/a", "$share/g/",
    ],
)  # fmt: skip
@VERSIONS
def test_such_filters_are_never_sent(version: Version, topic_filter: str) -> None:
    server = Server(version=version)
    server.accept()
    with pytest.raises(InvalidTopicError):
        server.session.subscribe([SubscriptionRequest(topic_filter)])
    with pytest.raises(InvalidTopicError):
        server.session.unsubscribe([topic_filter])
    assert server.sent() == []


@statement("MQTT311", "MQTT-4.7.1-2", "MQTT-4.7.1-3")
@statement("MQTT5", "MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-4.8.2-1", "MQTT-4.8.2-2")
@pytest.mark.parametrize("topic_filter", ["#", "+", "a/#", "+/a/+", "/", "$share/g/a/#"])
@VERSIONS
def test_such_filters_are_sent_as_they_are(version: Version, topic_filter: str) -> None:
    server = Server(version=version)
    server.accept()
    server.session.subscribe([SubscriptionRequest(topic_filter)])
    server.session.unsubscribe([topic_filter])
    subscribe, unsubscribe = server.sent()
    assert isinstance(subscribe, Subscribe)
    assert isinstance(unsubscribe, Unsubscribe)
    assert subscribe.requests[0].topic_filter == unsubscribe.topic_filters[0] == topic_filter


@statement("MQTT311", "MQTT-3.8.3-3", "MQTT-3.10.3-2")
@statement("MQTT5", "MQTT-3.8.3-2", "MQTT-3.10.3-2")
@VERSIONS
def test_requests_have_at_least_one_filter(version: Version) -> None:
    server = Server(version=version)
    server.accept()
    with pytest.raises(InvalidArgumentError):
        server.session.subscribe([])
    with pytest.raises(InvalidArgumentError):
        server.session.unsubscribe([])
    assert server.sent() == []


@statement("MQTT5", "MQTT-3.8.3-4")
def test_no_local_is_not_asked_of_a_shared_subscription() -> None:
    server = Server()
    server.accept()
    with pytest.raises(InvalidArgumentError):
        server.session.subscribe([SubscriptionRequest("$share/g/a", no_local=True)])
    assert server.sent() == []


@statement("MQTT5", "MQTT-3.3.2-13", "MQTT-3.3.2-14", "MQTT-3.3.2-19")
@pytest.mark.parametrize(
    ("identifier", "value"),
    [
        (PropertyId.RESPONSE_TOPIC, "a/+"),
        (PropertyId.RESPONSE_TOPIC, "#"),
        (PropertyId.RESPONSE_TOPIC, "\ud800"),
        (PropertyId.CONTENT_TYPE, "\ud800"),
        (PropertyId.CONTENT_TYPE, "\0"),
    ],
)
def test_such_message_properties_are_never_sent(identifier: PropertyId, value: str) -> None:
    server = Server()
    server.accept()
    for qos in (0, 1):
        with pytest.raises(InvalidArgumentError):
            server.publish(qos=qos, properties=Properties([(identifier, value)]))
    assert server.sent() == []


@statement("MQTT5", "MQTT-3.3.2-13", "MQTT-3.3.2-14", "MQTT-3.3.2-19")
@pytest.mark.parametrize(
    ("identifier", "raw"),
    [(0x08, b"a/+"), (0x08, b"\xff\xfe\xfd"), (0x03, b"\xff\xfe\xfd")],
)
def test_such_message_properties_end_the_connection(identifier: int, raw: bytes) -> None:
    section = bytes((identifier, 0, len(raw))) + raw
    body = b"\0\1a" + bytes((len(section),)) + section
    refused(Version.V5, bytes((0x30, len(body))) + body)


# --- Packet identifiers ---------------------------------------------------------------


@statement("MQTT311", "MQTT-2.3.1-1", "MQTT-2.3.1-2", "MQTT-2.3.1-5")
@statement("MQTT5", "MQTT-2.2.1-2", "MQTT-2.2.1-3", "MQTT-4.3.2-1", "MQTT-4.3.3-1")
@VERSIONS
def test_packet_identifiers_are_free_ones_and_never_0(version: Version) -> None:
    server = Server(version=version, send_maximum=65_535)
    server.accept()
    server.publish(qos=0)
    for index in range(300):
        server.publish(qos=1 + index % 2)
    for _ in range(5):
        server.session.subscribe([SubscriptionRequest("a")])
        server.session.unsubscribe(["a"])
    sent = server.sent()
    assert only(Publish, sent)[0].packet_identifier == 0
    identifiers = [
        p.packet_identifier for p in sent[1:] if isinstance(p, Publish | Subscribe | Unsubscribe)
    ]
    assert len(set(identifiers)) == len(identifiers) == 310
    assert 0 not in identifiers


@statement("MQTT311", "MQTT-2.3.1-1")
@statement("MQTT5", "MQTT-2.2.1-3")
@VERSIONS
def test_packet_identifier_0_ends_the_connection(version: Version) -> None:
    tail = b"\0" if version == 5 else b""
    refused(version, bytes((0x32, 5 + len(tail))) + b"\0\1a\0\0" + tail)


# --- CONNECT --------------------------------------------------------------------------


@statement("MQTT311", "MQTT-3.1.2-9", "MQTT-3.1.3-1", "MQTT-3.1.3-3", "MQTT-3.1.2-19")
@statement("MQTT311", "MQTT-3.1.2-21", "MQTT-3.1.2-14")
@statement("MQTT5", "MQTT-3.1.2-9", "MQTT-3.1.3-1", "MQTT-3.1.3-3", "MQTT-3.1.2-17")
@statement("MQTT5", "MQTT-3.1.2-19", "MQTT-3.1.2-12")
@pytest.mark.parametrize("qos", [0, 1, 2])
@VERSIONS
def test_connect_has_its_fields_in_order(version: Version, qos: int) -> None:
    will = WillPacket("will/topic", b"will payload", qos, True)
    server = Server(version=version, client_identifier="identifier", will=will)
    server.session.connect(server.now, user_name="user", password=b"password")
    data = server.sent_bytes()
    fields = [b"identifier", b"will/topic", b"will payload", b"user", b"password"]
    positions = [data.index(b"\0" + bytes((len(field),)) + field) for field in fields]
    assert positions == sorted(positions)
    flags = data[9]
    assert flags & 0xC4 == 0xC4
    assert flags >> 3 & 3 == qos
    assert flags & 0x20


@statement("MQTT311", "MQTT-3.1.2-11", "MQTT-3.1.2-13", "MQTT-3.1.2-15", "MQTT-3.1.2-18")
@statement("MQTT311", "MQTT-3.1.2-20", "MQTT-3.1.2-22")
@statement("MQTT5", "MQTT-3.1.2-11", "MQTT-3.1.2-13", "MQTT-3.1.2-16", "MQTT-3.1.2-18")
@VERSIONS
def test_connect_has_nothing_that_was_not_given(version: Version) -> None:
    server = Server(version=version, client_identifier="id")
    server.session.connect(server.now)
    data = server.sent_bytes()
    assert data[9] & 0xFC == 0
    assert data.endswith(b"\0\2id")


@statement("MQTT311", "MQTT-3.1.2-22")
def test_password_needs_a_user_name_before_5() -> None:
    server = Server(version=Version.V3_1_1)
    with pytest.raises(InvalidArgumentError):
        server.session.connect(server.now, password=b"secret")


@statement("MQTT311", "MQTT-3.1.2-14")
@statement("MQTT5", "MQTT-3.1.2-12")
@VERSIONS
def test_will_qos_3_is_never_sent(version: Version) -> None:
    server = Server(version=version, will=WillPacket("a", b"", 3))
    with pytest.raises(InvalidArgumentError):
        server.session.connect(server.now)


@statement("MQTT311", "MQTT-3.1.3-4", "MQTT-3.1.3-10", "MQTT-3.1.3-11")
@statement("MQTT5", "MQTT-3.1.3-4", "MQTT-3.1.3-11", "MQTT-3.1.3-12")
@VERSIONS
def test_strings_of_connect_are_utf_8(version: Version) -> None:
    bad = "\ud800"
    with pytest.raises(InvalidArgumentError):
        Server(version=version, client_identifier=bad).session.connect(0.0)
    with pytest.raises(InvalidArgumentError):
        Server(version=version, will=WillPacket(bad, b"")).session.connect(0.0)
    with pytest.raises(InvalidArgumentError):
        Server(version=version).session.connect(0.0, user_name=bad)


@statement("MQTT311", "MQTT-3.1.3-7")
def test_empty_client_identifier_asks_for_a_clean_session() -> None:
    server = Server(
        version=Version.V3_1_1,
        client_identifier="",
        clean_start=False,
        session_expiry_interval=100,
    )
    server.session.connect(server.now)
    [connect] = server.sent()
    assert isinstance(connect, Connect)
    assert connect.clean_start
    with pytest.raises(InvalidArgumentError):
        encode_packet(4, Connect(Version.V3_1_1, "", clean_start=False))


# --- Reason codes ---------------------------------------------------------------------


@statement("MQTT5", "MQTT-3.4.2-1", "MQTT-3.5.2-1", "MQTT-3.6.2-1", "MQTT-3.7.2-1")
@statement("MQTT5", "MQTT-3.14.2-1", "MQTT-3.15.2-1")
@pytest.mark.parametrize("first", [0x40, 0x50, 0x62, 0x70])
@pytest.mark.parametrize("code", [0x01, 0x7F, 0xFF])
def test_reason_codes_that_do_not_belong_end_the_connection(first: int, code: int) -> None:
    refused(Version.V5, bytes((first, 3, 0, 1, code)))
    refused(Version.V5, bytes((0xE0, 1, code)))
    with pytest.raises(ProtocolError):
        decode_packet(5, bytes((0xF0, 6, code, 4, 0x15, 0, 1)) + b"M")


@statement("MQTT5", "MQTT-3.4.2-1", "MQTT-3.5.2-1", "MQTT-3.14.2-1")
def test_reason_codes_that_do_not_belong_are_never_sent() -> None:
    server = Server()
    server.accept()
    for qos in (1, 2):
        [message] = only(Message, server.deliver(qos, qos))
        with pytest.raises((InvalidArgumentError, ValueError)):
            server.session.acknowledge(message, ReasonCode.GRANTED_QOS_1)
    with pytest.raises(InvalidArgumentError):
        server.session.disconnect(server.now, ReasonCode.NO_MATCHING_SUBSCRIBERS)
