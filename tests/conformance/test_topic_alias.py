"""Topic aliases in both directions. MQTT 5.0 §3.3.2.3.4."""

import pytest

statement = pytest.mark.statement
TOPIC_ALIAS_INVALID, PROTOCOL_ERROR = 0x94, 0x82


@pytest.fixture
def alias_maximum(connect):
    """What the server under test announced; tests of inbound aliases need at least 2."""
    maximum = connect(5).connack.properties.get("topic_alias_maximum", 0)
    assert maximum >= 2
    return maximum


@statement("MQTT5", "MQTT-3.3.2-12", "MQTT-3.3.2-9")
def test_server_takes_all_aliases_up_to_its_maximum(connect, topic, alias_maximum):
    client = connect(5)
    client.subscribe(f"{topic}/#")
    aliases = sorted({1, 2, alias_maximum // 2 or 1, alias_maximum})
    for alias in aliases:
        client.publish(f"{topic}/{alias}", b"set", topic_alias=alias)
        client.expect_message(f"{topic}/{alias}", b"set")
    for alias in reversed(aliases):
        client.publish("", b"used", topic_alias=alias)
        client.expect_message(f"{topic}/{alias}", b"used")


@statement("MQTT5", "MQTT-3.3.2-12")
@pytest.mark.parametrize("qos", [1, 2])
def test_alias_works_at_every_qos(connect, topic, alias_maximum, qos):
    client = connect(5)
    client.subscribe(topic, qos=qos)
    client.publish(topic, b"set", qos, topic_alias=1)
    client.publish("", b"used", qos, topic_alias=1)
    assert [message.payload for message in client.messages(2)] == [b"set", b"used"]


@statement("MQTT5", "MQTT-3.3.2-12")
def test_alias_can_be_given_another_topic(connect, topic, alias_maximum):
    client = connect(5)
    client.subscribe(f"{topic}/#")
    for name in ("a", "b"):
        client.publish(f"{topic}/{name}", b"", topic_alias=1)
        client.publish("", b"", topic_alias=1)
    assert [message.topic for message in client.messages(4)] == [
        f"{topic}/{name}" for name in "aabb"
    ]


@statement("MQTT5", "MQTT-3.3.2-8", "MQTT-3.3.2-9", "MQTT-4.13.1-1")
def test_alias_0_is_refused(connect, topic):
    client = connect(5)
    client.send_publish(topic, b"", topic_alias=0)
    client.expect_disconnect(TOPIC_ALIAS_INVALID, PROTOCOL_ERROR)


@statement("MQTT5", "MQTT-3.3.2-9", "MQTT-4.13.1-1")
@pytest.mark.broker(limits={"topic_alias_maximum": 2})
@pytest.mark.parametrize("alias", [3, 65_535])
def test_alias_above_the_announced_maximum_is_refused(connect, topic, alias):
    client = connect(5)
    assert client.connack.properties["topic_alias_maximum"] == 2
    client.publish(topic, b"", topic_alias=2)
    client.send_publish(topic, b"", topic_alias=alias)
    client.expect_disconnect(TOPIC_ALIAS_INVALID)


@statement("MQTT5", "MQTT-3.3.2-9")
@pytest.mark.broker(limits={"topic_alias_maximum": 0})
def test_every_alias_is_refused_where_none_is_announced(connect, topic):
    client = connect(5)
    assert client.connack.properties.get("topic_alias_maximum", 0) == 0
    client.send_publish(topic, b"", topic_alias=1)
    client.expect_disconnect(TOPIC_ALIAS_INVALID)


@statement("MQTT5", "MQTT-4.7.3-1", "MQTT-4.13.1-1")
def test_unknown_alias_without_topic_is_a_protocol_error(connect, alias_maximum):
    client = connect(5)
    client.send_publish("", b"", topic_alias=1)
    client.expect_disconnect(PROTOCOL_ERROR, TOPIC_ALIAS_INVALID)


@statement("MQTT5", "MQTT-3.3.2-7")
def test_alias_ends_with_its_connection(connect, topic, alias_maximum):
    client = connect(5, persistent=True)
    client.publish(topic, b"", topic_alias=1)
    client.disconnect()
    again = connect(5, client.client_id, persistent=True)
    again.send_publish("", b"", topic_alias=1)
    again.expect_disconnect(PROTOCOL_ERROR, TOPIC_ALIAS_INVALID)


@statement("MQTT5", "MQTT-3.3.2-7")
def test_aliases_of_two_clients_are_apart(connect, topic, alias_maximum):
    first, second, watcher = connect(5), connect(5), connect(5)
    watcher.subscribe(f"{topic}/#")
    first.publish(f"{topic}/first", b"", topic_alias=1)
    second.publish(f"{topic}/second", b"", topic_alias=1)
    watcher.messages(2)
    first.publish("", b"", topic_alias=1)
    watcher.expect_message(f"{topic}/first")


@statement("MQTT5", "MQTT-3.1.2-27")
@pytest.mark.parametrize("asked", [{}, {"topic_alias_maximum": 0}], ids=["absent", "0"])
def test_client_that_asked_for_no_aliases_gets_none(connect, topic, asked):
    client = connect(5, **asked)
    client.subscribe(topic)
    for _ in range(5):
        connect(5).publish(topic, b"")
        assert "topic_alias" not in client.expect_message(topic).properties


@statement("MQTT5", "MQTT-3.1.2-26", "MQTT-3.3.2-11", "MQTT-3.3.2-8")
@pytest.mark.parametrize("maximum", [1, 3, 10])
def test_server_aliases_stay_within_the_clients_maximum(connect, topic, maximum):
    client, publisher = connect(5, topic_alias_maximum=maximum), connect(5)
    client.subscribe(f"{topic}/#")
    for turn in range(3):
        for name in range(6):
            publisher.publish(f"{topic}/{name}", b"%d" % turn)
            message = client.expect_message()
            assert message.properties.get("topic_alias", 1) <= maximum
            assert client.resolve_alias(message) == f"{topic}/{name}"


@statement("MQTT5", "MQTT-3.1.2-26", "MQTT-3.3.2-11")
def test_server_saves_the_topic_of_a_busy_subscription(connect, topic):
    client, publisher = connect(5, topic_alias_maximum=2), connect(5)
    client.subscribe(topic)
    messages = []
    for _ in range(5):
        publisher.publish(topic, b"")
        messages.append(client.expect_message())
    assert all(client.resolve_alias(message) == topic for message in messages)
    assert messages[-1].topic == "", "the server's aliases are of no use"


def test_server_gives_up_the_least_recently_used_alias(connect, topic):
    client, publisher = connect(5, topic_alias_maximum=2), connect(5)
    client.subscribe(f"{topic}/#")

    def saved(name):
        """Whether the server left the topic out this time."""
        publisher.publish(f"{topic}/{name}", b"")
        message = client.expect_message()
        assert client.resolve_alias(message) == f"{topic}/{name}"
        return message.topic == ""

    for name in "aabbaa":
        saved(name)
    for _ in range(2):
        saved("c")
    assert saved("a"), "b was used longer ago than a"


@statement("MQTT5", "MQTT-3.3.2-7")
def test_server_aliases_end_with_the_connection(connect, topic):
    client = connect(5, persistent=True, topic_alias_maximum=5)
    client.subscribe(topic, qos=1)
    publisher = connect(5)
    for _ in range(3):
        publisher.publish(topic, b"", 1)
        client.resolve_alias(client.expect_message())
    client.disconnect()
    publisher.publish(topic, b"", 1)
    again = connect(5, client.client_id, persistent=True, topic_alias_maximum=5)
    assert again.expect_message().topic == topic


@statement("MQTT5", "MQTT-3.3.2-7", "MQTT-4.4.0-1")
def test_resent_message_has_its_topic_in_full(connect, topic):
    client = connect(5, persistent=True, topic_alias_maximum=5)
    client.subscribe(topic, qos=1)
    publisher = connect(5)
    for _ in range(3):
        publisher.publish(topic, b"", 1)
        client.expect("PUBLISH")
    client.cut()
    again = connect(5, client.client_id, persistent=True, topic_alias_maximum=5)
    for _ in range(3):
        assert again.resolve_alias(again.expect_message(dup=True)) == topic


@pytest.mark.broker(limits={"topic_alias_maximum_outgoing": 0})
def test_server_may_be_told_to_send_no_aliases(connect, topic):
    client = connect(5, topic_alias_maximum=10)
    client.subscribe(topic)
    for _ in range(4):
        client.publish(topic, b"")
        assert client.expect_message(topic).properties == {}
