"""What a client does over the life of its session. MQTT 3.1.1 §3 and §4; MQTT 5.0 the same."""

from __future__ import annotations

import pytest

from noctule.protocol import (
    Phase,
    Properties,
    PropertyId,
    ReasonCode,
    SubscriptionRequest,
    Version,
    encode_packet,
)
from noctule.protocol.errors import (
    InvalidArgumentError,
    NotOfferedError,
    PacketTooLargeError,
    ProtocolError,
)
from noctule.protocol.events import AuthenticationContinued, Connected, Disconnected, Refused
from noctule.protocol.message import Message
from noctule.protocol.packets import (
    Auth,
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
)
from tests.unit.protocol.serving import Server, only

statement = pytest.mark.statement
VERSIONS = pytest.mark.versions(Version.V3_1_1, Version.V5)

LONG = "a reason that is much longer than what the server takes in one packet"
REASON = Properties([(PropertyId.REASON_STRING, LONG)])
USER = Properties([(PropertyId.USER_PROPERTY, ("name", LONG))])


def established(version: Version, **options: object) -> Server:
    """A client whose session the server keeps over connections."""
    options.setdefault("session_expiry_interval", 600)
    options.setdefault("clean_start", False)
    server = Server(version=version, **options)
    server.accept()
    return server


# --- Beginning ------------------------------------------------------------------------


@statement("MQTT311", "MQTT-3.1.0-1", "MQTT-3.1.0-2")
@statement("MQTT5", "MQTT-3.1.0-1")
@VERSIONS
def test_connect_is_the_first_packet_and_comes_once(version: Version) -> None:
    server = Server(version=version)
    server.publish()
    server.session.connect(server.now)
    assert [type(p) for p in server.sent()] == [Connect]
    with pytest.raises(InvalidArgumentError):
        server.session.connect(server.now)
    server.send(Connack(False, 0))
    with pytest.raises(InvalidArgumentError):
        server.session.connect(server.now)
    assert not only(Connect, server.sent())


@statement("MQTT311", "MQTT-3.1.2-6", "MQTT-3.1.3-2")
@statement("MQTT5", "MQTT-3.1.2-4", "MQTT-3.1.3-2")
@VERSIONS
def test_clean_start_drops_the_session(version: Version) -> None:
    server = Server(version=version, session_expiry_interval=0)
    server.accept()
    assert isinstance(server.connect_packet, Connect)
    assert server.connect_packet.clean_start
    assert server.connect_packet.client_identifier == "client"
    server.publish(qos=1)
    [message] = only(Message, server.deliver(7, 2))
    server.session.acknowledge(message)
    server.sent()
    server.lose()
    [again] = server.accept()
    assert isinstance(server.connect_packet, Connect)
    assert server.connect_packet.clean_start
    assert isinstance(again, Publish)
    assert not again.dup
    assert len(only(Message, server.deliver(7, 2))) == 1


@statement("MQTT311", "MQTT-4.1.0-1", "MQTT-4.1.0-2", "MQTT-3.1.3-2")
@statement("MQTT5", "MQTT-4.1.0-1", "MQTT-3.1.2-23", "MQTT-3.1.3-2")
@VERSIONS
def test_session_is_kept_after_the_connection(version: Version) -> None:
    server = established(version)
    deliveries = [server.publish(qos=qos) for qos in (1, 2)]
    [incoming] = only(Message, server.deliver(7, 2))
    server.session.acknowledge(incoming)
    server.sent()
    server.lose()
    state = server.session.state()
    assert state.in_flight == tuple(deliveries)
    assert state.unreleased == {7}
    again = server.accept(session_present=True)
    assert isinstance(server.connect_packet, Connect)
    assert not server.connect_packet.clean_start
    assert server.connect_packet.client_identifier == "client"
    assert [p.packet_identifier for p in only(Publish, again)] == [1, 2]
    assert server.deliver(7, 2, dup=True) == []


@statement("MQTT5", "MQTT-3.2.2-4")
def test_client_without_state_closes_if_the_server_has_some() -> None:
    server = Server(clean_start=False)
    server.accept(session_present=True)
    [event] = server.events
    assert isinstance(event, Disconnected)
    assert server.session.phase is Phase.ENDING


@statement("MQTT5", "MQTT-3.2.2-5")
def test_client_with_state_drops_it_if_the_server_has_none() -> None:
    server = established(Version.V5)
    unknown = server.publish(qos=2)
    [incoming] = only(Message, server.deliver(7, 2))
    server.session.acknowledge(incoming)
    server.lose()
    server.accept(session_present=False)
    assert unknown.error is not None
    assert server.session.state().unreleased == frozenset()
    assert len(only(Message, server.deliver(7, 2))) == 1


@statement("MQTT5", "MQTT-4.13.2-1")
@statement("MQTT311", "MQTT-4.8.0-1")
@VERSIONS
def test_refused_connection_is_closed(version: Version) -> None:
    server = Server(version=version)
    server.accept(reason_code=0x87 if version == 5 else 5)
    assert [type(event) for event in server.events] == [Refused]
    assert server.session.phase is Phase.ENDING
    assert server.session.data_to_send(server.now) == b""


# --- Limits that the server sets ------------------------------------------------------


@statement("MQTT5", "MQTT-3.2.2-11")
def test_client_keeps_to_the_maximum_qos() -> None:
    server = Server()
    server.accept(maximum_qos=0)
    for qos in (1, 2):
        with pytest.raises(NotOfferedError):
            server.publish(qos=qos)
    server.publish(qos=0)
    assert [p.qos for p in only(Publish, server.sent())] == [0]


@statement("MQTT5", "MQTT-3.2.2-14")
def test_client_sends_no_retain_where_there_is_none() -> None:
    server = Server()
    server.accept(retain_available=0)
    for qos in (0, 1, 2):
        with pytest.raises(NotOfferedError):
            server.publish(qos=qos, retain=True)
    assert server.sent() == []


@statement("MQTT5", "MQTT-3.2.2-15")
def test_client_keeps_to_the_maximum_packet_size() -> None:
    server = Server()
    server.accept(maximum_packet_size=20)
    with pytest.raises(PacketTooLargeError):
        server.session.subscribe([SubscriptionRequest("x" * 20)])
    with pytest.raises(PacketTooLargeError):
        server.session.unsubscribe(["x" * 20])
    for qos in (0, 1, 2):
        for retain in (False, True):
            with pytest.raises(PacketTooLargeError):
                server.publish("topic", bytes(20), qos=qos, retain=retain)
    with pytest.raises(PacketTooLargeError):
        server.session.publish_at_most_once("topic", bytes(20))
    assert server.sent_bytes() == b""


@statement("MQTT5", "MQTT-3.4.2-2", "MQTT-3.4.2-3", "MQTT-3.5.2-2", "MQTT-3.5.2-3")
@pytest.mark.parametrize("properties", [REASON, USER], ids=["reason string", "user property"])
@pytest.mark.parametrize("qos", [1, 2])
def test_acknowledgements_keep_to_it_without_their_reasons(
    qos: int, properties: Properties
) -> None:
    server = Server()
    server.accept(maximum_packet_size=20)
    [message] = only(Message, server.deliver(1, qos))
    server.session.acknowledge(message, ReasonCode.QUOTA_EXCEEDED, properties)
    packet = Puback if qos == 1 else Pubrec
    assert server.sent() == [packet(1, ReasonCode.QUOTA_EXCEEDED)]


@statement("MQTT5", "MQTT-3.6.2-2", "MQTT-3.6.2-3", "MQTT-3.7.2-2", "MQTT-3.7.2-3")
def test_pubrel_and_pubcomp_have_no_reasons_at_all() -> None:
    server = Server()
    server.accept(maximum_packet_size=20)
    server.send(Pubrec(9), Pubrel(9))
    assert server.sent() == [
        Pubrel(9, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND),
        Pubcomp(9, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND),
    ]


@statement("MQTT5", "MQTT-3.14.2-3", "MQTT-3.14.2-4")
def test_disconnect_keeps_to_it_without_its_reasons() -> None:
    for options in ({"reason_string": LONG}, {"user_properties": [("name", LONG)]}):
        server = Server()
        server.accept(maximum_packet_size=20)
        server.session.disconnect(
            server.now,
            ReasonCode.DISCONNECT_WITH_WILL_MESSAGE,
            **options,  # type: ignore[arg-type]
        )
        assert server.sent() == [Disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE)]


@statement("MQTT5", "MQTT-3.15.2-2", "MQTT-3.15.2-3", "MQTT-3.15.2-1")
def test_auth_has_no_reasons_at_all() -> None:
    server = Server(authentication_method="M")
    server.session.connect(server.now)
    server.sent()
    server.session.authenticate(b"data")
    [auth] = server.sent()
    assert isinstance(auth, Auth)
    assert auth.reason_code == ReasonCode.CONTINUE_AUTHENTICATION
    assert [identifier for identifier, _ in auth.properties] == [
        PropertyId.AUTHENTICATION_METHOD,
        PropertyId.AUTHENTICATION_DATA,
    ]


@statement("MQTT5", "MQTT-3.2.2-17", "MQTT-3.3.2-8", "MQTT-3.3.2-9")
def test_aliases_stay_within_the_servers_maximum_and_are_never_0() -> None:
    server = Server()
    server.accept(topic_alias_maximum=2)
    for _ in range(3):
        for topic in ("topic/one", "topic/two", "topic/three"):
            server.publish(topic, qos=0)
            server.publish(topic, qos=1)
    aliases = {p.properties.integer(PropertyId.TOPIC_ALIAS) for p in only(Publish, server.sent())}
    assert aliases == {None, 1, 2}


@statement("MQTT5", "MQTT-3.2.2-18")
def test_no_aliases_are_sent_without_leave() -> None:
    server = Server()
    server.accept()
    for _ in range(3):
        server.publish("a/long/topic", qos=0)
    assert all(not p.properties for p in only(Publish, server.sent()))


@statement("MQTT5", "MQTT-3.3.2-7")
def test_alias_mappings_end_with_the_connection() -> None:
    server = established(Version.V5)
    server.lose()
    server.accept(session_present=True, topic_alias_maximum=5)
    for _ in range(3):
        server.session.publish_at_most_once("a/long/topic", b"")
    alias = Properties([(PropertyId.TOPIC_ALIAS, 1)])
    server.send(Publish("incoming/topic", b"", properties=alias))
    server.sent()
    server.lose()
    server.accept(session_present=True, topic_alias_maximum=5)
    server.session.publish_at_most_once("a/long/topic", b"")
    assert [p.topic for p in only(Publish, server.sent())] == ["a/long/topic"]
    [event] = server.send(Publish("", b"", properties=alias))
    assert isinstance(event, Disconnected)


@statement("MQTT5", "MQTT-3.3.2-8")
def test_alias_0_of_the_server_ends_the_connection() -> None:
    server = Server()
    server.accept()
    good = encode_packet(5, Publish("a", b"", properties=Properties([(PropertyId.TOPIC_ALIAS, 1)])))
    [event] = server.send_bytes(good.replace(b"\x23\x00\x01", b"\x23\x00\x00"))
    assert isinstance(event, Disconnected)
    assert event.reason_code == ReasonCode.TOPIC_ALIAS_INVALID


@statement("MQTT5", "MQTT-3.3.2-10")
def test_client_takes_all_aliases_up_to_its_own_maximum() -> None:
    server = Server(topic_alias_maximum=3)
    server.accept()
    assert isinstance(server.connect_packet, Connect)
    assert server.connect_packet.properties.integer(PropertyId.TOPIC_ALIAS_MAXIMUM) == 3
    for alias in (1, 2, 3):
        section = Properties([(PropertyId.TOPIC_ALIAS, alias)])
        for topic in (f"t/{alias}", ""):
            [message] = only(Message, server.send(Publish(topic, b"", properties=section)))
            assert message.topic == f"t/{alias}"


@statement("MQTT5", "MQTT-3.1.2-21", "MQTT-3.2.2-21", "MQTT-3.1.2-20")
@statement("MQTT311", "MQTT-3.1.2-23")
@VERSIONS
def test_idle_client_pings_within_the_keep_alive(version: Version) -> None:
    server = Server(version=version, keep_alive=100)
    if version == 5:
        server.accept(server_keep_alive=30)
    else:
        server.accept()
    keep_alive = 30 if version == 5 else 100
    started = server.now
    timeout = server.session.next_timeout(server.now)
    assert timeout is not None
    assert timeout <= started + keep_alive
    server.now = timeout
    server.session.handle_timeout(server.now)
    assert server.sent() == [Pingreq()]


# --- Quotas ---------------------------------------------------------------------------


@statement("MQTT5", "MQTT-3.3.4-7", "MQTT-4.9.0-1", "MQTT-4.9.0-2")
def test_open_messages_stay_within_the_receive_maximum() -> None:
    server = Server()
    server.accept(receive_maximum=2)
    for _ in range(5):
        server.publish(qos=2)
    assert len(only(Publish, server.sent())) == 2
    server.send(Pubrec(1))
    assert only(Publish, server.sent()) == []
    server.send(Pubcomp(1))
    assert len(only(Publish, server.sent())) == 1
    server.send(Pubrec(2, ReasonCode.QUOTA_EXCEEDED))
    assert len(only(Publish, server.sent())) == 1


@statement("MQTT5", "MQTT-3.3.4-8", "MQTT-4.9.0-3")
def test_full_quota_holds_back_nothing_else() -> None:
    server = Server()
    server.accept(receive_maximum=1)
    server.publish(qos=1)
    server.publish(qos=1)
    server.publish(qos=0)
    server.session.subscribe([SubscriptionRequest("a")])
    server.session.ping(server.now)
    [message] = only(Message, server.deliver(5, 1))
    server.session.acknowledge(message)
    sent = server.sent()
    assert [type(p) for p in sent] == [Publish, Publish, Subscribe, Pingreq, Puback]
    assert [p.qos for p in only(Publish, sent)] == [1, 0]


# --- QoS 0, 1, 2: sending -------------------------------------------------------------


@statement("MQTT311", "MQTT-4.3.1-1", "MQTT-3.3.1-2", "MQTT-2.3.1-5")
@statement("MQTT5", "MQTT-4.3.1-1", "MQTT-3.3.1-2", "MQTT-2.2.1-2")
@VERSIONS
def test_qos_0_is_sent_once_without_dup_and_identifier(version: Version) -> None:
    server = established(version)
    server.publish(qos=0)
    server.session.publish_at_most_once("a", b"")
    first, second = only(Publish, server.sent())
    assert not first.dup
    assert not second.dup
    assert first.packet_identifier == second.packet_identifier == 0
    server.lose()
    assert server.accept(session_present=True) == []


@statement("MQTT311", "MQTT-4.3.2-1", "MQTT-2.3.1-3", "MQTT-3.3.1-1", "MQTT-4.4.0-1")
@statement("MQTT5", "MQTT-4.3.2-1", "MQTT-4.3.2-2", "MQTT-4.3.2-3", "MQTT-3.3.1-1")
@statement("MQTT5", "MQTT-4.4.0-1")
@VERSIONS
def test_qos_1_is_open_until_puback(version: Version) -> None:
    server = established(version)
    delivery = server.publish(qos=1)
    [publish] = only(Publish, server.sent())
    assert not publish.dup
    for _ in range(2):
        server.lose()
        [again] = only(Publish, server.accept(session_present=True))
        assert again.dup
        assert again.packet_identifier == publish.packet_identifier
    server.send(Puback(publish.packet_identifier))
    assert delivery.reason_code == 0
    server.lose()
    assert server.accept(session_present=True) == []


@statement("MQTT311", "MQTT-4.3.3-1", "MQTT-2.3.1-6", "MQTT-4.4.0-1")
@statement("MQTT5", "MQTT-4.3.3-1", "MQTT-4.3.3-2", "MQTT-4.3.3-3", "MQTT-4.3.3-4")
@statement("MQTT5", "MQTT-4.3.3-5", "MQTT-4.3.3-6", "MQTT-2.2.1-5", "MQTT-4.4.0-1")
@VERSIONS
def test_qos_2_goes_its_four_steps(version: Version) -> None:
    server = established(version)
    delivery = server.publish(qos=2)
    [publish] = only(Publish, server.sent())
    identifier = publish.packet_identifier
    assert not publish.dup
    server.lose()
    [again] = only(Publish, server.accept(session_present=True))
    assert again.dup
    server.send(Pubrec(identifier))
    assert server.sent() == [Pubrel(identifier)]
    for _ in range(2):
        server.lose()
        assert server.accept(session_present=True) == [Pubrel(identifier)]
    server.send(Pubrec(identifier))
    assert server.sent() == [Pubrel(identifier)]
    assert delivery.reason_code is None
    server.send(Pubcomp(identifier))
    assert delivery.reason_code == 0
    server.lose()
    assert server.accept(session_present=True) == []


@statement("MQTT5", "MQTT-4.3.3-7")
def test_message_expiry_does_not_end_an_exchange_that_has_begun() -> None:
    server = established(Version.V5)
    expiry = Properties([(PropertyId.MESSAGE_EXPIRY_INTERVAL, 1)])
    server.publish(qos=2, properties=expiry)
    server.sent()
    server.lose()
    server.now += 1_000
    [again] = only(Publish, server.accept(session_present=True))
    server.send(Pubrec(again.packet_identifier))
    assert server.sent() == [Pubrel(again.packet_identifier)]


@statement("MQTT5", "MQTT-4.4.0-2")
def test_error_settles_a_message_for_good() -> None:
    server = established(Version.V5)
    one, two = server.publish(qos=1), server.publish(qos=2)
    server.sent()
    server.send(
        Puback(one.packet_identifier, ReasonCode.QUOTA_EXCEEDED),
        Pubrec(two.packet_identifier, ReasonCode.QUOTA_EXCEEDED),
    )
    assert one.reason_code == two.reason_code == ReasonCode.QUOTA_EXCEEDED
    server.lose()
    assert server.accept(session_present=True) == []


@statement("MQTT311", "MQTT-4.6.0-1", "MQTT-4.6.0-4")
@statement("MQTT5", "MQTT-4.6.0-1", "MQTT-4.6.0-4")
@VERSIONS
def test_order_is_kept_in_sending_again_and_in_releasing(version: Version) -> None:
    server = established(version)
    for index in range(6):
        server.publish(payload=b"%d" % index, qos=2)
    server.sent()
    server.lose()
    again = only(Publish, server.accept(session_present=True))
    assert [p.payload for p in again] == [b"%d" % index for index in range(6)]
    order = [3, 1, 6, 2, 5, 4]
    server.send(*(Pubrec(identifier) for identifier in order))
    assert server.sent() == [Pubrel(identifier) for identifier in order]


@statement("MQTT5", "MQTT-3.3.4-6")
def test_publish_has_no_subscription_identifier() -> None:
    from noctule.protocol import check_from_client

    server = Server()
    server.accept()
    server.session.subscribe([SubscriptionRequest("t")], subscription_identifier=7)
    server.publish()
    [publish] = only(Publish, server.sent())
    assert publish.properties.subscription_identifiers == ()
    with pytest.raises(ProtocolError):
        tagged = Properties([(PropertyId.SUBSCRIPTION_IDENTIFIER, 7)])
        check_from_client(5, Publish("t", b"", properties=tagged))


# --- QoS 0, 1, 2: receiving -----------------------------------------------------------


@statement("MQTT311", "MQTT-3.3.4-1", "MQTT-4.5.0-2", "MQTT-2.3.1-6", "MQTT-4.3.2-2")
@statement("MQTT5", "MQTT-3.3.4-1", "MQTT-4.5.0-2", "MQTT-2.2.1-5", "MQTT-4.3.2-4")
@statement("MQTT5", "MQTT-4.3.2-5", "MQTT-4.3.3-8")
@VERSIONS
def test_messages_are_answered_as_their_qos_asks(version: Version) -> None:
    server = established(version)
    for qos, answer in ((0, []), (1, [Puback(5)]), (2, [Pubrec(6)])):
        [message] = only(Message, server.deliver(4 + qos if qos else 0, qos, topic="unwanted"))
        server.session.acknowledge(message)
        assert server.sent() == answer
    assert len(only(Message, server.deliver(5, 1))) == 1


@statement("MQTT5", "MQTT-4.3.2-5")
@statement("MQTT311", "MQTT-4.3.2-2")
@pytest.mark.parametrize("dup", [False, True])
@VERSIONS
def test_after_puback_the_identifier_is_a_new_message(version: Version, dup: bool) -> None:
    server = established(version)
    for _ in range(3):
        [message] = only(Message, server.deliver(5, 1, dup=dup))
        server.session.acknowledge(message)
        assert server.sent() == [Puback(5)]


@statement("MQTT311", "MQTT-4.3.3-2")
@statement("MQTT5", "MQTT-4.3.3-8", "MQTT-4.3.3-10", "MQTT-4.3.3-11", "MQTT-4.3.3-12")
@VERSIONS
def test_qos_2_message_is_delivered_once_until_pubrel(version: Version) -> None:
    server = established(version)
    [message] = only(Message, server.deliver(5, 2))
    server.session.acknowledge(message)
    assert server.sent() == [Pubrec(5)]
    for dup in (True, False):
        assert server.deliver(5, 2, dup=dup) == []
        assert server.sent() == [Pubrec(5)]
    server.lose()
    server.accept(session_present=True)
    assert server.deliver(5, 2, dup=True) == []
    assert server.sent() == [Pubrec(5)]
    server.send(Pubrel(5))
    assert server.sent() == [Pubcomp(5)]
    assert len(only(Message, server.deliver(5, 2))) == 1


@statement("MQTT5", "MQTT-4.3.3-9")
def test_after_an_error_the_identifier_is_a_new_message() -> None:
    server = established(Version.V5)
    for _ in range(2):
        [message] = only(Message, server.deliver(5, 2))
        server.session.acknowledge(message, ReasonCode.UNSPECIFIED_ERROR)
        assert server.sent() == [Pubrec(5, ReasonCode.UNSPECIFIED_ERROR)]


@statement("MQTT5", "MQTT-4.3.3-13")
def test_incoming_exchange_is_finished_though_the_message_expired() -> None:
    server = established(Version.V5)
    expiry = Properties([(PropertyId.MESSAGE_EXPIRY_INTERVAL, 1)])
    [message] = only(Message, server.deliver(5, 2, properties=expiry))
    server.now += 1_000
    server.session.acknowledge(message)
    server.send(Pubrel(5))
    assert server.sent() == [Pubrec(5), Pubcomp(5)]


@statement("MQTT311", "MQTT-4.6.0-2", "MQTT-4.6.0-3")
@statement("MQTT5", "MQTT-4.6.0-2", "MQTT-4.6.0-3")
@pytest.mark.parametrize("qos", [1, 2])
@VERSIONS
def test_acknowledgements_keep_the_order_of_the_messages(version: Version, qos: int) -> None:
    server = established(version)
    messages = [only(Message, server.deliver(i, qos))[0] for i in (9, 3, 7, 1)]
    for index in (2, 0, 3, 1):
        server.session.acknowledge(messages[index])
    answer = Puback if qos == 1 else Pubrec
    assert server.sent() == [answer(9), answer(3), answer(7), answer(1)]


# --- Ending ---------------------------------------------------------------------------


@statement("MQTT311", "MQTT-3.14.4-1", "MQTT-3.14.4-2")
@statement("MQTT5", "MQTT-3.14.4-1", "MQTT-3.14.4-2")
@VERSIONS
def test_nothing_is_sent_after_disconnect_and_the_connection_closes(version: Version) -> None:
    server = established(version)
    server.session.disconnect(server.now)
    assert [type(p) for p in server.sent()] == [Disconnect]
    assert server.session.phase is Phase.ENDING
    server.send(Publish("a", b"", qos=1, packet_identifier=1), Pingresp())
    server.session.handle_timeout(server.now + 1_000)
    server.session.disconnect(server.now)
    assert server.session.data_to_send(server.now) == b""


@statement("MQTT5", "MQTT-4.13.2-1", "MQTT-3.14.2-1")
def test_disconnect_of_the_server_closes_the_connection() -> None:
    server = established(Version.V5)
    [event] = server.send(Disconnect(ReasonCode.SERVER_BUSY))
    assert event == Disconnected(ReasonCode.SERVER_BUSY)
    assert server.session.phase is Phase.ENDING
    assert server.sent() == []


@statement("MQTT311", "MQTT-4.8.0-1", "MQTT-4.8.0-2", "MQTT-2.2.2-2")
@VERSIONS
def test_rule_that_the_server_breaks_ends_the_connection(version: Version) -> None:
    for packet in (b"\x10\x02\0\0", b"\xf0\x00", Suback(9, (ReasonCode.GRANTED_QOS_0,))):
        server = established(version)
        data = packet if isinstance(packet, bytes) else encode_packet(version, packet)
        [event] = server.send_bytes(data)
        assert isinstance(event, Disconnected)
        assert server.session.phase is Phase.ENDING


# --- Enhanced authentication ----------------------------------------------------------


def auth(method: str, data: bytes, code: ReasonCode = ReasonCode.CONTINUE_AUTHENTICATION) -> Auth:
    return Auth(
        code,
        Properties(
            [(PropertyId.AUTHENTICATION_METHOD, method), (PropertyId.AUTHENTICATION_DATA, data)]
        ),
    )


@statement("MQTT5", "MQTT-3.1.2-30", "MQTT-4.12.0-3", "MQTT-4.12.0-5", "MQTT-3.15.2-1")
def test_before_connack_only_auth_and_disconnect_are_sent() -> None:
    server = Server(authentication_method="M")
    server.publish(qos=1)
    server.session.connect(server.now, authentication_data=b"first")
    [connect] = server.sent()
    assert isinstance(connect, Connect)
    assert connect.properties.string(PropertyId.AUTHENTICATION_METHOD) == "M"
    assert connect.properties.binary(PropertyId.AUTHENTICATION_DATA) == b"first"
    server.publish(qos=0)
    server.session.handle_timeout(server.now + 1_000)
    [event] = server.send(auth("M", b"challenge"))
    assert isinstance(event, AuthenticationContinued)
    assert event.data == b"challenge"
    assert server.sent() == []
    server.session.authenticate(b"answer")
    assert server.sent() == [auth("M", b"answer")]
    server.send(Connack(False, 0, Properties([(PropertyId.AUTHENTICATION_METHOD, "M")])))
    assert len(only(Publish, server.sent())) == 2


@statement("MQTT5", "MQTT-4.12.0-5")
def test_another_method_of_the_server_ends_the_connection() -> None:
    server = Server(authentication_method="M")
    server.session.connect(server.now)
    [event] = server.send(auth("N", b""))
    assert isinstance(event, Disconnected)
    server = Server(authentication_method="M")
    server.accept()
    assert [type(e) for e in server.events] == [Disconnected]


@statement("MQTT5", "MQTT-4.12.0-7")
def test_no_auth_is_sent_without_a_method() -> None:
    server = Server()
    server.accept()
    with pytest.raises(InvalidArgumentError):
        server.session.authenticate(b"")
    with pytest.raises(InvalidArgumentError):
        server.session.reauthenticate(b"")
    assert server.sent() == []


@statement("MQTT5", "MQTT-4.12.1-1", "MQTT-4.12.1-2")
def test_reauthentication_names_the_method_of_connect_and_its_failure_closes() -> None:
    server = Server(authentication_method="M")
    server.accept(authentication_method="M")
    assert [type(e) for e in server.events] == [Connected]
    server.session.reauthenticate(b"again")
    assert server.sent() == [auth("M", b"again", ReasonCode.RE_AUTHENTICATE)]
    server.session.disconnect(server.now, ReasonCode.NOT_AUTHORIZED)
    assert server.sent() == [Disconnect(ReasonCode.NOT_AUTHORIZED)]
    assert server.session.phase is Phase.ENDING
