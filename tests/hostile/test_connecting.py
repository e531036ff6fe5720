"""Group A of the catalogue: before and during CONNECT."""

import contextlib
import os
import socket
import ssl
import struct
import time

import pytest

from tests.conformance import wire
from tests.conformance.certificates import client_context
from tests.conformance.wire import Client, ClosedError, Will
from tests.hostile.siege import size

hostile = pytest.mark.hostile
MALFORMED, PROTOCOL_ERROR, TOO_LARGE = 0x81, 0x82, 0x95


def reset(connection):
    """Close with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@hostile("A1")
def test_silence(siege):
    begin, stopwatch = time.monotonic(), siege.stopwatch()
    siege.dial().expect_close()
    assert time.monotonic() - begin >= 1.5
    assert stopwatch.seconds() <= 4


@hostile("A2", "A3")
def test_slow_loris_in_numbers(siege):
    whole = wire.connect(4, "slow-loris" * 10)
    attackers = [siege.dial(4) for _ in range(size(300, 2_000))]
    stopwatch = siege.stopwatch()
    for at in range(20):
        for attacker in attackers:
            with contextlib.suppress(OSError):
                attacker.send(whole[at : at + 1])
        if at % 5 == 0:
            knock = siege.stopwatch()
            siege.connect(4).disconnect()
            assert knock.seconds() < 1
        time.sleep(0.1)
    for attacker in attackers:
        attacker.expect_close()
    assert stopwatch.seconds() < 8


@hostile("A4")
def test_one_byte_a_segment(siege, version, topic):
    client = siege.dial(version)
    stream = (
        wire.connect(version, client.client_id)
        + wire.subscribe(version, 1, [(topic, 1)])
        + wire.publish(version, topic, b"x", qos=1, packet_id=2)
        + wire.PINGREQ
    )
    for at in range(len(stream)):
        client.send(stream[at : at + 1])
        time.sleep(0.001)
    client.expect("CONNACK", code=0)
    client.expect("SUBACK")
    client.await_packet("PUBACK", packet_id=2)
    client.await_packet("PINGRESP")
    client.expect_message(topic, b"x")


@hostile("A5")
def test_all_in_one_segment(siege, version, topic):
    client = siege.dial(version)
    client.send(
        wire.connect(version, client.client_id)
        + wire.subscribe(version, 1, [(topic, 0)])
        + wire.publish(version, topic, b"x")
        + wire.PINGREQ
    )
    for kind in ("CONNACK", "SUBACK", "PUBLISH", "PINGRESP"):
        client.expect(kind)


@hostile("A6")
def test_first_packet_is_not_connect(siege, topic):
    watcher = siege.watch("#")
    for first in [kind << 4 | flags for kind in range(16) if kind != 1 for flags in (0, 2)]:
        client = siege.dial()
        client.send(wire.frame(first, b"\x00\x05first\x00\x01"))
        client.expect_close()
    siege.connect().publish(topic, b"fence")
    while watcher.expect("PUBLISH").topic != topic:
        watcher.ping()


@hostile("A7")
@pytest.mark.parametrize("other", [False, True], ids=["same-id", "other-id"])
def test_second_connect(siege, version, topic, other):
    watcher = siege.watch(topic, version=version)
    client = siege.connect(version, persistent=True, will=Will(topic, b"second"))
    client.subscribe(f"{topic}/kept", qos=1)
    client.send_connect(siege.unique() if other else client.client_id)
    client.expect_disconnect(PROTOCOL_ERROR)
    watcher.expect_message(topic, b"second")
    siege.connect(version).publish(f"{topic}/kept", b"still", 1)
    siege.connect(version, client.client_id, persistent=True).expect_message(f"{topic}/kept")


@hostile("A8")
def test_announced_giant_is_refused_by_its_length(siege, version):
    before = siege.broker.resident_bytes()
    attackers = [siege.dial(version) for _ in range(50)]
    for attacker in attackers:
        attacker.send(b"\x10\xff\xff\xff\x7f" + b"\x00\x04MQTT")
    assert siege.broker.resident_bytes() - before < 32 << 20
    for attacker in attackers:
        attacker.expect_refusal(TOO_LARGE)


@hostile("A9")
@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x01", b"\x90\x00"])
def test_impossible_remaining_lengths(siege, length):
    client = siege.dial()
    client.send(b"\x10" + length)
    client.expect_refusal(MALFORMED)


@hostile("A10")
def test_remaining_length_that_lies(siege, version):
    whole = wire.connect(version, "remaining-length-lies")
    for error in [*range(-20, 0), *range(1, 21)]:
        client = siege.dial(version)
        fields = whole[2:]
        body = fields[:error] if error < 0 else fields + b"\x00" * error
        client.send(wire.frame(0x10, body) + wire.PINGREQ * 10)
        answer = client.receive()
        if answer is not None and answer.code == 0:
            # A shorter client identifier cannot come out of a shorter packet.
            raise AssertionError(f"a CONNECT of {error:+} bytes was accepted")


FOREIGN = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": bytes.fromhex("160301020001 0001fc0303") + os.urandom(500),
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "nulls": b"\x00" * 1_000,
    "ones": b"\xff" * 1_000,
}


@hostile("A11")
@pytest.mark.parametrize("name", FOREIGN)
def test_another_protocol(siege, name):
    client, stopwatch = siege.dial(), siege.stopwatch()
    client.send(FOREIGN[name])
    with contextlib.suppress(OSError):
        client.expect_close()
    assert stopwatch.seconds() < 1, "closed by the time-out, not by the impossible byte"


@hostile("A12")
@pytest.mark.broker(listeners=("websocket",))
def test_mqtt_on_the_websocket_port(siege):
    connection = socket.create_connection(siege.broker.addresses["websocket"], timeout=30)
    connection.sendall(wire.connect(4, "lost"))
    answer = connection.recv(100)
    assert not answer or b"400" in answer
    connection.close()


@hostile("A13")
@pytest.mark.broker(listeners=("tls",))
@pytest.mark.parametrize("name", ["mqtt", *(name for name in FOREIGN if name != "tls")])
def test_plain_bytes_on_the_tls_port(siege, name):
    plain, stopwatch = Client(siege.broker.addresses["tls"]), siege.stopwatch()
    siege.clients.append(plain)
    plain.send(FOREIGN.get(name) or wire.connect(5, "plain"))
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while received := plain.socket.recv(1_000):
            answer += received
    assert answer[:1] in (b"", b"\x15"), "only an alert may come"
    assert stopwatch.seconds() < 1, "closed by the time-out, not by the impossible byte"


@hostile("A13")
@pytest.mark.broker(listeners=("tls",))
@pytest.mark.parametrize("part", ["half-a-hello", "hello"])
def test_handshakes_stopped_half_way_in_numbers(siege, part):
    hello = client_hello()
    address = siege.broker.addresses["tls"]
    begin, stopwatch = time.monotonic(), siege.stopwatch()
    attackers = []
    for at in range(size(300, 2_000)):
        attackers.append(Client(address))
        attackers[-1].send(hello if part == "hello" else hello[: len(hello) // 2])
        if at % 100 == 0:
            knock = siege.stopwatch()
            siege.connect_tls().ping()
            assert knock.seconds() < 1
    siege.clients += attackers
    siege.connect_tls().publish("a13", b"", 1)
    for attacker in attackers:
        with contextlib.suppress(ConnectionResetError):
            while attacker.socket.recv(65_536):
                pass
    assert time.monotonic() - begin >= 1.5
    assert stopwatch.seconds() <= size(4, 20)


def client_hello():
    """What a client begins a TLS handshake with."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        handshake.do_handshake()
    return outgoing.read()


@hostile("A14")
@pytest.mark.parametrize(
    ("name", "level"),
    [(b"MQTT", level) for level in (0, 1, 2, 3, 6, 255)]
    + [(b"MQIsdp", 4), (b"mqtt", 4), (b"", 4), (b"M" * 65_535, 4), (b"mqtt", 5)],
)
def test_protocol_names_and_levels(siege, name, level):
    client = siege.dial(4)
    client.send_connect(protocol_name=name, level=level)
    answer = client.raw()
    assert answer in (b"", b"\x20\x02\x00\x01") or answer[2:4] == b"\x00\x84"


@hostile("A15")
@pytest.mark.parametrize(
    "name", ["\x01\x1f\x7f", "\ufeff", "a/+/#/$", "'\";\r\n", "../../etc", "%c%u"]
)
def test_client_ids_that_tempt(siege, version, topic, name):
    client = siege.dial(version, name)
    client.send_connect()
    answer = client.receive()
    if answer is not None and answer.code == 0:
        client.subscribe(topic)
        client.publish(topic, b"")
        client.expect_message(topic)


@hostile("A16")
def test_empty_client_ids(siege):
    refused = siege.dial(4, "")
    refused.send_connect(clean=False)
    refused.expect_refusal(2, may_just_close=False)
    names = set()
    for _ in range(size(500, 100_000)):
        client = siege.dial(5, "")
        client.connect(session_expiry_interval=0)
        names.add(client.client_id)
        client.disconnect()
    assert len(names) == size(500, 100_000)


@hostile("A17")
def test_credentials_that_are_too_much(siege, version):
    for fields in (
        {"username": "u" * 65_535, "password": b"p" * 65_535},
        {"username": b"nul\0l", "password": b"p"},
        {"username": "u", "password": bytes(range(256))},
    ):
        client = siege.dial(version)
        client.send_connect(**fields)
        with contextlib.suppress(OSError):
            client.receive()


@hostile("A18")
def test_auth_out_of_place(siege):
    unknown = siege.dial()
    unknown.send_connect(properties={"authentication_method": "unknown"})
    unknown.expect_refusal(0x8C, 0x87)
    early = siege.dial()
    early.send(wire.auth(0x18, {"authentication_method": "m"}))
    early.expect_close()
    unnamed = siege.connect()
    unnamed.send(wire.auth(0x19))
    unnamed.expect_disconnect(PROTOCOL_ERROR, MALFORMED)


@hostile("A19")
def test_properties_in_bulk(siege):
    for count, section in ((65_000, b"\x26\x00\x00\x00\x00"), (20_000, b"\x26\x00\x01a\x00\x01b")):
        client, stopwatch = siege.dial(), siege.stopwatch()
        client.send_connect(properties=section * count)
        with contextlib.suppress(OSError):
            answer = client.receive()
            assert answer is None or answer.code in (TOO_LARGE, 0x97, PROTOCOL_ERROR, 0)
        assert stopwatch.seconds() < 1


@hostile("A19")
@pytest.mark.parametrize(
    "section",
    [
        b"\x11\x00\x00\x00\x01" * 2,
        b"\x21\x00\x01" * 2,
        b"\x27\x00\x00\x00\xff" * 2,
        b"\x22\x00\x01" * 2,
        b"\x19\x01" * 2,
        b"\x17\x01" * 2,
        b"\x15\x00\x01m" * 2,
        b"\x15\x00\x01m\x16\x00\x00\x16\x00\x00",
        b"\x00",
        b"\x7f",
        b"\x26\xff\xff",
    ],
    ids=bytes.hex,
)
def test_properties_twice_unknown_or_too_long(siege, section):
    client = siege.dial()
    client.send_connect(properties=section)
    client.expect_refusal(MALFORMED, PROTOCOL_ERROR)


@hostile("A20")
@pytest.mark.parametrize(
    "properties",
    [{"receive_maximum": 0}, {"maximum_packet_size": 0}, {"request_problem_information": 2}],
    ids=str,
)
def test_values_out_of_range(siege, properties):
    client = siege.dial()
    client.send_connect(properties=properties)
    client.expect_refusal(PROTOCOL_ERROR)


@hostile("A21")
def test_tiny_maximum_packet_sizes(siege, topic):
    publisher = siege.connect()
    for limit in range(1, 21):
        client = siege.dial(5, "")
        client.send_connect(properties={"maximum_packet_size": limit})
        answer = client.receive()
        if answer is None:
            continue
        assert answer.size <= limit
        client.send(wire.subscribe(5, 1, [(topic, 0)]) + wire.PINGREQ)
        with contextlib.suppress(ClosedError):
            client.await_packet("PINGRESP")
            publisher.publish(topic, b"much too large for any of these clients")
            publisher.ping()
            client.expect_nothing()


@hostile("A22")
@pytest.mark.broker(limits={"max_offline_sessions": 500, "max_session_expiry_seconds": 3_600})
def test_sessions_that_never_come_back(siege, topic):
    for at in range(size(1_500, 100_000)):
        client = siege.connect(
            5, f"never-back-{at}", persistent=True, session_expiry_interval=2**32 - 1
        )
        if at % 100 == 0:
            client.subscribe(topic, qos=1)
        client.disconnect()
    last = size(1_500, 100_000) - 1
    assert siege.connect(5, f"never-back-{last}", persistent=True).connack.session_present
    assert not siege.connect(5, "never-back-0", persistent=True).connack.session_present


@hostile("A23")
def test_take_over_storm(siege, client_id, topic):
    keeper = siege.connect(5, client_id, persistent=True)
    keeper.subscribe(topic, qos=1)
    publisher, sent, got = siege.connect(), 0, []
    attackers = []
    for _ in range(50):
        attackers.append(attacker := siege.dial(5, client_id))
        attacker.send_connect(clean=False, properties={"session_expiry_interval": 60})
        publisher.publish(topic, b"%d" % sent, 1)
        sent += 1
    stayed = []
    for attacker in attackers:
        with contextlib.suppress(OSError, ClosedError):
            attacker.send(wire.PINGREQ)
            while (packet := attacker.receive()) is not None and packet.type != "PINGRESP":
                if packet.type == "PUBLISH":
                    got.append(packet.payload)
                    attacker.ack(packet)
                if packet.type == "DISCONNECT":
                    assert packet.code == 0x8E
            if packet is not None:
                stayed.append(attacker)
    assert len(stayed) == 1
    while len(set(got)) < sent:
        got.append(stayed[0].expect_message(topic).payload)


@hostile("A24")
def test_take_over_of_a_stalled_connection(siege, client_id, topic):
    stalled = siege.dial(5, client_id, receive_buffer_bytes=4_096)
    stalled.connect(session_expiry_interval=60)
    stalled.subscribe(topic)
    publisher = siege.connect()
    for _ in range(200):
        publisher.publish(topic, b"x" * 50_000)
    publisher.ping()
    stopwatch = siege.stopwatch()
    siege.connect(5, client_id, persistent=True).ping()
    assert stopwatch.seconds() < 0.5


@hostile("A25")
@pytest.mark.parametrize("end", ["fin", "rst", "half-close"])
def test_connect_flood(siege, end):
    half_closed = []
    for _ in range(size(500, 5_000)):
        connection = socket.create_connection(siege.broker.address)
        if end == "rst":
            reset(connection)
        elif end == "half-close":
            connection.shutdown(socket.SHUT_WR)
            half_closed.append(connection)
        else:
            connection.close()
    for connection in half_closed:
        connection.settimeout(30)
        assert connection.recv(1) == b""
        connection.close()
    siege.connect().ping()


@hostile("A26")
def test_reset_between_connect_and_connack(siege, topic):
    watcher = siege.watch(topic)
    for at in range(size(100, 1_000)):
        client = siege.dial(5, f"{topic}-{at}")
        client.send_connect(clean=False, will=Will(topic, b"%d" % at))
        client.cut()
    seen = set()
    watcher.ping()
    siege.connect().publish(topic, b"fence", 1)
    while (payload := watcher.expect_message(topic).payload) != b"fence":
        assert payload not in seen
        seen.add(payload)
