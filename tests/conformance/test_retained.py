"""Retained messages. MQTT 3.1.1 §3.3.1.3, MQTT 5.0 §3.3.1.3 and §3.8.3.1."""

import pytest

from tests.conformance import wire

statement = pytest.mark.statement
RETAIN_AS_PUBLISHED = 0x08
SEND_IF_NEW, DO_NOT_SEND = 0x10, 0x20


@pytest.fixture
def retain(connect, topic):
    """Stores a message at the test's topic; all of them are cleared behind the test."""
    publisher, names = connect(5), set()

    def retain(payload=b"kept", qos=1, name="", **properties):
        names.add(topic + name)
        publisher.publish(topic + name, payload, qos, retain=True, **properties)
        publisher.ping()

    yield retain
    for name in names:
        publisher.publish(name, b"", 1, retain=True)


@statement("MQTT311", "MQTT-3.3.1-5", "MQTT-3.3.1-6", "MQTT-3.3.1-8", "MQTT-3.8.4-6")
@statement("MQTT5", "MQTT-3.3.1-5", "MQTT-3.3.1-9", "MQTT-3.8.4-8")
@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("stored", [0, 1, 2])
def test_new_subscription_gets_the_retained_message(
    connect, retain, version, topic, stored, granted
):
    retain(b"kept", stored)
    client = connect(version)
    client.subscribe(topic, qos=granted)
    client.expect_message(topic, b"kept", retain=True, qos=min(stored, granted), dup=False)
    client.expect_nothing()


@statement("MQTT311", "MQTT-3.3.1-5", "MQTT-3.3.1-7")
@statement("MQTT5", "MQTT-3.3.1-5")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_retained_message_replaces_the_one_before(connect, retain, version, topic, qos):
    retain(b"old", 2)
    retain(b"new", qos)
    client = connect(version)
    client.subscribe(topic, qos=2)
    client.expect_message(topic, b"new", retain=True)
    client.expect_nothing()


@statement("MQTT311", "MQTT-3.3.1-6")
@statement("MQTT5", "MQTT-3.3.1-9")
def test_every_matching_topic_sends_its_retained_message(connect, retain, version, topic):
    names = {"/a", "/a/b", "/c", "/d/e/f"}
    for name in names:
        retain(name.encode(), name=name)
    client = connect(version)
    client.subscribe(f"{topic}/#", qos=1)
    assert {message.topic for message in client.messages(4)} == {topic + name for name in names}
    client.expect_nothing()
    client.subscribe(f"{topic}/+", qos=1)
    assert {message.topic for message in client.messages(2)} == {f"{topic}/a", f"{topic}/c"}
    client.expect_nothing()


@statement("MQTT311", "MQTT-3.3.1-9")
@statement("MQTT5", "MQTT-3.3.1-12")
def test_standing_subscription_gets_retain_0(connect, retain, version, topic):
    client = connect(version)
    client.subscribe(topic, qos=1)
    retain(b"x")
    client.expect_message(topic, b"x", retain=False)


@statement("MQTT5", "MQTT-3.3.1-13")
def test_retain_as_published_keeps_the_flag_as_it_came(connect, retain, topic):
    client = connect(5)
    client.subscribe(topic, qos=1, options=RETAIN_AS_PUBLISHED)
    retain(b"x")
    client.expect_message(topic, b"x", retain=True)
    connect(5).publish(topic, b"y", 1)
    client.expect_message(topic, b"y", retain=False)


@statement("MQTT5", "MQTT-3.3.1-12", "MQTT-3.3.1-13")
def test_retain_as_published_is_each_subscriptions_own(connect, retain, topic):
    plain, kept = connect(5), connect(5)
    plain.subscribe(topic)
    kept.subscribe(topic, options=RETAIN_AS_PUBLISHED)
    retain(b"x")
    plain.expect_message(topic, retain=False)
    kept.expect_message(topic, retain=True)


@statement("MQTT5", "MQTT-3.3.1-13")
def test_retain_as_published_holds_in_the_offline_queue(connect, retain, topic):
    client = connect(5, persistent=True)
    client.subscribe(topic, qos=1, options=RETAIN_AS_PUBLISHED)
    client.disconnect()
    retain(b"x")
    connect(5, client.client_id, persistent=True).expect_message(topic, b"x", retain=True)


@statement("MQTT311", "MQTT-3.3.1-10", "MQTT-3.3.1-11")
@statement("MQTT5", "MQTT-3.3.1-6", "MQTT-3.3.1-7")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_empty_retained_message_is_forwarded_and_clears(connect, retain, version, topic, qos):
    retain(b"old")
    watcher = connect(version)
    watcher.subscribe(topic, qos=1)
    watcher.expect_message(topic, b"old", retain=True)
    retain(b"", qos)
    watcher.expect_message(topic, b"", retain=False)
    late = connect(version)
    late.subscribe(topic, qos=1)
    late.expect_nothing()


@statement("MQTT311", "MQTT-3.3.1-11", "MQTT-3.3.1-10")
@statement("MQTT5", "MQTT-3.3.1-6", "MQTT-3.3.1-7")
def test_empty_retained_message_where_nothing_is_stored(connect, retain, version, topic):
    retain(b"")
    client = connect(version)
    client.subscribe(topic)
    client.expect_nothing()


@statement("MQTT311", "MQTT-3.3.1-12")
@statement("MQTT5", "MQTT-3.3.1-8")
@pytest.mark.parametrize("payload", [b"other", b""], ids=["other", "empty"])
def test_message_without_retain_leaves_the_stored_one(connect, retain, version, topic, payload):
    retain(b"kept")
    connect(version).publish(topic, payload, 1)
    client = connect(version)
    client.subscribe(topic)
    client.expect_message(topic, b"kept", retain=True)


@statement("MQTT311", "MQTT-3.3.1-12", "MQTT-3.3.1-6")
@statement("MQTT5", "MQTT-3.3.1-8")
def test_message_without_retain_is_not_stored(connect, version, topic):
    connect(version).publish(topic, b"passing", 1)
    client = connect(version)
    client.subscribe(topic)
    client.expect_nothing()


@statement("MQTT311", "MQTT-3.1.2-7")
@statement("MQTT5", "MQTT-4.1.0-2")
def test_retained_message_outlives_the_session_of_its_publisher(connect, version, topic):
    publisher = connect(version)
    publisher.publish(topic, b"kept", 1, retain=True)
    publisher.disconnect()
    connect(version, publisher.client_id).disconnect()
    client = connect(version)
    client.subscribe(topic)
    client.expect_message(topic, b"kept", retain=True)
    client.publish(topic, b"", retain=True)


@statement("MQTT5", "MQTT-3.3.1-9", "MQTT-3.3.2-4", "MQTT-3.3.2-15", "MQTT-3.3.2-16")
@statement("MQTT5", "MQTT-3.3.2-17", "MQTT-3.3.2-18", "MQTT-3.3.2-20")
def test_retained_message_keeps_its_properties(connect, retain, topic):
    properties = {
        "payload_format_indicator": 1,
        "content_type": "text",
        "response_topic": "r",
        "correlation_data": b"c",
        "user_property": [("b", "1"), ("a", "2"), ("b", "1")],
    }
    retain(b"x", **properties)
    client = connect(5)
    client.subscribe(topic, subscription_identifier=3)
    message = client.expect_message(topic, b"x", retain=True)
    assert message.properties == properties | {"subscription_identifier": [3]}


@statement("MQTT5", "MQTT-3.3.1-10")
def test_retain_handling_1_sends_to_new_subscriptions_only(connect, retain, topic):
    retain(b"kept")
    client = connect(5)
    client.subscribe(topic, options=SEND_IF_NEW)
    client.expect_message(topic, b"kept", retain=True)
    client.subscribe(topic, options=SEND_IF_NEW, qos=1)
    client.expect_nothing()
    client.unsubscribe(topic)
    client.subscribe(topic, options=SEND_IF_NEW)
    client.expect_message(topic, b"kept", retain=True)


@statement("MQTT5", "MQTT-3.3.1-10")
def test_retain_handling_1_knows_the_subscriptions_of_a_session(connect, retain, topic):
    retain(b"kept")
    client = connect(5, persistent=True)
    client.subscribe(topic, options=SEND_IF_NEW)
    client.expect_message(topic, b"kept")
    client.disconnect()
    again = connect(5, client.client_id, persistent=True)
    again.subscribe(topic, options=SEND_IF_NEW)
    again.expect_nothing()


@statement("MQTT5", "MQTT-3.3.1-11")
def test_retain_handling_2_sends_nothing(connect, retain, topic):
    retain(b"kept")
    client = connect(5)
    client.subscribe(topic, options=DO_NOT_SEND)
    client.expect_nothing()
    client.subscribe(topic, options=DO_NOT_SEND)
    client.expect_nothing()


@statement("MQTT5", "MQTT-3.3.1-9", "MQTT-3.8.4-4")
def test_retain_handling_0_sends_at_every_subscribe(connect, retain, topic):
    retain(b"kept")
    client = connect(5)
    for _ in range(3):
        client.subscribe(topic)
        client.expect_message(topic, b"kept", retain=True)


@statement("MQTT5", "MQTT-3.3.1-9")
@pytest.mark.parametrize("options", [0, SEND_IF_NEW, DO_NOT_SEND])
def test_shared_subscription_gets_no_retained_messages(connect, retain, topic, options):
    retain(b"kept")
    client = connect(5)
    client.subscribe(f"$share/g/{topic}", options=options)
    client.expect_nothing()


@statement("MQTT5", "MQTT-3.8.3-5")
def test_retain_handling_3_is_refused(connect, topic):
    client = connect(5)
    client.send(wire.subscribe(5, 1, [(topic, 0x30)]))
    client.expect_disconnect(0x81, 0x82)


@statement("MQTT311", "MQTT-3.3.1-5", "MQTT-3.3.1-6")
@statement("MQTT5", "MQTT-3.3.1-5", "MQTT-3.3.1-9")
def test_retained_message_of_any_size_is_whole(connect, retain, version, topic):
    payload = bytes(range(256)) * 400
    retain(payload)
    client = connect(version)
    client.subscribe(topic, qos=1)
    client.expect_message(topic, payload, retain=True)


def test_many_retained_messages_respect_receive_maximum(connect, retain, topic):
    for at in range(30):
        retain(b"%d" % at, name=f"/{at}")
    client = connect(5, receive_maximum=4)
    client.subscribe(f"{topic}/#", qos=1)
    window = [client.expect("PUBLISH") for _ in range(4)]
    client.expect_nothing()
    seen = {message.topic for message in window}
    for message in window:
        client.ack(message)
    seen |= {message.topic for message in client.messages(26)}
    assert len(seen) == 30
