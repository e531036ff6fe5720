"""Group C of the catalogue: subscriptions."""

import contextlib
import time

import pytest

from tests.conformance import wire
from tests.conformance.wire import ClosedError
from tests.hostile.siege import size

hostile = pytest.mark.hostile
MALFORMED, PROTOCOL_ERROR, TOPIC_FILTER_INVALID = 0x81, 0x82, 0x8F
QUOTA_EXCEEDED = 0x97


@hostile("C1")
@pytest.mark.parametrize(
    "packet",
    [
        wire.subscribe(5, 1, []),
        wire.unsubscribe(5, 1, []),
        wire.subscribe(5, 1, [("a", 0x03)]),
        wire.subscribe(5, 1, [("a", 0x40)]),
        wire.subscribe(5, 1, [("a", 0x80)]),
        wire.subscribe(5, 1, [("a", 0x30)]),
    ],
    ids=["empty", "empty-un", "qos-3", "bit-6", "bit-7", "retain-handling-3"],
)
def test_impossible_subscribes(siege, packet):
    client = siege.connect()
    client.send(packet)
    client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)


@hostile("C2")
def test_filters_that_are_none(siege, topic):
    for bad in ("a#", "a/#/b", "+a", "++", "", "f" * 65_535, "/" * 65_535, "+/" * 32_767 + "+"):
        client = siege.connect()
        client.send(wire.subscribe(5, 1, [(bad, 0)]))
        answer = client.receive()
        assert answer is not None
        if answer.type == "SUBACK":
            assert answer.codes[0] in (0, TOPIC_FILTER_INVALID, QUOTA_EXCEEDED)
            assert answer.codes[0] or "#" not in bad
            client.disconnect()


@hostile("C3")
def test_subscription_bomb(siege, topic):
    client = siege.connect()
    levels = client_levels(siege)
    for depth in range(levels):
        client.subscribe("+/" * depth + "#", qos=0)
    publisher, name = siege.connect(), "/".join(["bomb"] * levels)
    stopwatch = siege.stopwatch()
    publisher.publish(name, b"x")
    publisher.ping()
    assert stopwatch.seconds() < 0.25
    # The witness's messages match, too.
    while client.expect("PUBLISH").topic != name:
        pass
    copies = 1
    client.send(wire.PINGREQ)
    while (packet := client.receive()).type == "PUBLISH":
        copies += packet.topic == name
    assert copies in (1, levels)


def client_levels(siege):
    """How many topic levels the broker takes, at most 128."""
    probe = siege.connect()
    for levels in (128, 64, 32, 16, 8):
        if probe.subscribe("/".join(["deep"] * levels))[0] == 0:
            return levels
    raise AssertionError("not even 8 levels are taken")


@hostile("C4")
def test_pathological_matching(siege):
    clients = size(60, 1_000)
    depth = client_levels(siege) - 1
    for at in range(clients):
        client = siege.connect()
        filters = [("+/" * n + "#", 0) for n in range(max(1, depth // 2), depth)]
        client.send(wire.subscribe(5, 1, filters))
        client.expect("SUBACK")
        if at % 10 == 0:
            client.ping()
    publisher, name = siege.connect(), "/".join(["a"] * (depth // 2 - 1))
    stopwatch = siege.stopwatch()
    for _ in range(20):
        publisher.publish(name, b"", 1)
    assert stopwatch.seconds() / 20 < 0.05


@hostile("C5")
def test_very_many_subscriptions(siege, topic):
    client, refused = siege.connect(), 0
    total, batch = size(20_000, 1_000_000), 100
    for start in range(0, total, batch):
        pairs = [(f"{topic}/{start + at}", 1) for at in range(batch)]
        client.send(wire.subscribe(5, 1, pairs))
        codes = client.expect("SUBACK").codes
        assert set(codes) <= {1, QUOTA_EXCEEDED}
        refused += codes.count(QUOTA_EXCEEDED)
    client.cut()
    stopwatch = siege.stopwatch()
    siege.connect().publish(topic, b"", 1)
    assert stopwatch.seconds() < 0.25


@hostile("C6")
def test_subscribing_and_unsubscribing_in_a_loop(siege, topic):
    steady, publisher, restless = siege.watch(topic), siege.connect(), siege.connect()
    pair = wire.subscribe(5, 1, [(topic, 1)]) + wire.unsubscribe(5, 2, [topic])
    for at in range(size(300, 20_000)):
        restless.send(pair)
        publisher.publish(topic, b"%d" % at, 1)
        while restless.await_packet("SUBACK") and restless.await_packet("UNSUBACK"):
            break
    for at in range(size(300, 20_000)):
        steady.expect_message(topic, b"%d" % at)


@hostile("C7")
def test_many_filters_with_many_retained_messages(siege, topic):
    publisher, count = siege.connect(), size(100, 1_000)
    for at in range(count):
        publisher.publish(f"{topic}/{at}", b"r" * 1_000, retain=True)
    publisher.ping()
    before = siege.broker.resident_bytes()
    client = siege.dial(5, receive_buffer_bytes=8_192)
    client.connect(receive_maximum=10)
    below = "+" + topic[topic.index("/") :]
    pairs = [(f"{below}/+", 1), (f"{below}/#", 1)]
    for _ in range(size(200, 10_000)):
        client.send(wire.subscribe(5, 1, pairs))
    time.sleep(0.5)
    assert siege.broker.resident_bytes() - before < 32 << 20
    client.close()
    for at in range(count):
        publisher.publish(f"{topic}/{at}", b"", 1, retain=True)


@hostile("C8")
@pytest.mark.parametrize(
    ("bad", "options"), [("$share//a", 0), ("$share/g", 0), ("$share/g+/a", 0), ("$share/g/a", 4)]
)
def test_shared_filters_that_are_none(siege, bad, options):
    client = siege.connect()
    client.send(wire.subscribe(5, 1, [(bad, options)]))
    answer = client.receive()
    assert (answer.codes or (answer.code,))[0] in (TOPIC_FILTER_INVALID, PROTOCOL_ERROR)


@hostile("C9")
def test_very_many_share_groups(siege, topic):
    client, groups = siege.connect(), size(200, 10_000)
    for start in range(0, groups, 50):
        pairs = [(f"$share/g{start + at}/{topic}", 0) for at in range(50)]
        client.send(wire.subscribe(5, 1, pairs))
        assert set(client.expect("SUBACK").codes) == {0}
    siege.connect().publish(topic, b"x", 1)
    for _ in range(groups):
        client.expect("PUBLISH", topic=topic)
    client.expect_nothing()


@hostile("C9")
def test_share_group_whose_members_die_in_mid_flight(siege, topic):
    members, publisher = [siege.connect() for _ in range(size(40, 10_000))], siege.connect()
    for member in members:
        member.subscribe(f"$share/g/{topic}", qos=1)
    # So many for each that those of the dead are shared out among all who live.
    total = len(members) * size(20, 3)
    for at in range(total):
        publisher.publish(topic, b"%d" % at, 1)
    dead, living = members[::2], members[1::2]
    for member in dead:
        member.cut()
    got, counts = set(), [0] * len(living)
    deadline = time.monotonic() + 30
    while len(got) < total and time.monotonic() < deadline:
        for at, member in enumerate(living):
            member.send(wire.PINGREQ)
            while (packet := member.receive()).type == "PUBLISH":
                member.ack(packet)
                assert packet.payload not in got
                got.add(packet.payload)
                counts[at] += 1
    assert len(got) == total
    assert max(counts) <= 3 * max(1, min(counts))


@hostile("C10")
def test_shared_member_that_refuses(siege, topic):
    members, publisher = [siege.connect() for _ in range(2)], siege.connect()
    for member in members:
        member.subscribe(f"$share/g/{topic}", qos=1)
    for at in range(20):
        publisher.publish(topic, b"%d" % at, 1)
    for member in members:
        for _ in range(10):
            member.send_ack("PUBACK", member.expect("PUBLISH").packet_id, 0x80)
    for member in members:
        member.expect_nothing()


@hostile("C11")
def test_broker_topics_cannot_be_forged(siege):
    watcher = siege.watch("$SYS/broker/forged", "$SYS/broker/version", qos=1)
    forger = siege.connect()
    forger.subscribe("$CONTROL/#", "$SYS/#")
    forger.close()
    for name in ("$SYS/broker/forged", "$SYS/broker/version"):
        for retain in (False, True):
            client = siege.connect()
            with contextlib.suppress(ClosedError, AssertionError, OSError):
                client.publish(name, b"forged", 1, retain=retain)
    siege.connect().publish("$SYS/broker/forged", b"forged")
    watcher.send(wire.PINGREQ)
    while (packet := watcher.receive()).type == "PUBLISH":
        assert packet.payload != b"forged"
        watcher.ack(packet)
    late = siege.watch("$SYS/broker/version")
    assert late.expect_message().payload != b"forged"


@hostile("C12")
@pytest.mark.parametrize("section", [b"\x0b\x00", b"\x0b\xff\xff\xff\xff\x01"])
def test_subscription_ids_out_of_range(siege, section):
    client = siege.connect()
    client.send(wire.subscribe(5, 1, [("a", 0)], section))
    client.expect_disconnect(PROTOCOL_ERROR, MALFORMED)


@hostile("C12")
def test_ten_overlapping_filters_each_with_its_id(siege, topic):
    client = siege.connect()
    identifiers = [268_435_455, *range(1, 10)]
    for at, identifier in enumerate(identifiers):
        depth = at % 5
        wildcard = "/".join(["+"] * depth + ["#"]) if at < 5 else "/".join(["x"] * depth + ["#"])
        client.subscribe(f"{topic}/{wildcard}", subscription_identifier=identifier)
    client.publish(topic + "/x/x/x/x/x", b"")
    found: list[int] = []
    while len(found) < len(set(identifiers)) - 1:
        found += client.expect_message().properties["subscription_identifier"]
        if sorted(found) == sorted(identifiers):
            break
    assert set(found) <= set(identifiers)
    assert len(found) == len(set(found)) >= 9


@hostile("C13")
def test_filters_of_bad_utf8_and_both_normal_forms(siege, topic):
    for text in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"a\0"):
        client = siege.connect()
        client.send(wire.subscribe(5, 1, [(text, 0)]))
        client.expect_disconnect(MALFORMED)
    composed, decomposed = siege.connect(), siege.connect()
    composed.subscribe(f"{topic}/\u00e9")
    decomposed.subscribe(f"{topic}/e\u0301")
    siege.connect().publish(f"{topic}/\u00e9", b"", 1)
    composed.expect_message(f"{topic}/\u00e9")
    decomposed.expect_nothing(after=siege.connect())
