"""SUBSCRIBE and UNSUBSCRIBE. MQTT 3.1.1 §3.8-3.11, MQTT 5.0 §3.8-3.11."""

import pytest

from tests.conformance import wire

statement = pytest.mark.statement
MALFORMED, PROTOCOL_ERROR, TOPIC_FILTER_INVALID = 0x81, 0x82, 0x8F


@statement("MQTT311", "MQTT-3.8.4-1", "MQTT-3.8.4-2", "MQTT-2.3.1-7")
@statement("MQTT5", "MQTT-3.8.4-1", "MQTT-3.8.4-2", "MQTT-2.2.1-6")
@pytest.mark.parametrize("packet_id", [1, 255, 256, 65_535])
def test_suback_has_the_id_of_its_subscribe(connect, version, topic, packet_id):
    client = connect(version)
    client.send(wire.subscribe(version, packet_id, [(topic, 0)]))
    client.expect("SUBACK", packet_id=packet_id, codes=(0,))


@statement("MQTT311", "MQTT-3.8.4-4", "MQTT-3.8.4-5", "MQTT-3.9.3-1", "MQTT-3.9.3-2")
@statement("MQTT5", "MQTT-3.8.4-5", "MQTT-3.8.4-6", "MQTT-3.8.4-7", "MQTT-3.9.3-1")
@statement("MQTT5", "MQTT-3.9.3-2")
def test_suback_has_a_code_for_each_filter_in_order(connect, version, topic):
    client = connect(version)
    pairs = [(f"{topic}/{at}", (at * 7 + 1) % 3) for at in range(20)]
    client.send(wire.subscribe(version, 1, pairs))
    client.expect("SUBACK", packet_id=1, codes=tuple(qos for _, qos in pairs))
    for topic_filter, qos in pairs:
        client.publish(topic_filter, b"", 2)
        client.expect_message(topic_filter, qos=qos)


@statement("MQTT311", "MQTT-3.8.4-3")
@statement("MQTT5", "MQTT-3.8.4-3")
def test_same_filter_again_replaces_the_subscription(connect, version, topic):
    client = connect(version)
    client.subscribe(topic, qos=2)
    client.subscribe(topic, qos=0)
    client.publish(topic, b"x", 2)
    client.expect_message(topic, qos=0)
    client.expect_nothing()
    client.unsubscribe(topic)
    client.publish(topic, b"y")
    client.expect_nothing()


@statement("MQTT311", "MQTT-3.8.4-3", "MQTT-3.3.1-6")
@statement("MQTT5", "MQTT-3.8.4-4", "MQTT-3.3.1-9")
def test_same_filter_again_sends_retained_messages_again(connect, version, topic):
    client = connect(version)
    client.publish(topic, b"kept", 1, retain=True)
    for _ in range(2):
        client.subscribe(topic, qos=1)
        client.expect_message(topic, b"kept", retain=True)
    client.publish(topic, b"", retain=True)


@statement("MQTT311", "MQTT-3.8.4-3")
@statement("MQTT5", "MQTT-3.8.4-4")
def test_no_message_is_lost_while_a_subscription_is_replaced(connect, version, topic):
    client, publisher = connect(version), connect(version)
    client.subscribe(topic, qos=1)
    for at in range(60):
        publisher.send_publish(topic, b"%d" % at, 1)
        client.subscribe(topic, qos=1)
    payloads = [client.expect_message(topic).payload for _ in range(60)]
    assert payloads == [b"%d" % at for at in range(60)]


@statement("MQTT311", "MQTT-3.8.1-1", "MQTT-3.10.1-1", "MQTT-2.2.2-1", "MQTT-2.2.2-2")
@statement("MQTT5", "MQTT-3.8.1-1", "MQTT-3.10.1-1", "MQTT-2.1.3-1")
@pytest.mark.versions(4, 5)
@pytest.mark.parametrize("flags", [0, 1, 3, 4, 6, 8, 10, 15])
@pytest.mark.parametrize("kind", ["SUBSCRIBE", "UNSUBSCRIBE"])
def test_server_closes_at_wrong_flags(connect, version, topic, kind, flags):
    client = connect(version)
    whole = (
        wire.subscribe(version, 1, [(topic, 0)])
        if kind == "SUBSCRIBE"
        else wire.unsubscribe(version, 1, [topic])
    )
    client.send(bytes([whole[0] & 0xF0 | flags]) + whole[1:])
    client.expect_disconnect(MALFORMED)


@statement("MQTT311", "MQTT-3.8.3-3", "MQTT-4.8.0-1")
@statement("MQTT5", "MQTT-3.8.3-2", "MQTT-4.13.1-1")
@pytest.mark.versions(4, 5)
def test_server_closes_at_subscribe_without_filters(connect, version):
    client = connect(version)
    client.send(wire.subscribe(version, 1, []))
    client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)


@statement("MQTT311", "MQTT-3.10.3-2", "MQTT-4.8.0-1")
@statement("MQTT5", "MQTT-3.10.3-2", "MQTT-4.13.1-1")
@pytest.mark.versions(4, 5)
def test_server_closes_at_unsubscribe_without_filters(connect, version):
    client = connect(version)
    client.send(wire.unsubscribe(version, 1, []))
    client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)


@statement("MQTT311", "MQTT-2.3.1-1")
@statement("MQTT5", "MQTT-4.13.1-1")
@pytest.mark.parametrize("kind", ["SUBSCRIBE", "UNSUBSCRIBE"])
def test_server_closes_at_packet_id_0(connect, version, topic, kind):
    client = connect(version)
    client.send(
        wire.subscribe(version, 0, [(topic, 0)])
        if kind == "SUBSCRIBE"
        else wire.unsubscribe(version, 0, [topic])
    )
    client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)


@statement("MQTT311", "MQTT-3.8.3-4", "MQTT-4.8.0-1")
@pytest.mark.versions(4)
@pytest.mark.parametrize("options", [0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFC], ids=hex)
def test_server_closes_at_reserved_bits_or_qos_3(connect, version, topic, options):
    client = connect(version)
    client.send(wire.subscribe(version, 1, [(topic, 0), (topic, options)]))
    client.expect_disconnect(MALFORMED)


@statement("MQTT5", "MQTT-3.8.3-5", "MQTT-4.13.1-1")
@pytest.mark.parametrize("options", [0x03, 0x30, 0x40, 0x80, 0xC0], ids=hex)
def test_server_closes_at_bad_subscription_options(connect, topic, options):
    client = connect(5)
    client.send(wire.subscribe(5, 1, [(topic, 0), (topic, options)]))
    client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)


@statement("MQTT311", "MQTT-3.8.3-4")
@statement("MQTT5", "MQTT-3.8.3-5")
def test_malformed_subscribe_subscribes_to_nothing(connect, topic):
    client = connect(5, persistent=True)
    client.send(wire.subscribe(5, 1, [(topic, 1), (topic + "/b", 0x03)]))
    client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)
    assert connect(5).publish(topic, b"", 1) == 0x10


BAD_FILTERS = ["a#", "a/#/b", "#/a", "+a", "a+", "++", "a/b+/c", "##", "a/##"]


@statement("MQTT311", "MQTT-4.7.1-2", "MQTT-4.7.1-3")
@statement("MQTT5", "MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-3.8.4-7", "MQTT-3.9.3-2")
@pytest.mark.parametrize("bad", BAD_FILTERS)
def test_bad_filter_is_refused_or_ends_the_connection(connect, version, topic, bad):
    client = connect(version)
    client.send(wire.subscribe(version, 1, [(topic, 1), (bad, 1), (f"{topic}/+/#", 2)]))
    answer = client.receive()
    if answer is None or answer.type == "DISCONNECT":
        assert version < 5 or answer.code in (MALFORMED, PROTOCOL_ERROR, TOPIC_FILTER_INVALID)
        return
    assert answer.codes == (1, TOPIC_FILTER_INVALID if version == 5 else 0x80, 2)
    client.publish(topic, b"", 1)
    client.expect_message(topic)


@statement("MQTT311", "MQTT-4.7.3-1", "MQTT-3.8.3-1")
@statement("MQTT5", "MQTT-4.7.3-1")
@pytest.mark.parametrize("kind", ["SUBSCRIBE", "UNSUBSCRIBE"])
def test_empty_filter_is_refused(connect, version, kind):
    client = connect(version)
    client.send(
        wire.subscribe(version, 1, [("", 0)])
        if kind == "SUBSCRIBE"
        else wire.unsubscribe(version, 1, [""])
    )
    answer = client.receive()
    if answer is not None and answer.type == "SUBACK":
        assert answer.codes[0] >= 0x80
    elif answer is not None and answer.type == "UNSUBACK":
        assert version < 5 or answer.codes[0] >= 0x80
    elif answer is not None:
        assert answer.code in (MALFORMED, PROTOCOL_ERROR, TOPIC_FILTER_INVALID)


@statement("MQTT5", "MQTT-4.13.1-1")
@pytest.mark.parametrize(
    ("section", "codes"),
    [
        (b"\x0b\x00", (PROTOCOL_ERROR,)),
        (b"\x0b\x01\x0b\x02", (PROTOCOL_ERROR,)),
        (b"\x0b\x80\x80\x80\x80\x01", (MALFORMED,)),
        (b"\x0b\x80\x00", (MALFORMED,)),
        (b"\x01\x00", (MALFORMED, PROTOCOL_ERROR)),
        (b"\x26\x00\x01a\x00\x01\xff", (MALFORMED,)),
    ],
    ids=["0", "twice", "five-bytes", "not-shortest", "not-for-subscribe", "user-property"],
)
def test_server_closes_at_bad_subscribe_properties(connect, topic, section, codes):
    client = connect(5)
    client.send(wire.subscribe(5, 1, [(topic, 0)], section))
    client.expect_disconnect(*codes)


def test_subscribe_may_carry_user_properties(connect, topic):
    client = connect(5)
    assert client.subscribe(topic, user_property=[("a", "1"), ("a", "2")]) == (0,)
    assert client.unsubscribe(topic, user_property=[("a", "1"), ("a", "2")]) == (0,)


# Matching

MATCHES = {
    "sport/#": ("sport", "sport/", "sport/a", "sport/a/b"),
    "sport/+": ("sport/", "sport/a"),
    "+/a": ("/a", "sport/a"),
    "/+": ("/", "/a"),
    "+/+": ("/", "/a", "sport/", "sport/a"),
    "sport/+/b": ("sport/a/b",),
    "sport/": ("sport/",),
    "sport": ("sport",),
    "Sport/#": (),
    "sport /a": (),
}
NAMES = ("sport", "sport/", "sport/a", "sport/a/b", "/", "/a")


@statement("MQTT311", "MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-4.7.3-4", "MQTT-3.3.2-3")
@statement("MQTT5", "MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-4.7.3-4", "MQTT-3.3.2-3")
@pytest.mark.parametrize("topic_filter", MATCHES)
def test_filter_matches_by_levels(connect, version, topic_filter):
    client, fence = connect(version), "matching-done"
    # Filters of these tests may meet publications of other tests at "sport": none are made.
    client.subscribe(topic_filter, fence)
    publisher = connect(version)
    for name in NAMES:
        publisher.publish(name, b"")
    publisher.publish(fence, b"")
    got = []
    while (message := client.expect_message()).topic != fence:
        got.append(message.topic)
    assert tuple(sorted(got)) == tuple(sorted(MATCHES[topic_filter]))


@statement("MQTT311", "MQTT-4.7.2-1")
@statement("MQTT5", "MQTT-4.7.2-1")
@pytest.mark.parametrize("topic_filter", ["#", "+/broker/#", "+/#", "+/broker/version"])
def test_leading_wildcard_does_not_match_dollar_topics(
    connect, version, client_id, elapse, topic_filter
):
    client, own = connect(version), f"{client_id}/broker/version"
    client.subscribe(topic_filter)
    elapse(1.2)  # the broker's own topics are published once a second
    client.publish(own, b"own")
    while (message := client.expect_message()).topic != own:
        assert not message.topic.startswith("$")


@statement("MQTT311", "MQTT-4.7.2-1", "MQTT-3.3.1-6")
@statement("MQTT5", "MQTT-4.7.2-1")
def test_dollar_topics_are_got_by_name(connect, version):
    client = connect(version)
    client.subscribe("$SYS/broker/version")
    assert client.expect_message("$SYS/broker/version").payload


@statement("MQTT311", "MQTT-4.7.3-4")
@statement("MQTT5", "MQTT-4.7.3-4")
def test_matching_does_not_normalise(connect, version, topic):
    client = connect(version)
    composed, decomposed = f"{topic}/\u00e9", f"{topic}/e\u0301"
    client.subscribe(composed)
    for name in (decomposed, f"{topic}/\u00c9", f"{topic}/e", composed):
        client.publish(name, b"")
    client.expect_message(composed)
    client.expect_nothing()


@statement("MQTT311", "MQTT-4.7.3-3", "MQTT-1.5.3-3")
@statement("MQTT5", "MQTT-4.7.3-3", "MQTT-1.5.4-3")
@pytest.mark.broker(limits={"max_topic_bytes": 65_535})
def test_longest_names_are_carried(connect, version):
    client = connect(version)
    name = "t" * 65_535
    assert client.subscribe(name) == (0,)
    client.publish(name, b"x")
    client.expect_message(name, b"x")


@statement("MQTT311", "MQTT-1.5.3-3", "MQTT-4.7.3-4")
@statement("MQTT5", "MQTT-1.5.4-3", "MQTT-4.7.3-4")
@pytest.mark.parametrize("text", ["\ufeff", "\U0001f980", " ", "\uffff"], ids=ascii)
def test_unusual_characters_are_kept_as_they_are(connect, version, topic, text):
    client = connect(version)
    # U+FFFF is among the characters that a server may refuse.
    client.send(wire.subscribe(version, 1, [(f"{topic}/{text}", 0)]))
    answer = client.receive()
    if answer is None or answer.type == "DISCONNECT" or answer.codes[0] >= 0x80:
        assert text == "\uffff", answer
        return
    client.publish(f"{topic}/{text}", text.encode())
    client.expect_message(f"{topic}/{text}", text.encode())


# UNSUBSCRIBE


@statement("MQTT311", "MQTT-3.10.4-4", "MQTT-3.10.4-5", "MQTT-2.3.1-7")
@statement("MQTT5", "MQTT-3.10.4-4", "MQTT-3.10.4-5", "MQTT-2.2.1-6", "MQTT-3.11.3-2")
@pytest.mark.parametrize("packet_id", [1, 256, 65_535])
def test_unsuback_has_the_id_even_if_nothing_was_removed(connect, version, topic, packet_id):
    client = connect(version)
    client.send(wire.unsubscribe(version, packet_id, [topic]))
    client.expect("UNSUBACK", packet_id=packet_id, codes=(0x11,) if version == 5 else ())


@statement("MQTT5", "MQTT-3.11.3-1", "MQTT-3.11.3-2", "MQTT-3.10.4-6")
@statement("MQTT311", "MQTT-3.10.4-6")
def test_unsuback_has_a_code_for_each_filter_in_order(connect, version, topic):
    client = connect(version)
    client.subscribe(f"{topic}/a", f"{topic}/c")
    codes = client.unsubscribe(f"{topic}/a", f"{topic}/b", f"{topic}/c", f"{topic}/a")
    assert codes == ((0, 0x11, 0, 0x11) if version == 5 else ())
    client.publish(f"{topic}/a", b"")
    client.publish(f"{topic}/c", b"")
    client.expect_nothing()


@statement("MQTT311", "MQTT-3.10.4-1", "MQTT-3.10.4-2")
@statement("MQTT5", "MQTT-3.10.4-1", "MQTT-3.10.4-2")
def test_unsubscribe_removes_equal_filters_only(connect, version, topic):
    client = connect(version)
    client.subscribe(f"{topic}/+", f"{topic}/a")
    client.unsubscribe(f"{topic}/A", f"{topic}/#", f"{topic}/a/")
    client.unsubscribe(f"{topic}/a")
    client.publish(f"{topic}/a", b"still by the wildcard")
    client.expect_message(f"{topic}/a")
    client.expect_nothing()
    client.unsubscribe(f"{topic}/+")
    connect(version).publish(f"{topic}/a", b"")
    client.expect_nothing(after=connect(version))


@statement("MQTT311", "MQTT-3.10.4-3")
@statement("MQTT5", "MQTT-3.10.4-3")
@pytest.mark.parametrize("qos", [1, 2])
def test_delivery_under_way_is_finished_after_unsubscribe(connect, version, topic, qos):
    client = connect(version, persistent=True)
    client.subscribe(topic, qos=qos)
    connect(version).publish(topic, b"x", qos)
    message = client.expect("PUBLISH", payload=b"x")
    client.unsubscribe(topic)
    client.cut()
    again = connect(version, client.client_id, persistent=True)
    again.expect_message(topic, b"x", packet_id=message.packet_id, dup=True)
    again.expect_nothing()


@statement("MQTT311", "MQTT-3.10.3-1", "MQTT-3.8.3-1", "MQTT-1.5.3-1", "MQTT-1.5.3-2")
@statement("MQTT311", "MQTT-4.7.3-2")
@statement("MQTT5", "MQTT-3.10.3-1", "MQTT-3.8.3-1", "MQTT-1.5.4-1", "MQTT-1.5.4-2")
@statement("MQTT5", "MQTT-4.7.3-2")
@pytest.mark.parametrize("kind", ["SUBSCRIBE", "UNSUBSCRIBE"])
@pytest.mark.parametrize(
    "text", [b"a\xff", b"a\xc0\xaf", b"\xed\xb0\x80", b"a\0b", b"\xf4\x90\x80\x80"]
)
def test_server_closes_at_ill_formed_filters(connect, version, kind, text):
    client = connect(version)
    client.send(
        wire.subscribe(version, 1, [("ok", 0), (text, 0)])
        if kind == "SUBSCRIBE"
        else wire.unsubscribe(version, 1, ["ok", text])
    )
    client.expect_disconnect(MALFORMED)


@statement("MQTT5", "MQTT-4.13.1-1")
@statement("MQTT311", "MQTT-4.8.0-1")
def test_server_closes_at_subscribe_with_half_a_filter(connect, version, topic):
    client = connect(version)
    whole = wire.subscribe(version, 1, [(topic, 0)])
    client.send(wire.frame(0x82, whole[2:-1]))
    client.expect_disconnect(MALFORMED)
