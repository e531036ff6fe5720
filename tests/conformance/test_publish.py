"""PUBLISH on its way from a client to subscribers. MQTT 3.1.1 §3.3, MQTT 5.0 §3.3."""

import pytest

from tests.conformance import wire

statement = pytest.mark.statement
MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID = 0x81, 0x82, 0x90


@statement("MQTT311", "MQTT-3.3.4-1", "MQTT-2.3.1-5", "MQTT-2.3.1-6", "MQTT-3.3.1-2")
@statement("MQTT311", "MQTT-3.8.4-6", "MQTT-4.1.0-2", "MQTT-7.1.1-1", "MQTT-4.5.0-1")
@statement("MQTT5", "MQTT-3.3.4-1", "MQTT-2.2.1-2", "MQTT-2.2.1-5", "MQTT-3.3.1-2")
@statement("MQTT5", "MQTT-3.8.4-8", "MQTT-4.1.0-1", "MQTT-4.2-1", "MQTT-4.5.0-1")
@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("published", [0, 1, 2])
def test_delivery_uses_lower_of_published_and_granted_qos(
    connect, version, topic, published, granted
):
    subscriber, publisher = connect(version), connect(version)
    assert subscriber.subscribe(topic, qos=granted) == (granted,)
    assert publisher.publish(topic, b"payload", published) == 0
    subscriber.expect_message(topic, b"payload", qos=min(published, granted), dup=False)
    subscriber.expect_nothing()


@statement("MQTT311", "MQTT-3.3.2-3", "MQTT-4.5.0-1")
@statement("MQTT5", "MQTT-3.3.2-3", "MQTT-4.5.0-1")
def test_every_matching_session_and_no_other_gets_the_message(connect, version, topic):
    listening = [connect(version) for _ in range(4)]
    for client in listening:
        client.subscribe(f"{topic}/+", qos=1)
    other = connect(version)
    other.subscribe(f"{topic}/a/b", f"{topic}x/a", qos=1)
    publisher = connect(version)
    publisher.publish(f"{topic}/a", b"x", 1)
    for client in listening:
        client.expect_message(f"{topic}/a", b"x")
    other.expect_nothing(after=publisher)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 200_000])
def test_payload_of_any_size_arrives_whole(connect, version, topic, size):
    client = connect(version)
    client.subscribe(topic, qos=1)
    payload = bytes(at * 31 % 251 for at in range(size))
    client.publish(topic, payload, 1)
    client.expect_message(topic, payload)


@statement("MQTT311", "MQTT-3.3.1-3", "MQTT-3.3.1-1", "MQTT-4.3.2-1")
@statement("MQTT5", "MQTT-3.3.1-3", "MQTT-3.3.1-1", "MQTT-4.3.2-2", "MQTT-4.3.3-2")
@pytest.mark.parametrize("qos", [1, 2])
def test_incoming_dup_is_not_passed_on(connect, version, topic, qos):
    client = connect(version)
    client.subscribe(topic, qos=qos)
    client.publish(topic, b"x", qos, dup=True)
    client.expect_message(topic, dup=False)


BAD_PUBLISHES = {
    "qos-3": (b"\x36", b"\x00\x01a\x00\x01", (MALFORMED,)),
    "dup-at-qos-0": (b"\x38", b"\x00\x01a", (MALFORMED, PROTOCOL_ERROR)),
    "packet-id-0": (b"\x32", b"\x00\x01a\x00\x00", (MALFORMED, PROTOCOL_ERROR)),
    "packet-id-0-qos-2": (b"\x34", b"\x00\x01a\x00\x00", (MALFORMED, PROTOCOL_ERROR)),
    "empty-topic": (b"\x30", b"\x00\x00", (MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID)),
    "plus": (b"\x30", b"\x00\x03a/+", (MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID)),
    "hash": (b"\x30", b"\x00\x01#", (MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID)),
    "plus-in-level": (b"\x30", b"\x00\x03a+b", (MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID)),
    "topic-past-the-end": (b"\x30", b"\x00\x09abc", (MALFORMED,)),
    "no-topic": (b"\x30", b"", (MALFORMED,)),
    "half-a-topic-length": (b"\x30", b"\x00", (MALFORMED,)),
    "no-packet-id": (b"\x32", b"\x00\x01a", (MALFORMED,)),
}


@statement("MQTT311", "MQTT-3.3.1-4", "MQTT-3.3.1-2", "MQTT-2.3.1-1", "MQTT-4.7.3-1")
@statement("MQTT311", "MQTT-3.3.2-1", "MQTT-3.3.2-2", "MQTT-4.7.1-1", "MQTT-4.8.0-1")
@statement("MQTT5", "MQTT-3.3.1-4", "MQTT-3.3.1-2", "MQTT-2.2.1-4", "MQTT-4.7.3-1")
@statement("MQTT5", "MQTT-3.3.2-1", "MQTT-3.3.2-2", "MQTT-4.7.0-1", "MQTT-4.13.1-1")
@pytest.mark.parametrize("case", BAD_PUBLISHES)
def test_server_closes_at_bad_publish(connect, version, case):
    first, body, codes = BAD_PUBLISHES[case]
    empty = b"\x00" if version == 5 and "no-" not in case and "half" not in case else b""
    client = connect(version)
    client.send(wire.frame(first[0], body + empty))
    client.expect_disconnect(*codes)


@statement("MQTT311", "MQTT-4.8.0-1", "MQTT-3.3.5-2")
@statement("MQTT5", "MQTT-4.13.1-1")
def test_bad_publish_ends_only_its_own_connection(connect, version, topic):
    others = [connect(version) for _ in range(4)]
    culprit = connect(version)
    culprit.send(b"\x36\x05\x00\x01a\x00\x01")
    culprit.expect_disconnect(MALFORMED)
    for client in others:
        client.ping()


@statement("MQTT5", "MQTT-3.3.4-1", "MQTT-3.4.2-1", "MQTT-3.5.2-1")
@pytest.mark.parametrize(("qos", "codes"), [(1, [0x10]), (2, [0, 0x10])])
def test_publisher_is_told_when_nobody_listens(connect, topic, qos, codes):
    publisher = connect(5)
    # PUBREC need not say it, and ours says whether the message was taken.
    assert publisher.publish(topic, b"", qos) in codes
    connect(5).subscribe(topic)
    assert publisher.publish(topic, b"", qos) == 0


@statement("MQTT5", "MQTT-4.7.3-1", "MQTT-3.3.2-14", "MQTT-4.13.1-1")
@pytest.mark.parametrize("topic", ["", "+", "a/#"])
def test_response_topic_is_a_topic_name(connect, topic):
    client = connect(5)
    client.send_publish("a", b"", 1, response_topic=topic)
    client.expect_disconnect(PROTOCOL_ERROR)


def test_no_matching_subscribers_is_not_said_before_5_0(connect, topic):
    client = connect(4)
    client.send_publish(topic, b"", 1)
    assert client.expect("PUBACK").size == 4


@statement("MQTT311", "MQTT-3.3.5-2")
def test_publish_to_broker_topics_is_acknowledged_or_closed_and_never_delivered(connect, version):
    watcher, client = connect(version), connect(version)
    watcher.subscribe("$SYS/broker/conformance-forged", qos=1)
    client.send_publish("$SYS/broker/conformance-forged", b"forged", 1)
    answer = client.receive()
    if version == 5:
        assert answer is not None
        assert (answer.type, answer.code) in {
            ("PUBACK", 0x87),
            ("PUBACK", 0x90),
            ("DISCONNECT", 0x87),
            ("DISCONNECT", 0x90),
        }
    else:
        assert answer is None or answer.type == "PUBACK"
    watcher.expect_nothing(after=connect(version))


# Properties that travel with the message


@statement("MQTT5", "MQTT-3.3.2-4")
@pytest.mark.parametrize("indicator", [0, 1])
def test_payload_format_indicator_is_passed_on(connect, topic, indicator):
    client = connect(5)
    client.subscribe(topic)
    client.publish(topic, b"text", payload_format_indicator=indicator)
    message = client.expect_message(topic)
    assert message.properties.get("payload_format_indicator", 0) == indicator


@statement("MQTT5", "MQTT-3.3.2-15", "MQTT-3.3.2-16", "MQTT-3.3.2-17", "MQTT-3.3.2-18")
@statement("MQTT5", "MQTT-3.3.2-20", "MQTT-1.5.7-1")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_properties_are_passed_on_unchanged_and_in_order(connect, topic, qos):
    properties = {
        "content_type": "application/x-é",
        "response_topic": "answers/here",
        "correlation_data": bytes(range(256)),
        "user_property": [("z", "1"), ("a", ""), ("", "empty name"), ("z", "1"), ("b", "\ufeff")],
    }
    client = connect(5)
    client.subscribe(topic, qos=qos)
    client.publish(topic, b"x", qos, **properties)
    assert client.expect_message(topic).properties == properties


@statement("MQTT5", "MQTT-2.2.2-1")
def test_message_without_properties_has_property_length_0(connect, topic):
    client = connect(5)
    client.subscribe(topic)
    client.publish(topic, b"x")
    message = client.expect("PUBLISH", topic=topic)
    assert message.properties == {}
    assert message.size == 2 + 2 + len(topic) + 1 + 1


def test_properties_are_left_off_for_older_clients(connect, topic):
    old, new = connect(4), connect(5)
    old.subscribe(topic)
    new.subscribe(topic)
    new.publish(topic, b"x", content_type="text", user_property=[("a", "b")])
    old.expect_message(topic, b"x")
    new.expect_message(topic, b"x", content_type="text")
    old.publish(topic, b"y")
    assert new.expect_message(topic, b"y").properties == {}


BAD_PROPERTIES = {
    "subscription-id": (b"\x0b\x01", (PROTOCOL_ERROR,)),
    "response-topic-plus": (b"\x08\x00\x03a/+", (PROTOCOL_ERROR, TOPIC_NAME_INVALID, MALFORMED)),
    "response-topic-hash": (b"\x08\x00\x01#", (PROTOCOL_ERROR, TOPIC_NAME_INVALID, MALFORMED)),
    "response-topic-utf8": (b"\x08\x00\x01\xff", (MALFORMED,)),
    "content-type-utf8": (b"\x03\x00\x02\xc3\x28", (MALFORMED,)),
    "content-type-null": (b"\x03\x00\x01\x00", (MALFORMED,)),
    "user-property-name": (b"\x26\x00\x01\xff\x00\x00", (MALFORMED,)),
    "user-property-value": (b"\x26\x00\x00\x00\x01\xff", (MALFORMED,)),
    "format-twice": (b"\x01\x00\x01\x00", (PROTOCOL_ERROR,)),
    "format-2": (b"\x01\x02", (PROTOCOL_ERROR,)),
    "expiry-twice": (b"\x02\x00\x00\x00\x05" * 2, (PROTOCOL_ERROR,)),
    "expiry-cut-off": (b"\x02\x00\x00", (MALFORMED,)),
    "content-type-twice": (b"\x03\x00\x00" * 2, (PROTOCOL_ERROR,)),
    "not-for-publish": (b"\x11\x00\x00\x00\x05", (MALFORMED, PROTOCOL_ERROR)),
    "unknown": (b"\x7e\x00", (MALFORMED, PROTOCOL_ERROR)),
    "zero": (b"\x00\x00", (MALFORMED, PROTOCOL_ERROR)),
    "long-identifier": (b"\x81\x00\x00", (MALFORMED, PROTOCOL_ERROR)),
}


@statement("MQTT5", "MQTT-3.3.4-6", "MQTT-3.3.2-13", "MQTT-3.3.2-14", "MQTT-3.3.2-19")
@statement("MQTT5", "MQTT-1.5.7-1", "MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-4.13.1-1")
@pytest.mark.parametrize("listened", [False, True], ids=["unheard", "heard"])
@pytest.mark.parametrize("case", BAD_PROPERTIES)
def test_server_closes_at_bad_publish_properties(connect, topic, case, listened):
    section, codes = BAD_PROPERTIES[case]
    watcher = connect(5)
    if listened:
        watcher.subscribe(topic)
    client = connect(5)
    client.send_publish(topic, b"x", raw_properties=section)
    client.expect_disconnect(*codes)
    watcher.expect_nothing(after=connect(5))


@statement("MQTT5", "MQTT-4.13.1-1", "MQTT-1.5.5-1")
@pytest.mark.parametrize(
    "section",
    [b"\x80\x00", b"\x85\x00\x01\x00", b"\xff\xff\xff\xff\x01", b"\x05\x01"],
    ids=bytes.hex,
)
def test_server_closes_at_bad_property_length(connect, section):
    client = connect(5)
    client.send(wire.frame(0x30, b"\x00\x01a" + section))
    client.expect_disconnect(MALFORMED)


@pytest.mark.broker(protocol={"validate_payload_format": True})
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_payload_that_is_not_the_text_it_claims_is_refused(connect, topic, qos):
    client, watcher = connect(5), connect(5)
    watcher.subscribe(topic, qos=2)
    client.publish(topic, "text: é".encode(), qos, payload_format_indicator=1)
    watcher.expect_message(topic)
    client.publish(topic, b"\xff\xfe", qos, payload_format_indicator=0)
    watcher.expect_message(topic)
    packet_id = client.send_publish(topic, b"\xff\xfe", qos, payload_format_indicator=1)
    answer = client.receive()
    assert answer is not None
    assert answer.code == 0x99
    if answer.type == "DISCONNECT":
        client.expect_close()
    else:
        assert answer.packet_id == packet_id
        assert qos > 0
    watcher.expect_nothing(after=connect(5))


@statement("MQTT5", "MQTT-3.3.2-4")
def test_payload_format_is_not_checked_by_default(connect, topic):
    client = connect(5)
    client.subscribe(topic)
    client.publish(topic, b"\xff\xfe", payload_format_indicator=1)
    client.expect_message(topic, b"\xff\xfe", payload_format_indicator=1)


# Overlapping subscriptions, no local, subscription identifiers


@statement("MQTT311", "MQTT-3.3.5-1")
@statement("MQTT5", "MQTT-3.3.4-2")
def test_overlapping_subscriptions_deliver_at_highest_qos(connect, version, topic):
    client = connect(version)
    for qos, topic_filter in enumerate((f"{topic}/#", f"{topic}/+", f"{topic}/a")):
        client.subscribe(topic_filter, qos=qos)
    connect(version).publish(f"{topic}/a", b"x", 2)
    assert client.expect_message(f"{topic}/a", b"x").qos == 2


@statement("MQTT5", "MQTT-3.3.4-3", "MQTT-3.3.4-4", "MQTT-3.3.4-5", "MQTT-3.3.4-2")
def test_subscription_identifiers_of_all_matches_arrive(connect, topic):
    client = connect(5)
    wanted = {1, 127, 128, 268_435_455}
    filters = (topic + "/a", topic + "/+", topic + "/#", "+" + topic[topic.index("/") :] + "/a")
    for topic_filter, identifier in zip(filters, sorted(wanted), strict=True):
        client.subscribe(topic_filter, qos=1, subscription_identifier=identifier)
    client.subscribe(topic + "/+/#", qos=2)
    client.publish(topic + "/a", b"x", 2)
    found: list[int] = []
    copies = 0
    while len(found) < len(wanted):
        message = client.expect_message(topic + "/a")
        copies += 1
        found += message.properties.get("subscription_identifier", [])
    assert sorted(found) == sorted(wanted)
    assert copies == 1 or message.properties.get("subscription_identifier", [0])[1:] == []


@statement("MQTT5", "MQTT-3.3.4-3", "MQTT-3.8.4-3")
def test_subscription_identifier_is_replaced_with_its_subscription(connect, topic):
    client = connect(5)
    client.subscribe(topic, subscription_identifier=5)
    client.subscribe(topic, subscription_identifier=6)
    client.publish(topic, b"x")
    client.expect_message(topic, subscription_identifier=[6])
    client.subscribe(topic)
    client.publish(topic, b"y")
    client.expect_message(topic, subscription_identifier=None)


@statement("MQTT5", "MQTT-3.3.4-3")
def test_subscription_identifier_survives_with_its_session(connect, topic):
    client = connect(5, persistent=True)
    client.subscribe(topic, qos=1, subscription_identifier=9)
    client.disconnect()
    connect(5).publish(topic, b"x", 1)
    again = connect(5, client.client_id, persistent=True)
    again.expect_message(topic, b"x", subscription_identifier=[9])
    connect(5).publish(topic, b"y", 1)
    again.expect_message(topic, b"y", subscription_identifier=[9])


@statement("MQTT5", "MQTT-3.8.3-3")
def test_no_local_keeps_own_messages_back(connect, topic):
    client, other = connect(5), connect(5)
    client.subscribe(topic, qos=1, options=0x04)
    client.publish(topic, b"own", 1)
    client.expect_nothing()
    other.publish(topic, b"foreign", 1)
    client.expect_message(topic, b"foreign")


@statement("MQTT5", "MQTT-3.8.3-3")
def test_no_local_goes_by_client_id_not_connection(connect, topic):
    client = connect(5, persistent=True)
    client.subscribe(topic, qos=1, options=0x04)
    client.publish(topic, b"own", 1)
    again = connect(5, client.client_id, persistent=True)
    again.publish(topic, b"own again", 1)
    again.expect_nothing()


@statement("MQTT5", "MQTT-3.8.3-3", "MQTT-3.3.4-2")
def test_no_local_holds_for_its_own_subscription_only(connect, topic):
    client = connect(5)
    client.subscribe(topic, options=0x04, subscription_identifier=1)
    client.subscribe(f"{topic}/#", subscription_identifier=2)
    client.publish(topic, b"x")
    client.expect_message(topic, subscription_identifier=[2])
    client.expect_nothing()
