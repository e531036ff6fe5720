"""DISCONNECT from either side, and reasons for it. MQTT 3.1.1 §3.14, MQTT 5.0 §3.14 and §4.13."""

import contextlib
import signal

import pytest

from tests.conformance import brokers as servers
from tests.conformance import wire
from tests.conformance.wire import Client, Will

statement = pytest.mark.statement
MALFORMED, PROTOCOL_ERROR = 0x81, 0x82


@statement("MQTT311", "MQTT-3.14.4-3")
@statement("MQTT5", "MQTT-3.14.4-2", "MQTT-3.14.4-1")
def test_server_closes_after_disconnect(connect, version):
    client = connect(version)
    client.send(wire.disconnect(version))
    client.expect_close()


@statement("MQTT311", "MQTT-3.14.4-2")
@statement("MQTT5", "MQTT-3.14.4-1")
def test_packets_behind_disconnect_are_ignored(connect, version, topic):
    watcher = connect(version)
    watcher.subscribe(topic)
    client = connect(version)
    client.send(wire.disconnect(version) + wire.publish(version, topic, b"late"))
    client.expect_close()
    watcher.expect_nothing(after=connect(version))


@statement("MQTT311", "MQTT-3.14.1-1", "MQTT-2.2.2-1", "MQTT-2.2.2-2")
@statement("MQTT5", "MQTT-3.14.1-1", "MQTT-2.1.3-1", "MQTT-4.13.2-1")
@pytest.mark.versions(4, 5)
@pytest.mark.parametrize("flags", [1, 2, 4, 8, 15])
def test_reserved_flags_of_disconnect_are_malformed(connect, version, flags):
    client = connect(version)
    client.send(wire.frame(0xE0 | flags))
    client.expect_disconnect(MALFORMED)


@statement("MQTT311", "MQTT-2.2.2-1", "MQTT-2.2.2-2")
@statement("MQTT5", "MQTT-2.1.3-1", "MQTT-4.13.1-1")
@pytest.mark.versions(4, 5)
def test_reserved_flags_of_pingreq_are_malformed(connect, version):
    client = connect(version)
    client.send(b"\xc1\x00")
    client.expect_disconnect(MALFORMED)


@statement("MQTT5", "MQTT-3.14.2-1")
@pytest.mark.parametrize("code", [0x00, 0x04, *range(0x80, 0x84), 0x90, 0x93, 0x99])
def test_server_takes_all_reason_codes_of_a_client(connect, code):
    client = connect(5)
    client.send(wire.disconnect(5, code, {"reason_string": "why", "user_property": [("a", "b")]}))
    client.expect_close()


@statement("MQTT5", "MQTT-3.14.2-1")
@pytest.mark.parametrize("code", [0x01, 0x7F, 0x84, 0xFF])
def test_unknown_reason_codes_are_refused(connect, topic, code):
    watcher = connect(5)
    watcher.subscribe(topic)
    client = connect(5, will=Will(topic, b"not a normal end"))
    client.send(wire.disconnect(5, code))
    client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)
    watcher.expect_message(topic)


@statement("MQTT5", "MQTT-4.13.1-1")
@pytest.mark.parametrize(
    "body",
    [b"\x00\x01", b"\x00\x02\x01\x00", b"\x00\x05\x11\x00\x00\x00", b"\x00\x03\x1c\x00\x00\x00"],
    ids=["length-past-the-end", "not-for-disconnect", "cut-off", "bytes-behind"],
)
def test_malformed_disconnect_is_refused(connect, body):
    client = connect(5)
    client.send(wire.frame(0xE0, body))
    client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)


@statement("MQTT311", "MQTT-4.8.0-1")
def test_disconnect_with_a_body_is_malformed_at_3_1_1(connect, topic):
    watcher = connect(4)
    watcher.subscribe(topic)
    client = connect(4, will=Will(topic, b"not a normal end"))
    client.send(wire.frame(0xE0, b"\x00"))
    client.expect_close()
    watcher.expect_message(topic)


# Packets that only a server sends.
SERVER_PACKETS = {
    "CONNACK": b"\x20\x03\x00\x00\x00",
    "SUBACK": b"\x90\x04\x00\x01\x00\x00",
    "UNSUBACK": b"\xb0\x04\x00\x01\x00\x00",
    "PINGRESP": b"\xd0\x00",
    "type-0": b"\x00\x00",
}


@statement("MQTT311", "MQTT-4.8.0-1")
@statement("MQTT5", "MQTT-4.13.1-1")
@pytest.mark.parametrize("kind", SERVER_PACKETS)
def test_server_refuses_packets_that_servers_send(connect, version, kind):
    client = connect(version)
    client.send(SERVER_PACKETS[kind])
    client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)


@statement("MQTT311", "MQTT-4.8.0-1")
def test_auth_is_unknown_before_5_0(connect):
    client = connect(4)
    client.send(b"\xf0\x00")
    client.expect_close()


@statement("MQTT5", "MQTT-3.14.2-1", "MQTT-4.13.2-1", "MQTT-3.14.4-2", "MQTT-3.14.2-2")
def test_server_gives_a_reason_string_with_its_disconnect(connect):
    client = connect(5)
    client.send(b"\x00\x00")
    packet = client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)
    assert packet.properties["reason_string"]


@statement("MQTT5", "MQTT-3.1.2-29", "MQTT-3.14.2-3")
def test_disconnect_may_keep_its_reason_string_without_problem_information(connect):
    # [MQTT-3.1.2-29] leaves PUBLISH, CONNACK and DISCONNECT out of the rule.
    client = connect(5, request_problem_information=0)
    client.send(b"\x00\x00")
    client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)


def provoke(client, topic):
    """Gets one refusing or remarking packet of each kind out of the server."""
    client.publish(topic, b"", 1)
    client.send_ack("PUBREC", 3_000)
    yield client.await_packet("PUBREL")
    client.send_ack("PUBREL", 3_001)
    yield client.await_packet("PUBCOMP")
    client.send_publish(topic, b"", 1)
    yield client.await_packet("PUBACK")
    client.send_publish(topic, b"", 2)
    yield client.await_packet("PUBREC")
    client.send(wire.subscribe(5, 1_000, [("bad/#/filter", 0), ("$share//x", 0)]))
    with contextlib.suppress(wire.ClosedError):
        yield client.await_packet("SUBACK")
        client.send(wire.unsubscribe(5, 1_001, ["never/subscribed"]))
        yield client.await_packet("UNSUBACK")


@statement("MQTT5", "MQTT-3.1.2-29")
def test_no_remarks_without_request_problem_information(connect, topic):
    client = connect(5, request_problem_information=0)
    for packet in provoke(client, topic):
        assert packet.properties == {}, packet


@statement("MQTT5", "MQTT-3.4.2-2", "MQTT-3.4.2-3", "MQTT-3.5.2-2", "MQTT-3.5.2-3")
@statement("MQTT5", "MQTT-3.6.2-2", "MQTT-3.6.2-3", "MQTT-3.7.2-2", "MQTT-3.7.2-3")
@statement("MQTT5", "MQTT-3.9.2-1", "MQTT-3.9.2-2", "MQTT-3.11.2-1", "MQTT-3.11.2-2")
@statement("MQTT5", "MQTT-3.1.2-24")
def test_remarks_never_make_a_packet_too_large(connect, topic):
    limit = 20  # a bare SUBACK of two codes takes 7 bytes; there is no room for a sentence
    client = connect(5, maximum_packet_size=limit)
    for packet in provoke(client, topic[:8]):
        assert packet.size <= limit


@statement("MQTT5", "MQTT-3.14.2-3", "MQTT-3.14.2-4", "MQTT-3.1.2-24")
@pytest.mark.parametrize("limit", [20, 24, 32, 48, 64])
def test_disconnect_fits_the_clients_maximum_packet_size(connect, limit):
    client = connect(5, maximum_packet_size=limit)
    client.send(b"\x00\x00")
    packet = client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)
    assert packet.size <= limit


@statement("MQTT5", "MQTT-3.1.2-24", "MQTT-3.1.2-25")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_message_too_large_for_a_client_is_left_out(connect, topic, qos):
    small, large = connect(5, maximum_packet_size=200, receive_maximum=1), connect(5)
    for client in (small, large):
        client.subscribe(topic, qos=qos)
    publisher = connect(5)
    for size in (10, 300, 20, 199):
        publisher.publish(topic, b"x" * size, qos)
    for size in (10, 300, 20, 199):
        large.expect_message(topic, b"x" * size)
    for size in (10, 20):
        assert small.expect_message(topic, b"x" * size).size <= 200
    small.expect_nothing()


@statement("MQTT5", "MQTT-3.1.2-24", "MQTT-3.1.2-25")
def test_message_of_exactly_the_maximum_is_delivered(connect, topic):
    client = connect(5)
    client.subscribe(topic)
    client.publish(topic, b"x" * 50)
    size = client.expect_message(topic).size
    for limit, fits in ((size, True), (size - 1, False)):
        narrow = connect(5, maximum_packet_size=limit)
        narrow.subscribe(topic)
        client.publish(topic, b"x" * 50)
        if fits:
            assert narrow.expect_message(topic).size == limit
        narrow.expect_nothing(after=None)


@statement("MQTT5", "MQTT-3.1.2-25")
def test_message_too_large_does_not_block_a_session(connect, topic):
    client = connect(5, persistent=True)
    client.subscribe(topic, qos=1)
    client.disconnect()
    publisher = connect(5)
    publisher.publish(topic, b"x" * 300, 1)
    publisher.publish(topic, b"small", 1)
    again = connect(5, client.client_id, persistent=True, maximum_packet_size=200)
    again.expect_message(topic, b"small")
    again.expect_nothing()


@pytest.mark.broker(limits={"max_packet_bytes": 1_000})
@statement("MQTT5", "MQTT-4.13.1-1", "MQTT-4.13.2-1")
def test_packet_above_the_servers_maximum_is_refused_by_its_length(connect, version, topic):
    client = connect(version)
    room = 1_000 - 3 - 2 - len(topic) - (version == 5)
    client.publish(topic, b"x" * room)
    client.ping()
    client.send(b"\x30\xe6\x07")  # 998 bytes announced behind 3: one too many, none sent
    client.expect_disconnect(0x95)


@statement("MQTT311", "MQTT-4.8.0-1")
@statement("MQTT5", "MQTT-3.14.4-2", "MQTT-3.14.2-2", "MQTT-4.13.2-1")
def test_shutting_down_server_says_so(version):
    broker = servers.start(servers.Options())
    try:
        client = Client(broker.address, version, client_id="shutdown")
        client.connect()
        broker.process.send_signal(signal.SIGTERM)
        client.expect_disconnect(0x8B)
        assert broker.process.wait(30) == 0
    finally:
        broker.stop()


@statement("MQTT5", "MQTT-3.14.2-3")
@pytest.mark.parametrize("reason_strings", [True, False])
def test_operator_decides_whether_the_server_says_why_in_words(connect_to, reason_strings):
    client = connect_to(protocol={"reason_strings": reason_strings})(5)
    client.send(wire.connect(5, client.client_id))
    farewell = client.expect_disconnect(0x82)
    assert ("reason_string" in farewell.properties) is reason_strings
    assert reason_strings or farewell.size == 3
