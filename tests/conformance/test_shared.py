"""Shared subscriptions. MQTT 5.0 §4.8.2; offered to older clients in the same way."""

import functools
import operator
import time
from collections import Counter

import pytest

from tests.conformance import wire
from tests.conformance.wire.client import TIMEOUT_SECONDS

statement = pytest.mark.statement


@pytest.fixture
def members(connect, topic):
    """Makes members of one share group on the test's topic."""

    def members(count, version=5, qos=1, group="g", **fields):
        group_of = [connect(version, **fields) for _ in range(count)]
        for member in group_of:
            assert member.subscribe(f"$share/{group}/{topic}", qos=qos) == (qos,)
        return group_of

    return members


def drain(members):
    """The payloads that have come to each member, all acknowledged."""
    got = []
    for member in members:
        member.send(wire.PINGREQ)
        payloads = []
        while (packet := member.receive()).type == "PUBLISH":
            payloads.append(packet.payload)
            member.ack(packet)
        assert packet.type == "PINGRESP"
        got.append(payloads)
    return got


def collect(members, total):
    """As drain, but until `total` messages have come."""
    got = [[] for _ in members]
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        for one, more in zip(got, drain(members), strict=True):
            one += more
        if sum(map(len, got)) >= total:
            return got
    raise AssertionError(f"{sum(map(len, got))} of {total} messages came")


@statement("MQTT5", "MQTT-4.8.2-1", "MQTT-4.8.2-3")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_each_message_goes_to_one_member(connect, members, version, topic, qos):
    group = members(3, version, qos)
    publisher = connect(version)
    for at in range(30):
        publisher.publish(topic, b"%d" % at, qos)
    got = collect(group, 30)
    assert sorted(functools.reduce(operator.iadd, got, [])) == sorted(
        b"%d" % at for at in range(30)
    )


def test_round_robin_is_the_default(connect, members, topic):
    group = members(3)
    publisher = connect(5)
    for at in range(30):
        publisher.publish(topic, b"%d" % at, 1)
    assert [len(one) for one in collect(group, 30)] == [10, 10, 10]


@statement("MQTT5", "MQTT-4.8.2-1")
def test_groups_and_plain_subscriptions_get_their_own_copies(connect, members, topic):
    one, two = members(2, group="one"), members(2, group="two")
    plain = connect(5)
    plain.subscribe(topic, qos=1)
    publisher = connect(5)
    for at in range(10):
        publisher.publish(topic, b"%d" % at, 1)
    for group in (one, two, [plain]):
        assert sum(map(len, collect(group, 10))) == 10


@statement("MQTT5", "MQTT-4.8.2-1", "MQTT-3.3.4-3")
def test_member_with_a_plain_subscription_gets_both(connect, topic):
    client = connect(5)
    client.subscribe(topic, qos=1, subscription_identifier=1)
    client.subscribe(f"$share/g/{topic}", qos=1, subscription_identifier=2)
    client.publish(topic, b"x", 1)
    identifiers = []
    while len(identifiers) < 2:
        identifiers += client.expect_message(topic).properties["subscription_identifier"]
    assert sorted(identifiers) == [1, 2]


@statement("MQTT5", "MQTT-4.8.2-3", "MQTT-3.8.4-8")
def test_each_member_has_its_granted_qos(connect, topic):
    members = [connect(5) for _ in range(3)]
    for qos, member in enumerate(members):
        member.subscribe(f"$share/g/{topic}", qos=qos)
    publisher = connect(5)
    for _ in range(9):
        publisher.publish(topic, b"", 2)
    for qos, member in enumerate(members):
        assert member.expect_message(topic).qos == qos


@statement("MQTT5", "MQTT-4.8.2-1", "MQTT-4.8.2-2", "MQTT-3.9.3-2")
@pytest.mark.parametrize(
    "bad", ["$share", "$share/", "$share/g", "$share//a", "$share/g/", "$share/g+/a", "$share/#/a"]
)
def test_bad_shared_filter_is_refused(connect, bad):
    client = connect(5)
    client.send(wire.subscribe(5, 1, [(bad, 0)]))
    answer = client.receive()
    if answer.type == "SUBACK" and bad == "$share":
        return  # without a slash it is an ordinary filter
    assert answer.type in ("SUBACK", "DISCONNECT")
    assert (answer.codes or (answer.code,))[0] in (0x8F, 0x82, 0x81)


@statement("MQTT5", "MQTT-3.8.3-4", "MQTT-4.13.1-1")
def test_no_local_on_a_shared_subscription_is_a_protocol_error(connect, topic):
    client = connect(5)
    client.send(wire.subscribe(5, 1, [(f"$share/g/{topic}", 0x04)]))
    client.expect_disconnect(0x82)


@statement("MQTT5", "MQTT-3.10.4-1", "MQTT-3.11.3-2")
def test_unsubscribe_takes_a_member_out(connect, members, topic):
    group = members(2)
    assert group[0].unsubscribe(topic) == (0x11,)
    assert group[0].unsubscribe(f"$share/other/{topic}") == (0x11,)
    assert group[0].unsubscribe(f"$share/g/{topic}") == (0,)
    publisher = connect(5)
    for _ in range(6):
        publisher.publish(topic, b"", 1)
    assert [len(one) for one in collect(group, 6)] == [0, 6]
    group[1].unsubscribe(f"$share/g/{topic}")
    assert publisher.publish(topic, b"", 1) == 0x10


@statement("MQTT5", "MQTT-4.8.2-2")
def test_shared_filter_may_have_wildcards(connect, topic):
    client = connect(5)
    client.subscribe(f"$share/g/{topic}/+/#", qos=1)
    client.publish(f"{topic}/a/b", b"x", 1)
    client.expect_message(f"{topic}/a/b")
    client.publish(topic, b"x", 1)
    client.expect_nothing()


@statement("MQTT5", "MQTT-4.8.2-6", "MQTT-4.4.0-2")
@pytest.mark.parametrize(("qos", "kind"), [(1, "PUBACK"), (2, "PUBREC")])
def test_error_acknowledgement_drops_the_message(connect, members, topic, qos, kind):
    group = members(2, qos=qos)
    connect(5).publish(topic, b"refused", qos)
    taker = _taker(group)
    message = taker.expect("PUBLISH", payload=b"refused")
    taker.send_ack(kind, message.packet_id, 0x80)
    taker.expect_nothing()
    taker.disconnect()
    for member in group:
        if member is not taker:
            member.expect_nothing(after=connect(5))


def _taker(group):
    """The member to whom a message has come; it is still to be received."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        for member in group:
            member.ping()
            if member.has_packet():
                return member
    raise AssertionError("the message came to no member")


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("end", ["cut", "disconnect"])
def test_message_of_a_member_that_goes_is_sent_to_another(connect, members, topic, qos, end):
    group = members(3, qos=min(qos, 1))  # unacknowledged at QoS 1, so it may go elsewhere
    connect(5).publish(topic, b"must arrive", qos)
    taker = _taker(group)
    getattr(taker, end)()
    rest = [member for member in group if member is not taker]
    assert functools.reduce(operator.iadd, collect(rest, 1), []) == [b"must arrive"]


@statement("MQTT5", "MQTT-4.8.2-5")
def test_begun_qos_2_delivery_goes_to_nobody_else(connect, members, topic):
    group = members(2, qos=2)
    connect(5).publish(topic, b"begun", 2)
    taker = _taker(group)
    message = taker.expect("PUBLISH", payload=b"begun")
    taker.send_ack("PUBREC", message.packet_id)
    taker.expect("PUBREL")
    taker.disconnect()
    for member in group:
        if member is not taker:
            member.expect_nothing(after=connect(5))


@statement("MQTT5", "MQTT-4.8.2-4", "MQTT-4.3.3-5")
def test_begun_qos_2_delivery_is_finished_with_its_member(connect, topic):
    member = connect(5, persistent=True)
    member.subscribe(f"$share/g/{topic}", qos=2)
    connect(5).publish(topic, b"begun", 2)
    message = member.expect("PUBLISH", payload=b"begun")
    other = connect(5)
    other.subscribe(f"$share/g/{topic}", qos=2)
    member.send_ack("PUBREC", message.packet_id)
    member.expect("PUBREL", packet_id=message.packet_id)
    member.cut()
    other.expect_nothing(after=connect(5))
    again = connect(5, member.client_id, persistent=True)
    again.expect("PUBREL", packet_id=message.packet_id)
    again.send_ack("PUBCOMP", message.packet_id)
    again.expect_nothing()


@statement("MQTT5", "MQTT-4.8.2-4", "MQTT-4.8.2-5")
def test_unacknowledged_qos_2_message_arrives_once_in_all(connect, topic):
    """The member that got the PUBLISH is cut before its PUBREC; one member ends up with it."""
    member, other = connect(5, persistent=True), connect(5)
    member.subscribe(f"$share/g/{topic}", qos=2)
    connect(5).publish(topic, b"once", 2)
    message = member.expect("PUBLISH", payload=b"once")
    other.subscribe(f"$share/g/{topic}", qos=2)
    member.cut()
    again = connect(5, member.client_id, persistent=True)
    again.expect_message(topic, b"once", dup=True, packet_id=message.packet_id)
    other.expect_nothing(after=connect(5))


def test_offline_members_are_passed_over_while_one_is_online(connect, topic):
    away, here = connect(5, persistent=True), connect(5)
    for member in (away, here):
        member.subscribe(f"$share/g/{topic}", qos=1)
    away.disconnect()
    publisher = connect(5)
    for at in range(6):
        publisher.publish(topic, b"%d" % at, 1)
    assert collect([here], 6) == [[b"%d" % at for at in range(6)]]
    connect(5, away.client_id, persistent=True).expect_nothing(after=publisher)


def test_messages_wait_where_all_members_are_offline(connect, topic):
    away = connect(5, persistent=True)
    away.subscribe(f"$share/g/{topic}", qos=1)
    away.disconnect()
    assert connect(5).publish(topic, b"waits", 1) == 0
    connect(5, away.client_id, persistent=True).expect_message(topic, b"waits")


def test_waiting_messages_go_to_another_when_the_session_ends(connect, topic):
    away = connect(5, clean=False, session_expiry_interval=1)
    away.subscribe(f"$share/g/{topic}", qos=1)
    away.disconnect()
    connect(5).publish(topic, b"must arrive", 1)
    here = connect(5)
    here.subscribe(f"$share/g/{topic}", qos=1)
    here.expect_message(topic, b"must arrive")


def test_no_qos_1_message_is_lost_while_members_come_and_go(connect, topic):
    publisher, steady = connect(5), connect(5)
    steady.subscribe(f"$share/g/{topic}", qos=1)
    acknowledged: list[bytes] = []
    for turn in range(10):
        passing = connect(5)
        passing.subscribe(f"$share/g/{topic}", qos=1)
        for at in range(10):
            publisher.publish(topic, b"%d" % (turn * 10 + at), 1)
        message = passing.expect("PUBLISH")
        passing.ack(message)
        passing.ping()
        acknowledged.append(message.payload)
        passing.cut()
    while len(set(acknowledged)) < 100:
        acknowledged.append(steady.expect_message(topic).payload)
    steady.expect_nothing()


# Strategies


def publish_from(publishers, topic, count):
    for at in range(count):
        publishers[at % len(publishers)].publish(topic, b"%d" % (at % len(publishers)), 1)


@pytest.mark.broker(protocol={"shared_subscription_strategy": "random"})
def test_random_reaches_all_members_unevenly_ordered(connect, members, topic):
    group = members(3)
    publish_from([connect(5)], topic, 90)
    counts = [len(one) for one in collect(group, 90)]
    assert min(counts) >= 10
    assert sum(counts) == 90


@pytest.mark.broker(protocol={"shared_subscription_strategy": "sticky"})
def test_sticky_stays_with_one_member_until_it_goes(connect, members, topic):
    group = members(3)
    publisher = connect(5)
    publish_from([publisher], topic, 10)
    counts = [len(one) for one in collect(group, 10)]
    assert sorted(counts) == [0, 0, 10]
    group.pop(counts.index(10)).disconnect()
    publish_from([publisher], topic, 10)
    assert sorted(len(one) for one in collect(group, 10)) == [0, 10]


@pytest.mark.broker(protocol={"shared_subscription_strategy": "hash_client"})
def test_hash_client_keeps_each_publisher_on_one_member(connect, members, topic):
    group = members(3)
    publish_from([connect(5) for _ in range(24)], topic, 96)
    got = collect(group, 96)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not set(got[one]) & set(got[other])
    assert sum(1 for one in got if one) >= 2
    assert set(Counter(functools.reduce(operator.iadd, got, [])).values()) == {4}


@pytest.mark.broker(protocol={"shared_subscription_strategy": "hash_topic"})
def test_hash_topic_keeps_each_topic_on_one_member(connect, topic):
    group = [connect(5) for _ in range(3)]
    for member in group:
        member.subscribe(f"$share/g/{topic}/+", qos=1)
    publishers = [connect(5), connect(5)]
    for at in range(96):
        publishers[at % 2].publish(f"{topic}/{at % 24}", b"%d" % (at % 24), 1)
    got = collect(group, 96)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not set(got[one]) & set(got[other])
    assert sum(1 for one in got if one) >= 2


@pytest.mark.broker(protocol={"shared_subscription_strategy": "least_inflight"})
def test_least_inflight_spares_the_member_that_does_not_answer(connect, members, topic):
    busy, free = members(2)
    publisher = connect(5)
    kept = 0
    for _ in range(10):
        publisher.publish(topic, b"", 1)
        if _taker([busy, free]) is free:
            free.expect_message(topic)
            free.ping()
        else:
            busy.expect("PUBLISH", topic=topic)  # and never acknowledged
            kept += 1
    assert kept <= 2
