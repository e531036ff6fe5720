"""Group D of the catalogue: retained messages, wills, sessions."""

import threading
import time

import pytest

from tests.conformance import wire
from tests.conformance.wire import Will
from tests.hostile.siege import size

hostile = pytest.mark.hostile
MALFORMED, PROTOCOL_ERROR = 0x81, 0x82


@hostile("D1")
@pytest.mark.broker(limits={"max_retained_messages": 1_000, "max_retained_bytes": 500_000})
def test_retained_flood(siege, topic):
    publisher, refused = siege.connect(), 0
    total = size(3_000, 1_000_000)
    for at in range(total):
        refused += publisher.publish(f"{topic}/{at}", b"r" * 1_024, 1, retain=True) == 0x97
    assert refused >= total - 1_000
    for at in range(total - refused + 10):
        publisher.publish(f"{topic}/{at}", b"", 1, retain=True)


@hostile("D2")
def test_retained_message_changed_all_the_time(siege, topic):
    publisher, count = siege.connect(), size(10_000, 1_000_000)
    for start in range(0, count, 500):
        publisher.send(
            b"".join(
                wire.publish(5, topic, b"%0900d" % at, retain=True)
                for at in range(start, start + 500)
            )
        )
        publisher.ping()
    client = siege.watch(topic)
    assert int(client.expect_message(topic, retain=True).payload) == count - 1
    publisher.publish(topic, b"", 1, retain=True)


@hostile("D3")
def test_retained_messages_cleared_while_somebody_subscribes(siege, topic):
    publisher, count = siege.connect(), size(2_000, 1_000_000)
    for at in range(count):
        publisher.send_publish(f"{topic}/{at}", b"old", retain=True)
    publisher.ping()
    clearing = threading.Thread(
        target=lambda: [publisher.publish(f"{topic}/{at}", b"", retain=True) for at in range(count)]
    )
    client = siege.connect()
    clearing.start()
    client.subscribe(f"{topic}/#")
    clearing.join()
    publisher.publish(f"{topic}/done", b"done", 1)
    held: dict[str, bytes] = {}
    while (message := client.expect_message()).payload != b"done":
        assert message.payload in (b"old", b"")
        if message.payload:
            assert message.topic not in held, "an old message behind its end"
        held[message.topic] = message.payload
    late = siege.watch(f"{topic}/#")
    late.expect_nothing()


@hostile("D4")
def test_all_wills_at_once(siege, topic):
    watcher, count = siege.watch(topic, qos=1), size(200, 10_000)
    payload = b"w" * 60_000
    dying = [
        siege.connect(4, will=Will(topic, b"%05d" % at + payload, qos=1)) for at in range(count)
    ]
    ending = threading.Thread(target=lambda: [client.cut() for client in dying])
    ending.start()
    seen = {watcher.expect_message(topic, timeout=20).payload[:5] for _ in range(count)}
    ending.join()
    assert len(seen) == count
    watcher.expect_nothing()


@hostile("D5")
def test_will_to_oneself_and_will_chains(siege, topic):
    client = siege.connect(5, will=Will(topic, b"to myself"))
    client.subscribe(topic)
    client.cut()
    watcher = siege.watch(f"{topic}/+")
    chain = [
        siege.connect(5, receive_maximum=1, will=Will(f"{topic}/{at}", b"x" * 500))
        for at in range(20)
    ]
    for at, link in enumerate(chain):
        link.subscribe(f"{topic}/{at - 1}")
    for link in chain:
        link.cut()
    assert {watcher.expect_message().topic for _ in chain} == {f"{topic}/{n}" for n in range(20)}
    watcher.expect_nothing(after=siege.connect())


@hostile("D6")
def test_will_delay_and_session_expiry(siege, topic):
    watcher = siege.watch(topic)
    forever = {"will_delay_interval": 0xFFFF_FFFF}
    siege.connect(
        5, session_expiry_interval=3, will=Will(topic, b"by expiry", properties=forever)
    ).cut()
    siege.connect(5, will=Will(topic, b"at once", properties=forever)).cut()
    back = siege.connect(
        5,
        session_expiry_interval=60,
        will=Will(topic, b"never", properties={"will_delay_interval": 3}),
    )
    back.cut()
    siege.connect(5, back.client_id, persistent=True)
    watcher.expect_message(topic, b"at once")
    watcher.expect_message(topic, b"by expiry")
    time.sleep(1)
    watcher.expect_nothing()


@hostile("D7")
def test_disconnects_of_all_kinds(siege, topic):
    watcher = siege.watch(topic)
    for code, told in ((0x00, False), (0x04, True)):
        client = siege.connect(5, will=Will(topic, b"%d" % code))
        client.disconnect(code)
        if told:
            watcher.expect_message(topic, b"%d" % code)
        watcher.expect_nothing(after=siege.connect())
    for bad in (wire.disconnect(5, 0x05), wire.disconnect(5, 0, {"session_expiry_interval": 9})):
        client = siege.connect(5)
        client.send(bad)
        client.expect_disconnect(PROTOCOL_ERROR, MALFORMED)
    client = siege.connect(5)
    client.send(wire.disconnect(5) + wire.publish(5, topic, b"behind") * 10)
    client.expect_close()
    watcher.expect_nothing(after=siege.connect())


@hostile("D8")
@pytest.mark.broker(protocol={"retain_available": False, "maximum_qos": 1})
@pytest.mark.parametrize(("fields", "code"), [({"retain": True}, 0x9A), ({"qos": 2}, 0x9B)])
def test_wills_beyond_what_is_offered(siege, fields, code):
    client = siege.dial()
    client.send_connect(will=Will("w", b"", **fields))
    client.expect_refusal(code, may_just_close=False)


@hostile("D9")
@pytest.mark.parametrize("name", ["$SYS/broker/forged", "a/+", "#"])
def test_wills_where_they_may_not_go(siege, name):
    watcher = siege.watch("$SYS/broker/forged", "a/#", qos=0)
    client = siege.dial()
    client.send_connect(will=Will(name, b"forged"))
    answer = client.receive()
    if answer is None or answer.code:
        assert answer is None or answer.code in (MALFORMED, PROTOCOL_ERROR, 0x90, 0x87)
    client.cut()
    watcher.expect_nothing(after=siege.connect())


@hostile("D10")
def test_clean_session_flip_flop(siege, client_id, topic):
    for at in range(size(400, 10_000)):
        clean = at % 2 == 0
        fields = {"clean": True} if clean else {"persistent": True}
        client = siege.connect(4, client_id, **fields)
        client.subscribe(f"{topic}/{at}", qos=1)
        if at % 3 == 0:
            client.disconnect()
    siege.connect(4, client_id, clean=True).disconnect()
    assert siege.connect().publish(f"{topic}/1", b"", 1) == 0x10


@hostile("D11")
def test_keep_alives_at_their_edges(siege):
    late = siege.connect(5, keep_alive=4)
    others = [siege.connect(5, keep_alive=65_535), siege.connect(5, keep_alive=0)]
    for _ in range(2):
        time.sleep(4.2)
        late.ping()
    for client in others:
        client.ping()


@hostile("D12")
def test_ping_flood(siege):
    client, count = siege.connect(), size(20_000, 1_000_000)
    for _ in range(count // 1_000):
        client.send(wire.PINGREQ * 1_000)
        for _ in range(1_000):
            client.expect("PINGRESP")


@hostile("D12")
def test_ping_flood_with_a_stalled_reader(siege):
    client, before = siege.dial(5, receive_buffer_bytes=4_096), siege.broker.resident_bytes()
    client.connect()
    client.socket.settimeout(1)
    try:
        for _ in range(size(2_000, 100_000)):
            client.socket.sendall(wire.PINGREQ * 1_000)
            assert siege.broker.resident_bytes() - before < 16 << 20
    except OSError:
        pass  # throttled or cut: both will do
