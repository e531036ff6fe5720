"""Every limit option, played up to its edge and one beyond it."""

import socket
import time

import pytest

from tests.conformance import wire
from tests.conformance.wire import Will

statement = pytest.mark.statement


def limits(**options):
    return pytest.mark.broker(limits=options)


MALFORMED, PROTOCOL_ERROR = 0x81, 0x82
QUOTA_EXCEEDED, RATE_TOO_HIGH, TOO_LARGE = 0x97, 0x96, 0x95


def away(connect, topic, version=5, qos=1, **fields):
    """A persistent session that is subscribed to the topic and offline; returns its id."""
    client = connect(version, persistent=True, **fields)
    client.subscribe(topic, qos=qos)
    client.disconnect()
    return client.client_id


def payloads(client):
    """All messages that are under way to this client."""
    client.send(wire.PINGREQ)
    got = []
    while (packet := client.receive()).type == "PUBLISH":
        got.append(packet.payload)
        client.ack(packet)
    assert packet.type == "PINGRESP"
    return got


def everything(client):
    """As payloads, until two rounds bring nothing more: flow control sends in pieces."""
    got, more = [], payloads(client)
    while more:
        got += more
        more = payloads(client)
    return got


# Connections


@limits(connect_timeout_seconds=1)
def test_silent_connection_is_closed_without_connack(dial, stopwatch):
    begin, running = time.monotonic(), stopwatch()
    dial().expect_close()
    assert time.monotonic() - begin >= 0.9
    assert running.seconds() <= 2.5


@limits(connect_timeout_seconds=1)
def test_connect_time_runs_from_accept_not_from_the_last_byte(dial, stopwatch):
    client, running = dial(), stopwatch()
    whole = wire.connect(5, client.client_id)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for at in range(len(whole)):
            client.send(whole[at : at + 1])
            time.sleep(0.2)
    assert running.seconds() <= 3


@limits(connect_timeout_seconds=1)
def test_connect_timeout_ends_with_connack(connect, elapse):
    client = connect(5)
    elapse(2)
    client.ping()


@limits(max_connections=3)
def test_connections_in_all_are_limited(dial, version):
    held = [_connects_in_time(dial, version) for _ in range(3)]
    extra = dial(version)
    extra.send_connect()
    extra.expect_refusal(0x97, 0x89, 0x88, 3)
    held[0].disconnect()
    _connects_in_time(dial, version)
    for client in held[1:]:
        client.ping()


@limits(max_connections_per_address=2)
def test_connections_by_address_are_limited(broker, dial, version):
    held = [_connects_in_time(dial, version) for _ in range(2)]
    extra = dial(version)
    extra.send_connect()
    extra.expect_refusal(0x97, 0x89, 0x88, 3)
    other = socket.create_connection(broker.address, source_address=("127.0.0.2", 0))
    other.sendall(wire.connect(4, "elsewhere"))
    assert other.recv(4) == b"\x20\x02\x00\x00"
    other.close()
    held[0].disconnect()
    _connects_in_time(dial, version)


def _connects_in_time(dial, version):
    """A client that is let in; a place that was given up, by the test before, too, is free soon."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        client = dial(version)
        try:
            client.send_connect()
            answer = client.receive()
        except (BrokenPipeError, ConnectionResetError):
            answer = None
        if answer is not None and answer.code == 0:
            return client
        time.sleep(0.05)
    raise AssertionError("no connection although there is room")


# Packets


@limits(max_connect_packet_bytes=200)
def test_connect_packet_has_a_limit_of_its_own(dial, connect, version, topic):
    client = dial(version)
    client.send_connect(username="u" * 300)
    client.expect_refusal(TOO_LARGE)
    connect(version).publish(topic, b"x" * 10_000, 1)


@limits(max_connect_packet_bytes=200)
def test_connect_packet_is_refused_by_its_length_alone(dial, version):
    client = dial(version)
    client.send(b"\x10\xff\xff\xff\x7f")
    client.expect_refusal(TOO_LARGE)


@statement("MQTT5", "MQTT-3.1.2-24")
@limits(max_packet_bytes=2_000)
def test_packet_size_counts_every_byte(connect, version, topic):
    client = connect(version)
    overhead = len(wire.publish(version, topic, b"x" * 1_000)) - 1_000
    client.subscribe(topic)
    client.publish(topic, b"x" * (2_000 - overhead))
    client.expect_message(topic)
    client.send_publish(topic, b"x" * (2_001 - overhead))
    client.expect_disconnect(TOO_LARGE)


@limits(max_properties_per_packet=10)
def test_properties_by_packet_are_limited(connect, topic):
    client = connect(5)
    client.subscribe(topic)
    client.publish(topic, b"", user_property=[("a", "b")] * 10)
    client.expect_message(topic)
    client.send_publish(topic, b"", user_property=[("a", "b")] * 11)
    client.expect_disconnect(QUOTA_EXCEEDED, TOO_LARGE, PROTOCOL_ERROR, 0x83)


@limits(max_properties_per_packet=10)
def test_properties_of_connect_are_limited(dial):
    client = dial(5)
    client.send_connect(properties={"user_property": [("a", "b")] * 11})
    client.expect_refusal(QUOTA_EXCEEDED, TOO_LARGE, PROTOCOL_ERROR, 0x83)


# Topics and subscriptions


@limits(max_topic_levels=4)
def test_topic_levels_are_limited(connect, version):
    client = connect(version)
    accepted, refused = "levels/a/b/c", "levels/a/b/c/d"
    code = client.subscribe(refused)[0]
    assert code in ((0x8F, 0x97) if version == 5 else (0x80,))
    assert client.subscribe(accepted) == (0,)
    client.publish(accepted, b"")
    client.expect_message(accepted)
    client.send_publish(refused, b"", 1)
    answer = client.receive()
    assert answer is None or version < 5 or answer.code in (0x90, 0x97)


@limits(max_topic_bytes=30)
def test_topic_bytes_are_limited(connect, version):
    client = connect(version)
    assert client.subscribe("b" * 30) == (0,)
    code = client.subscribe("b" * 31)[0]
    assert code in ((0x8F, 0x97) if version == 5 else (0x80,))
    client.publish("b" * 30, b"")
    client.expect_message("b" * 30)
    client.send_publish("b" * 31, b"", 1)
    answer = client.receive()
    assert answer is None or version < 5 or answer.code in (0x90, 0x97)


@limits(max_subscriptions_per_session=3)
def test_subscriptions_by_session_are_limited(connect, version, topic):
    client = connect(version)
    filters = [f"{topic}/{at}" for at in range(5)]
    full = QUOTA_EXCEEDED if version == 5 else 0x80
    assert client.subscribe(*filters) == (0, 0, 0, full, full)
    assert client.subscribe(filters[0]) == (0,), "replacing one takes no more room"
    client.unsubscribe(filters[0])
    assert client.subscribe(filters[4]) == (0,)
    assert connect(version).subscribe(*filters[:3]) == (0, 0, 0)


# Queues


@limits(max_queued_messages=5, queue_full="drop_oldest")
def test_full_queue_drops_the_oldest(connect, version, topic):
    name, publisher = away(connect, topic, version), connect(version)
    for at in range(12):
        publisher.publish(topic, b"%d" % at, 1)
    got = everything(connect(version, name, persistent=True))
    assert got == [b"%d" % at for at in range(7, 12)]


@limits(max_queued_messages=5, queue_full="drop_newest")
def test_full_queue_drops_the_newest(connect, version, topic):
    name, publisher = away(connect, topic, version), connect(version)
    for at in range(12):
        publisher.publish(topic, b"%d" % at, 1)
    assert everything(connect(version, name, persistent=True)) == [b"%d" % at for at in range(5)]


# What one worker knows another learns a moment later.
refusing = pytest.mark.broker(limits={"max_queued_messages": 5, "queue_full": "reject"}, workers=1)


@refusing
@pytest.mark.parametrize("qos", [1, 2])
def test_full_queue_refuses_the_publisher(connect, topic, qos):
    name, publisher = away(connect, topic, qos=2), connect(5)
    codes = [publisher.publish(topic, b"%d" % at, qos) for at in range(8)]
    assert codes == [0] * 5 + [QUOTA_EXCEEDED] * 3
    again = connect(5, name, persistent=True)
    assert everything(again) == [b"%d" % at for at in range(5)]
    assert publisher.publish(topic, b"room again", qos) == 0
    again.expect_message(topic, b"room again")


@limits(max_queued_messages=5, queue_full="reject")
@pytest.mark.parametrize("qos", [1, 2])
def test_full_queue_refuses_publishers_of_all_workers_and_keeps_what_they_were_told(
    connect, topic, qos
):
    name, publishers = away(connect, topic, qos=2), [connect(5) for _ in range(4)]
    refused, taken = set(), []
    while len(refused) < len(publishers):
        assert len(taken) < 1_000, "nothing is ever refused"
        for publisher in publishers:
            payload = b"%d" % len(taken)
            code = publisher.publish(topic, payload, qos)
            assert code in (0, QUOTA_EXCEEDED)
            if code:
                refused.add(publisher)
            else:
                taken.append(payload)
    assert len(taken) >= 5
    assert sorted(everything(connect(5, name, persistent=True))) == sorted(taken)


@statement("MQTT311", "MQTT-4.8.0-2")
@refusing
def test_full_queue_ends_the_connection_of_a_publisher_that_cannot_be_told(connect, topic):
    """3.1.1 has no code to refuse with: closing leaves the message with its sender."""
    away(connect, topic, version=4)
    publisher = connect(4)
    for at in range(5):
        publisher.publish(topic, b"%d" % at, 1)
    publisher.send_publish(topic, b"refused", 1)
    publisher.expect_close()


@limits(max_queued_messages=5, queue_full="disconnect", max_inflight_messages=1)
def test_full_queue_disconnects_the_slow_subscriber(connect, topic):
    client, publisher = connect(5, persistent=True), connect(5)
    client.subscribe(topic, qos=1)
    for at in range(12):
        publisher.publish(topic, b"%d" % at, 1)
    client.expect("PUBLISH", payload=b"0")
    client.expect_disconnect(QUOTA_EXCEEDED)
    publisher.ping()


@limits(max_queued_messages=5, max_inflight_messages=3, queue_full="drop_newest")
def test_queue_limit_holds_for_a_connected_subscriber_too(connect, version, topic):
    client, publisher = connect(version), connect(version)
    client.subscribe(topic, qos=1)
    for at in range(20):
        publisher.publish(topic, b"%d" % at, 1)
    publisher.publish(f"{topic}/done", b"", 1)
    window = [client.expect("PUBLISH") for _ in range(3)]
    client.expect_nothing()
    for message in window:
        client.ack(message)
    got = [message.payload for message in window] + everything(client)
    assert got == [b"%d" % at for at in range(8)]


@limits(max_queued_bytes=10_000, queue_full="drop_oldest")
def test_queue_is_limited_in_bytes(connect, version, topic):
    name, publisher = away(connect, topic, version), connect(version)
    for at in range(20):
        publisher.publish(topic, bytes([at]) * 1_500, 1)
    got = everything(connect(version, name, persistent=True))
    assert 1 <= len(got) <= 6
    assert got == [bytes([at]) * 1_500 for at in range(20 - len(got), 20)]


@limits(max_queued_age_seconds=1)
def test_queue_is_limited_in_age(connect, version, topic, elapse):
    name, publisher = away(connect, topic, version), connect(version)
    publisher.publish(topic, b"old", 1)
    elapse(2)
    publisher.publish(topic, b"young", 1)
    assert everything(connect(version, name, persistent=True)) == [b"young"]


@limits(max_queued_messages=5)
def test_dropped_messages_are_counted(connect, topic):
    watcher = connect(5)
    watcher.subscribe("$SYS/broker/publish/messages/dropped")
    before = int(watcher.expect_message().payload)
    away(connect, topic)
    publisher = connect(5)
    for at in range(12):
        publisher.publish(topic, b"%d" % at, 1)
    while int(watcher.expect_message().payload) < before + 7:
        pass


# Sessions and retained messages


@pytest.mark.broker(limits={"max_offline_sessions": 3}, workers=1)
def test_offline_sessions_are_limited_and_the_oldest_go(connect, topic):
    names = [away(connect, f"{topic}/{at}") for at in range(5)]
    kept = [connect(5, name, persistent=True).connack.session_present for name in reversed(names)]
    assert kept == [True, True, True, False, False]


@pytest.mark.broker(limits={"max_offline_sessions": 3}, workers=2)
def test_offline_sessions_are_limited_over_all_workers(connect, topic):
    names = [away(connect, f"{topic}/{at}") for at in range(12)]
    kept = [connect(5, name, persistent=True).connack.session_present for name in names]
    assert 1 <= sum(kept) <= 3


@statement("MQTT5", "MQTT-4.1.0-2")
@limits(max_session_expiry_seconds=1)
def test_session_expiry_is_capped(connect, version, topic, elapse):
    client = connect(version, persistent=True)
    if version == 5:
        assert client.connack.properties["session_expiry_interval"] == 1
    client.subscribe(topic, qos=1)
    client.disconnect()
    elapse(2)
    assert connect(5).publish(topic, b"", 1) == 0x10
    assert not connect(version, client.client_id, persistent=True).connack.session_present


@limits(max_retained_messages=3)
def test_retained_messages_are_limited(connect, topic):
    publisher = connect(5)
    codes = [publisher.publish(f"{topic}/{at}", b"x", 1, retain=True) for at in range(5)]
    assert codes[:3] == [0x10] * 3
    assert all(code in (QUOTA_EXCEEDED, 0x10) for code in codes[3:])
    assert publisher.publish(f"{topic}/0", b"replaced", 1, retain=True) == 0x10
    client = connect(5)
    client.subscribe(f"{topic}/#")
    assert sorted(payloads(client)) == [b"replaced", b"x", b"x"]
    for at in range(5):
        publisher.publish(f"{topic}/{at}", b"", 1, retain=True)
    assert publisher.publish(f"{topic}/4", b"room again", 1, retain=True) == 0
    publisher.publish(f"{topic}/4", b"", 1, retain=True)


@limits(max_retained_bytes=10_000)
def test_retained_bytes_are_limited(connect, topic):
    publisher = connect(5)
    for at in range(12):
        publisher.publish(f"{topic}/{at}", b"x" * 1_500, 1, retain=True)
    client = connect(5)
    client.subscribe(f"{topic}/#")
    assert 1 <= len(payloads(client)) <= 6
    for at in range(12):
        publisher.publish(f"{topic}/{at}", b"", 1, retain=True)
    publisher.publish(topic, b"x" * 1_500, 1, retain=True)
    late = connect(5)
    late.subscribe(topic)
    late.expect_message(topic, retain=True)
    publisher.publish(topic, b"", 1, retain=True)


# Rates


@limits(max_messages_per_second_in=20)
def test_messages_in_by_second_are_limited(connect, topic):
    """Held back or cut with 0x96: in neither case do 100 messages pass in a second."""
    watcher, publisher = connect(5), connect(5)
    watcher.subscribe(topic)
    begin = time.monotonic()
    publisher.send(wire.publish(5, topic, b"x") * 100)
    arrived = _arrivals(watcher, topic, begin + 1)
    assert 1 <= arrived <= 60
    _held_back_or_cut(publisher)


@limits(max_bytes_per_second_in=10_000)
def test_bytes_in_by_second_are_limited(connect, topic):
    watcher, publisher = connect(5), connect(5)
    watcher.subscribe(topic)
    begin = time.monotonic()
    publisher.send(wire.publish(5, topic, b"x" * 1_000) * 60)
    arrived = _arrivals(watcher, topic, begin + 1)
    assert 1 <= arrived <= 30
    _held_back_or_cut(publisher)


def _arrivals(watcher, topic, until):
    count = 0
    while (left := until - time.monotonic()) > 0:
        try:
            watcher.expect("PUBLISH", topic=topic, timeout=left)
        except TimeoutError:
            break
        count += 1
    return count


def _held_back_or_cut(publisher):
    publisher.send(wire.PINGREQ)
    answer = publisher.receive()
    assert answer is not None
    assert answer.type == "PINGRESP" or (answer.type, answer.code) == ("DISCONNECT", RATE_TOO_HIGH)


@limits(max_messages_per_second_out=20)
def test_messages_out_by_second_are_limited_and_none_of_qos_1_lost(connect, topic):
    watcher, publisher = connect(5), connect(5)
    watcher.subscribe(topic, qos=1)
    begin = time.monotonic()
    for at in range(60):
        publisher.publish(topic, b"%d" % at, 1)
    got = [watcher.expect_message(topic).payload for _ in range(60)]
    assert got == [b"%d" % at for at in range(60)]
    assert time.monotonic() - begin >= 1.0


@limits(max_bytes_per_second_out=20_000)
def test_bytes_out_by_second_are_limited_and_none_of_qos_1_lost(connect, topic):
    watcher, publisher = connect(5), connect(5)
    watcher.subscribe(topic, qos=1)
    begin = time.monotonic()
    for _ in range(60):
        publisher.publish(topic, b"x" * 1_000, 1)
    for _ in range(60):
        watcher.expect_message(topic)
    assert time.monotonic() - begin >= 1.0


@limits(max_messages_per_second_in=20)
def test_rate_of_one_client_does_not_slow_another(connect, stopwatch, topic):
    busy, calm = connect(5), connect(5)
    busy.send(wire.publish(5, topic, b"x") * 100)
    running = stopwatch()
    calm.publish(topic, b"", 1)
    assert running.seconds() < 0.5


# A reader that does not read


@limits(write_buffer_bytes=65_536, hold_publishers_milliseconds=0, write_timeout_seconds=30)
def test_stalled_reader_loses_qos_0_only_and_holds_up_nobody(broker, connect, dial, topic):
    stalled = dial(5, receive_buffer_bytes=4_096)
    stalled.connect()
    stalled.subscribe(topic)
    reader, publisher = connect(5), connect(5)
    reader.subscribe(topic, qos=1)
    before = broker.resident_bytes()
    for at in range(1_000):
        publisher.publish(topic, at.to_bytes(2, "big") + b"x" * 20_000, 1)
        assert reader.expect_message(topic).payload[:2] == at.to_bytes(2, "big")
    assert broker.resident_bytes() - before < 8 << 20
    stalled.close()


@limits(write_buffer_bytes=65_536, hold_publishers_milliseconds=0, write_timeout_seconds=1)
def test_reader_stalled_too_long_is_cut(connect, dial, topic):
    watcher = connect(5)
    watcher.subscribe(f"{topic}/will")
    stalled = dial(5, receive_buffer_bytes=4_096)
    stalled.connect(will=Will(f"{topic}/will", b"stalled"))
    stalled.subscribe(topic)
    publisher = connect(5)
    for _ in range(600):
        publisher.publish(topic, b"x" * 20_000)
    publisher.ping()
    watcher.expect_message(f"{topic}/will", b"stalled")


@limits(max_memory_bytes=96 << 20, max_queued_messages=1_000_000, max_queued_bytes=1 << 30)
def test_memory_in_all_is_limited(broker, connect, topic, elapse):
    """200 MB within four seconds, for a session that is away; what does not fit is refused."""
    away(connect, topic)
    publisher, refused = connect(5), 0
    for at in range(2_000):
        if at % 25 == 0:
            elapse(0.05)
        publisher.send_publish(topic, b"x" * 100_000, 1)
        answer = publisher.receive()
        if answer is None or answer.code >= 0x80:
            assert answer is None or answer.code in (QUOTA_EXCEEDED, 0x83, 0x89)
            refused += 1
        if answer is None or answer.type == "DISCONNECT" or refused == 50:
            break
    assert broker.resident_bytes() < 160 << 20
    assert refused
