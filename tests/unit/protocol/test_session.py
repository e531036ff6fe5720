"""The session's state machine, in memory."""

from __future__ import annotations

from typing import Any

import pytest

from noctule.protocol import (
    ClientSession,
    Delivery,
    Message,
    Phase,
    Properties,
    PropertyId,
    ReasonCode,
    SessionOptions,
    SessionState,
    SubscriptionRequest,
    Version,
    encode_packet,
)
from noctule.protocol.errors import (
    DeliveryUnknownError,
    InvalidArgumentError,
    NotConnectedError,
    NotOfferedError,
    PacketTooLargeError,
)
from noctule.protocol.events import (
    Connected,
    Disconnected,
    MessageReceived,
    Refused,
    Subscribed,
    Unsubscribed,
)
from noctule.protocol.packets import (
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Unsuback,
)
from tests.unit.protocol.serving import Server, only

VERSIONS = pytest.mark.parametrize("version", list(Version))


@VERSIONS
def test_client_connects_and_learns_what_is_granted(version: Version) -> None:
    server = Server(version=version, keep_alive=30)
    assert server.accept() == []
    [connected] = only(Connected, server.events)
    assert isinstance(server.connect_packet, Connect)
    assert server.connect_packet.version == version
    assert connected.granted.keep_alive == 30
    assert server.session.phase is Phase.CONNECTED


def test_client_takes_over_what_the_server_says() -> None:
    server = Server()
    server.accept(server_keep_alive=7, assigned_client_identifier="given", receive_maximum=3)
    assert server.session.granted.keep_alive == 7
    assert server.session.client_identifier == "given"
    assert server.session.granted.receive_maximum == 3


@VERSIONS
def test_refusal_is_an_event_and_ends_the_connection(version: Version) -> None:
    server = Server(version=version)
    server.accept(reason_code=0x87 if version == 5 else 5)
    [refused] = only(Refused, server.events)
    assert refused.reason_code in (0x87, 5)
    assert server.session.phase is Phase.ENDING


def test_refusal_of_5_by_an_old_server_is_understood() -> None:
    server = Server()
    server.session.connect(server.now)
    server.sent()
    [event] = server.send_bytes(b"\x20\x02\x00\x01")
    assert isinstance(event, Refused)


@pytest.mark.parametrize("qos", [0, 1, 2])
@VERSIONS
def test_publish_is_settled_as_its_qos_asks(version: Version, qos: int) -> None:
    server = Server(version=version)
    server.accept()
    delivery = server.publish("a/b", b"payload", qos)
    [publish] = server.sent()
    assert isinstance(publish, Publish)
    assert (publish.topic, publish.payload, publish.qos, publish.dup) == (
        "a/b",
        b"payload",
        qos,
        False,
    )
    if qos == 1:
        server.send(Puback(publish.packet_identifier))
    if qos == 2:
        server.send(Pubrec(publish.packet_identifier))
        assert delivery.reason_code is None
        assert server.sent() == [Pubrel(publish.packet_identifier)]
        server.send(Pubcomp(publish.packet_identifier))
    assert delivery.reason_code == 0
    assert server.session.in_flight == 0


@pytest.mark.parametrize("size", [0, 1, 100, 121, 122, 123, 124, 125, 128, 16_384, 300_000])
@pytest.mark.parametrize("qos", [0, 1, 2])
@VERSIONS
def test_payloads_of_any_size_go_both_ways(version: Version, qos: int, size: int) -> None:
    server = Server(version=version)
    server.accept()
    payload = bytes(size)
    server.publish("a", payload, qos)
    server.session.publish_at_most_once("a", payload)
    first, second = server.sent()
    assert isinstance(first, Publish)
    assert isinstance(second, Publish)
    assert first.payload == second.payload == payload
    for _ in range(2):  # The second time the topic is known.
        [message] = only(Message, server.deliver(9, qos, payload=payload, topic="some/topic"))
        assert (message.topic, message.payload, message.qos) == ("some/topic", payload, qos)
        server.session.acknowledge(message)
        if qos == 2:
            server.send(Pubrel(9))


def test_bytes_may_come_in_any_pieces() -> None:
    server = Server()
    server.accept()
    stream = b"".join(
        encode_packet(5, packet)
        for packet in (
            Publish("a", b"1" * 200),
            Publish("b", b"2", qos=1, packet_identifier=1),
            Pingresp(),
            Publish("a", b"3" * 20_000, qos=2, packet_identifier=2),
            Publish("a", b"4"),
        )
    )
    expected = [b"1" * 200, b"2", b"3" * 20_000, b"4"]
    for size in (1, 2, 3, 7, 100, len(stream)):
        server.lose()
        server.accept()
        server.events.clear()
        for at in range(0, len(stream), size):
            server.send_bytes(stream[at : at + size])
        assert [message.payload for message in only(Message, server.events)] == expected


def test_quota_holds_back_publishes_and_nothing_else() -> None:
    server = Server()
    server.accept(receive_maximum=2)
    for number in range(4):
        server.publish(payload=b"%d" % number)
    server.publish(payload=b"zero", qos=0)
    identifier = server.session.subscribe([SubscriptionRequest("a")])
    sent = server.sent()
    assert [p.payload for p in only(Publish, sent)] == [b"0", b"1", b"zero"]
    assert [p.packet_identifier for p in only(Subscribe, sent)] == [identifier]
    server.send(Puback(1))
    assert [p.payload for p in only(Publish, server.sent())] == [b"2"]
    assert server.session.pending == 1


def test_error_settles_a_qos_2_message_and_frees_its_place() -> None:
    server = Server()
    server.accept(receive_maximum=1)
    refused, waiting = server.publish(qos=2), server.publish(qos=2)
    server.sent()
    server.send(Pubrec(refused.packet_identifier, ReasonCode.QUOTA_EXCEEDED))
    assert refused.reason_code == ReasonCode.QUOTA_EXCEEDED
    [publish] = server.sent()
    assert isinstance(publish, Publish)
    assert publish.packet_identifier == waiting.packet_identifier


@VERSIONS
def test_session_goes_on_where_it_was(version: Version) -> None:
    server = Server(version=version, session_expiry_interval=60)
    server.accept()
    if version < 5:  # The first connection of a clean start leaves no session behind.
        server.lose()
        server.accept()
    one, two, released = (server.publish(qos=qos) for qos in (1, 2, 2))
    server.sent()
    server.send(Pubrec(released.packet_identifier))
    server.lose()
    waiting = server.publish(payload=b"offline")
    sent = server.accept(session_present=version > 3)
    assert isinstance(server.connect_packet, Connect)
    assert not server.connect_packet.clean_start
    if version == 3:
        return
    again = only(Publish, sent)
    assert [(p.packet_identifier, p.dup) for p in again] == [
        (one.packet_identifier, True),
        (two.packet_identifier, True),
        (waiting.packet_identifier, False),
    ]
    assert only(Pubrel, sent) == [Pubrel(released.packet_identifier)]


def test_lost_session_publishes_qos_1_again_and_tells_of_qos_2() -> None:
    server = Server()
    server.accept()
    one, two, released = (server.publish(qos=qos) for qos in (1, 2, 2))
    server.sent()
    server.send(Pubrec(released.packet_identifier))
    server.lose()
    sent = server.accept(session_present=False)
    [again] = only(Publish, sent)
    assert (again.packet_identifier, again.dup) == (one.packet_identifier, False)
    assert isinstance(two.error, DeliveryUnknownError)
    assert released.reason_code == 0


def test_resending_keeps_within_a_smaller_quota() -> None:
    server = Server()
    server.accept()
    for number in range(4):
        server.publish(payload=b"%d" % number)
    server.sent()
    server.lose()
    sent = server.accept(session_present=True, receive_maximum=2)
    assert [p.payload for p in only(Publish, sent)] == [b"0", b"1"]
    server.send(Puback(1))
    assert [p.payload for p in only(Publish, server.sent())] == [b"2"]
    server.send(Puback(2), Puback(3))
    assert [p.payload for p in only(Publish, server.sent())] == [b"3"]


def test_state_is_saved_and_loaded() -> None:
    server = Server()
    server.accept()
    server.publish(qos=1, properties=Properties([(PropertyId.CORRELATION_DATA, b"\xff")]))
    released = server.publish(qos=2)
    server.sent()
    server.send(Pubrec(released.packet_identifier))
    server.send(*[Publish("q", b"", qos=2, packet_identifier=5)])
    server.session.acknowledge(only(Message, server.events)[0])
    server.lose()
    server.publish(payload=b"later")
    state = SessionState.from_json(server.session.state().to_json())

    second = Server(state)
    sent = second.accept(session_present=True)
    assert isinstance(second.connect_packet, Connect)
    assert not second.connect_packet.clean_start
    first, pending = only(Publish, sent)
    assert first.dup
    assert first.properties.binary(PropertyId.CORRELATION_DATA) == b"\xff"
    assert pending.payload == b"later"
    assert [p.packet_identifier for p in only(Pubrel, sent)] == [released.packet_identifier]
    assert second.deliver(5, qos=2, dup=True) == []
    assert second.sent() == [Pubrec(5)]


def test_unknown_session_ends_the_connection_unless_it_is_adopted() -> None:
    server = Server(clean_start=False)
    server.accept(session_present=True)
    assert [type(event) for event in server.events] == [Disconnected]
    adopting = Server(clean_start=False, adopt_session=True)
    adopting.accept(session_present=True)
    assert [type(event) for event in adopting.events] == [Connected]


def test_acknowledgements_keep_the_order_of_the_messages() -> None:
    server = Server()
    server.accept()
    messages = [only(Message, server.deliver(i))[0] for i in (4, 5, 6)]
    server.session.acknowledge(messages[2])
    server.session.acknowledge(messages[1])
    assert server.sent() == []
    server.session.acknowledge(messages[0])
    server.session.acknowledge(messages[0])
    assert server.sent() == [Puback(4), Puback(5), Puback(6)]


def test_negative_acknowledgement_carries_its_code() -> None:
    server = Server()
    server.accept()
    [message] = server.deliver(4, qos=2)
    assert isinstance(message, Message)
    reason = Properties([(PropertyId.REASON_STRING, "no")])
    server.session.acknowledge(message, ReasonCode.NOT_AUTHORIZED, reason)
    assert server.sent() == [Pubrec(4, ReasonCode.NOT_AUTHORIZED, reason)]
    assert len(server.deliver(4, qos=2)) == 1


def test_message_that_the_program_has_is_not_delivered_again_after_a_reconnect() -> None:
    server = Server()
    server.accept()
    held, settled = (only(Message, server.deliver(i))[0] for i in (1, 2))
    server.lose()
    server.session.acknowledge(settled)
    server.accept(session_present=True)
    assert server.deliver(1, dup=True) == []
    assert server.deliver(2, dup=True) == []
    assert server.sent() == []
    server.session.acknowledge(held)
    assert server.sent() == [Puback(1), Puback(2)]


def test_late_acknowledgement_does_not_touch_a_new_message() -> None:
    server = Server()
    server.accept()
    [old] = server.deliver(1)
    assert isinstance(old, Message)
    server.lose()
    server.accept(session_present=False)
    [new] = server.deliver(1)
    assert isinstance(new, Message)
    server.session.acknowledge(old)
    assert server.sent() == []
    server.session.acknowledge(new)
    assert server.sent() == [Puback(1)]


def test_qos_2_arrives_once() -> None:
    server = Server()
    server.accept()
    [message] = server.deliver(7, qos=2)
    assert isinstance(message, Message)
    server.session.acknowledge(message)
    assert server.sent() == [Pubrec(7)]
    assert server.deliver(7, qos=2, dup=True) == []
    assert server.sent() == [Pubrec(7)]
    server.send(Pubrel(7))
    assert server.sent() == [Pubcomp(7)]
    server.send(Pubrel(7))
    assert server.sent() == [Pubcomp(7, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)]
    assert len(server.deliver(7, qos=2)) == 1


def test_release_waits_for_the_program_where_asked() -> None:
    server = Server(hold_releases=True)
    server.accept()
    delivery = server.publish(qos=2)
    server.sent()
    [event] = server.send(Pubrec(1))
    assert event == MessageReceived(delivery)
    assert server.sent() == []
    server.lose()
    assert server.accept(session_present=True) == []
    server.session.release(delivery)
    assert server.sent() == [Pubrel(1)]


def test_frequent_topics_go_out_as_aliases() -> None:
    server = Server()
    server.accept(topic_alias_maximum=1)
    for _ in range(3):
        server.session.publish_at_most_once("a/long/topic", b"x")
        server.session.publish_at_most_once("another/topic", b"x")
        server.publish("a/long/topic", qos=1)
    topics = [
        (p.topic, p.properties.integer(PropertyId.TOPIC_ALIAS))
        for p in only(Publish, server.sent())
    ]
    assert topics == [
        ("a/long/topic", None),
        ("another/topic", None),
        ("a/long/topic", 1),
        ("", 1),
        ("another/topic", None),
        ("", 1),
        ("", 1),
        ("another/topic", None),
        ("", 1),
    ]
    server.lose()
    [first, *_] = only(Publish, server.accept(session_present=True, topic_alias_maximum=1))
    assert first.topic == "a/long/topic"


def test_alias_of_a_packet_that_was_too_large_is_not_used() -> None:
    server = Server()
    server.accept(topic_alias_maximum=5, maximum_packet_size=40)
    server.session.publish_at_most_once("a/long/topic", b"x")
    with pytest.raises(PacketTooLargeError):
        server.session.publish_at_most_once("a/long/topic", bytes(100))
    server.session.publish_at_most_once("a/long/topic", b"x")
    assert [p.topic for p in only(Publish, server.sent())] == ["a/long/topic"] * 2


def test_aliases_of_the_server_are_resolved() -> None:
    server = Server(topic_alias_maximum=2)
    server.accept()
    alias = Properties([(PropertyId.TOPIC_ALIAS, 2)])
    topics = []
    for topic in ("a/b", "", "c", "", ""):
        [message] = server.send(Publish(topic, b"", properties=alias))
        assert isinstance(message, Message)
        topics.append(message.topic)
    assert topics == ["a/b", "a/b", "c", "c", "c"]


@pytest.mark.parametrize(
    ("topic", "alias", "code"),
    [("", 1, 0x82), ("a", 3, 0x94), ("", None, 0x82)],
)
def test_bad_aliases_end_the_connection(topic: str, alias: int | None, code: int) -> None:
    server = Server(topic_alias_maximum=2)
    server.accept()
    section = b"\0" if alias is None else bytes((3, 0x23, 0, alias))
    body = bytes((0, len(topic))) + topic.encode() + section + b"payload"
    data = bytes((0x30, len(body))) + body
    [event] = server.send_bytes(data)
    assert isinstance(event, Disconnected)
    assert event.reason_code == code
    [answer] = server.sent()
    assert isinstance(answer, Disconnect)
    assert answer.reason_code == code


def test_server_that_floods_is_told_so() -> None:
    server = Server(receive_maximum=2)
    server.accept()
    server.deliver(1)
    server.deliver(2)
    [*_, event] = server.deliver(3)
    assert isinstance(event, Disconnected)
    assert event.reason_code == ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


@pytest.mark.parametrize(
    ("options", "most"),
    [({"receive_excess": 3}, 5), ({"version": Version.V3_1_1}, 40)],
)
def test_server_that_cannot_count_is_borne_with(options: dict[str, Any], most: int) -> None:
    """Before 5.0 it was not told how far it may go."""
    server = Server(receive_maximum=2, **options)
    server.accept()
    for identifier in range(1, most + 1):
        assert only(Message, server.deliver(identifier))
    server.deliver(most + 1)
    assert bool(only(Disconnected, server.events)) == (server.version == Version.V5)


def test_packets_that_are_too_large_are_refused_by_their_length_alone() -> None:
    server = Server(maximum_packet_size=100)
    server.accept()
    [event] = server.send_bytes(b"\x30\xff\xff\xff\x7f")
    assert isinstance(event, Disconnected)
    assert event.reason_code == ReasonCode.PACKET_TOO_LARGE


def test_client_sends_nothing_that_the_server_does_not_take() -> None:
    server = Server()
    server.accept(maximum_qos=0, retain_available=0, maximum_packet_size=30)
    with pytest.raises(NotOfferedError):
        server.publish(qos=1)
    with pytest.raises(NotOfferedError):
        server.publish(qos=0, retain=True)
    with pytest.raises(PacketTooLargeError):
        server.publish(qos=0, payload=bytes(30))
    with pytest.raises(PacketTooLargeError):
        server.session.publish_at_most_once("t", bytes(25))
    server.session.publish_at_most_once("t", bytes(24))
    assert len(server.sent_bytes()) == 30


def test_what_waited_and_cannot_be_sent_fails_alone() -> None:
    server = Server()
    bad, good = server.publish(qos=2), server.publish(qos=1)
    server.accept(maximum_qos=1)
    assert isinstance(bad.error, NotOfferedError)
    assert good.packet_identifier


@pytest.mark.parametrize("topic", ["", "a/+", "#", "a\0b", "x" * 65_536])
def test_topic_names_are_checked_online_and_offline(topic: str) -> None:
    server = Server()
    with pytest.raises(InvalidArgumentError):
        server.publish(topic)
    server.accept()
    for qos in (0, 1, 2):
        with pytest.raises(InvalidArgumentError):
            server.publish(topic, qos=qos)
    with pytest.raises(InvalidArgumentError):
        server.session.publish_at_most_once(topic, b"")
    assert server.sent() == []


def test_subscribe_and_unsubscribe_are_answered() -> None:
    server = Server()
    with pytest.raises(NotConnectedError):
        server.session.subscribe([SubscriptionRequest("a")])
    server.accept()
    one = server.session.subscribe([SubscriptionRequest("a", 1)], subscription_identifier=8)
    [subscribe] = only(Subscribe, server.sent())
    assert subscribe.properties.subscription_identifiers == (8,)
    [event] = server.send(Suback(one, (ReasonCode.GRANTED_QOS_1,)))
    assert event == Subscribed(one, (ReasonCode.GRANTED_QOS_1,))
    two = server.session.unsubscribe(["a"])
    assert server.send(Unsuback(two, (ReasonCode.SUCCESS,))) == [
        Unsubscribed(two, (ReasonCode.SUCCESS,))
    ]
    [event] = server.send(Suback(one, (ReasonCode.GRANTED_QOS_1,)))
    assert isinstance(event, Disconnected)


def test_idle_client_pings_and_gives_up_a_silent_server() -> None:
    server = Server(keep_alive=20)
    server.accept()
    timeout = server.session.next_timeout(server.now)
    assert timeout == server.now + 20
    server.now = timeout
    server.session.handle_timeout(server.now)
    assert server.sent() == [Pingreq()]
    server.send(Pingresp())
    assert server.session.next_timeout(server.now) == server.now + 20
    server.now += 20
    server.session.handle_timeout(server.now)
    server.sent()
    timeout = server.session.next_timeout(server.now)
    assert timeout == server.now + 10
    server.now = timeout
    server.session.handle_timeout(server.now)
    [event] = server.session.events()
    assert isinstance(event, Disconnected)
    assert event.reason_code == ReasonCode.KEEP_ALIVE_TIMEOUT


def test_silence_means_nothing_while_the_program_does_not_read() -> None:
    server = Server(keep_alive=20)
    server.accept()
    server.session.receiving_paused(True, server.now)
    for _ in range(3):
        server.now = server.session.next_timeout(server.now) or 0
        server.session.handle_timeout(server.now)
        assert server.sent() == [Pingreq()]
    server.session.receiving_paused(False, server.now)
    assert server.session.next_timeout(server.now) == server.now + 10


def test_keep_alive_0_needs_no_timer() -> None:
    server = Server(keep_alive=0)
    server.accept()
    assert server.session.next_timeout(server.now) is None


def test_nothing_is_sent_after_disconnect() -> None:
    server = Server()
    server.accept()
    server.session.disconnect(server.now, session_expiry_interval=0)
    [disconnect] = server.sent()
    assert isinstance(disconnect, Disconnect)
    assert disconnect.properties.integer(PropertyId.SESSION_EXPIRY_INTERVAL) == 0
    assert server.deliver(1) == []
    server.session.handle_timeout(server.now + 100)
    server.session.disconnect(server.now)
    assert server.sent() == []


def test_packets_before_connack_are_an_error() -> None:
    server = Server()
    server.accept()
    server.deliver(0, qos=0, topic="known")
    server.lose()
    server.session.connect(server.now)
    [event] = server.deliver(0, qos=0, topic="known")
    assert isinstance(event, Disconnected)


def test_nothing_behind_a_disconnect_counts() -> None:
    server = Server()
    server.accept()
    events = server.send(Publish("a", b"1"), Disconnect(ReasonCode.SERVER_BUSY), Publish("a", b"2"))
    assert [type(event) for event in events] == [Message, Disconnected]


def test_packet_identifiers_skip_those_in_use_and_0() -> None:
    server = Server(send_maximum=65_535)
    server.accept()
    long = server.publish(qos=2)
    request = server.session.subscribe([SubscriptionRequest("a")])
    seen = set()
    for _ in range(70_000):
        delivery = server.publish(payload=b"")
        seen.add(delivery.packet_identifier)
        server.send_bytes(b"\x40\x02" + delivery.packet_identifier.to_bytes(2, "big"))
        server.sent_bytes()
    assert 0 not in seen
    assert long.packet_identifier not in seen
    assert request not in seen
    assert len(seen) == 65_533


def test_options_that_connect_cannot_hold_are_refused() -> None:
    session = ClientSession(SessionOptions(keep_alive=70_000))
    with pytest.raises(InvalidArgumentError):
        session.connect(0.0)
    assert session.phase is Phase.OFFLINE


def test_delivery_that_waits_can_be_taken_back() -> None:
    server = Server()
    delivery = server.publish()
    assert server.session.withdraw(delivery)
    assert not server.session.withdraw(delivery)
    assert server.accept() == []


def test_connack_with_session_present_after_clean_start_is_an_error() -> None:
    server = Server()
    server.session.connect(server.now)
    server.sent()
    [event] = server.send(Connack(True, 0))
    assert isinstance(event, Disconnected)
    assert isinstance(Delivery("a", b"", 0).answer, Properties)


@pytest.mark.parametrize("code", [None, 0x00, 0x10, 0x97, 0x01])
def test_acknowledgements_that_come_in_bulk_are_read_as_single_ones(code: int | None) -> None:
    results = []
    for at_once in (True, False):
        server = Server()
        server.accept()
        deliveries = [server.publish() for _ in range(5)]
        exactly_once = server.publish(qos=2)
        server.sent()
        tail = b"" if code is None else bytes((code,))
        packets = [
            bytes((0x40, 2 + len(tail), 0, d.packet_identifier)) + tail
            for d in (*deliveries[:4], exactly_once, deliveries[4])
        ]
        if at_once:
            server.send_bytes(b"".join(packets))
        else:
            for packet in packets:
                server.send_bytes(packet)
        results.append(
            ([d.reason_code for d in deliveries], [type(e) for e in server.events], server.sent())
        )
    assert results[0] == results[1]
    expected = {None: 0, 0x01: None}.get(code, code)
    assert results[0][0] == [expected] * 4 + [None]


@pytest.mark.parametrize("session_present", [True, False])
def test_messages_are_held_until_the_program_has_subscribed(session_present: bool) -> None:
    server = Server(hold_messages=True, hold_releases=True)
    server.accept()
    server.session.resume()
    released, again, done = (server.publish(qos=qos) for qos in (2, 1, 1))
    server.sent()
    server.send(Pubrec(released.packet_identifier))
    server.session.release(released)
    server.lose()
    server.publish("waits", qos=0)
    assert not server.accept(session_present=session_present)
    if session_present:
        server.send(Pubrec(released.packet_identifier), Puback(done.packet_identifier))
    else:
        server.session.withdraw(done)
    server.publish("after", qos=0)
    assert not server.sent()
    server.session.subscribe([SubscriptionRequest("t")])
    server.session.resume()
    sent = server.sent()
    assert isinstance(sent[0], Subscribe)
    expected = [Pubrel(released.packet_identifier)] if session_present else []
    assert [p for p in sent[1:] if not isinstance(p, Publish)] == expected
    assert [(p.topic, p.dup) for p in sent if isinstance(p, Publish)] == [
        (again.topic, session_present),
        ("waits", False),
        ("after", False),
    ]


def test_runs_of_messages_are_read_as_single_ones() -> None:
    """What is alike is read by its beginning; what differs in any byte is not."""
    properties = Properties([(PropertyId.SUBSCRIPTION_IDENTIFIER, 1)])
    other = Properties([(PropertyId.SUBSCRIPTION_IDENTIFIER, 2)])
    for version in (Version.V3_1_1, Version.V5):
        packets = [
            Publish(
                "a/topic" if index % 7 else "b/topic",
                b"%03d" % index if index % 5 else b"long %03d" % index,
                qos=qos,
                retain=index % 11 == 0,
                packet_identifier=index + 1 if qos else 0,
                properties=(
                    Properties() if version < 5 else other if index % 13 == 0 else properties
                ),
            )
            for qos in (0, 1)
            for index in range(60)
        ]
        stream = b"".join(encode_packet(version, packet) for packet in packets)
        for size in (len(stream), 100, 7):
            server = Server(version=version)
            server.accept()
            for at in range(0, len(stream), size):
                server.send_bytes(stream[at : at + size])
            messages = only(Message, server.events)
            assert [
                (m.topic, m.payload, m.qos, m.retain, m.packet_identifier, m.properties)
                for m in messages
            ] == [
                (p.topic, p.payload, p.qos, p.retain, p.packet_identifier, p.properties)
                for p in packets
            ]


def test_aliases_and_faults_are_found_within_runs() -> None:
    def run(*identifiers: int) -> bytes:
        section = bytes((3, 0x23, 0, 1))
        return b"".join(
            b"\x32\x0a\0\x01a" + identifier.to_bytes(2) + section + b"x"
            for identifier in identifiers
        )

    server = Server(topic_alias_maximum=1)
    server.accept()
    named = server.send_bytes(run(1, 2, 3, 4))
    short = run(5, 6, 7).replace(b"\x32\x0a\0\x01a", b"\x32\x09\0\0")
    messages = only(Message, named + server.send_bytes(short))
    assert [(m.topic, m.packet_identifier) for m in messages] == [("a", n) for n in range(1, 8)]
    *rest, event = server.send_bytes(run(8, 9, 10, 0, 11))
    assert [m.packet_identifier for m in only(Message, rest)] == [8, 9, 10]
    assert isinstance(event, Disconnected)
    assert event.reason_code == ReasonCode.MALFORMED_PACKET


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [1, 0, 2, 3], [2, 3], [0, 0, 1], [3, 2, 1, 0]])
@pytest.mark.parametrize("second_qos", [1, 2])
def test_acknowledging_in_bulk_is_acknowledging_one_by_one(
    order: list[int], second_qos: int
) -> None:
    answers = []
    for at_once in (True, False):
        server = Server()
        server.accept()
        for identifier in range(1, 5):
            server.deliver(identifier, qos=second_qos if identifier == 2 else 1)
        messages = only(Message, server.events)
        chosen = [messages[index] for index in order]
        if at_once:
            server.session.acknowledge_all(chosen)
        else:
            for message in chosen:
                server.session.acknowledge(message)
        answers.append((server.sent(), server.session.unacknowledged))
    assert answers[0] == answers[1]


def test_acknowledging_in_bulk_leaves_an_earlier_connection_alone() -> None:
    server = Server()
    server.accept()
    [earlier] = only(Message, server.deliver(1))
    server.lose()
    server.accept(session_present=True)
    [message] = only(Message, server.deliver(1, payload=b"other"))
    server.session.acknowledge_all([earlier])
    assert not server.sent()
    server.session.acknowledge_all([message])
    assert server.sent() == [Puback(1)]


def test_acknowledging_in_bulk_sends_what_waited_for_it() -> None:
    server = Server()
    server.accept()
    for identifier in (1, 2):
        server.deliver(identifier)
    first, second = only(Message, server.events)
    server.session.acknowledge(second)
    assert not server.sent()
    server.session.acknowledge_all([first])
    assert server.sent() == [Puback(1), Puback(2)]


def test_acknowledging_in_bulk_tells_the_qualities_of_service_apart() -> None:
    server = Server()
    server.accept()
    [_] = server.deliver(1, qos=1)
    [message] = only(Message, server.deliver(1, qos=2))
    server.session.acknowledge_all([message])
    assert server.sent() == [Pubrec(1)]
