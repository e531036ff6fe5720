"""The will. MQTT 3.1.1 §3.1.2.5, MQTT 5.0 §3.1.2.5 and §3.1.3.2."""

import time

import pytest

from tests.conformance import wire
from tests.conformance.wire import Will

statement = pytest.mark.statement


@pytest.fixture
def watch(connect):
    """A client that is subscribed to the topic of wills at QoS 2."""

    def watch(topic, version=5, **options):
        watcher = connect(version)
        watcher.subscribe(topic, qos=2, **options)
        return watcher

    return watch


def close_without_disconnect(client):
    client.close()


def reset(client):
    client.cut()


def break_the_protocol(client):
    client.send(b"\x00\x00")


def stop_in_the_middle_of_a_packet(client):
    client.send(b"\x30\x20\x00\x04par")
    client.close()


ENDS = [close_without_disconnect, reset, break_the_protocol, stop_in_the_middle_of_a_packet]


@statement("MQTT311", "MQTT-3.1.2-8", "MQTT-3.1.2-9", "MQTT-4.8.0-1")
@statement("MQTT5", "MQTT-3.1.2-7", "MQTT-3.1.2-8", "MQTT-3.1.2-9")
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_will_is_published_when_connection_ends_without_disconnect(
    connect, watch, version, topic, end
):
    watcher = watch(topic, version)
    end(connect(version, will=Will(topic, b"last words")))
    watcher.expect_message(topic, b"last words", qos=0, retain=False)


@statement("MQTT311", "MQTT-3.1.2-8", "MQTT-3.1.4-2")
@statement("MQTT5", "MQTT-3.1.2-8", "MQTT-3.1.4-3")
def test_will_is_published_at_take_over(connect, watch, version, topic):
    watcher = watch(topic, version)
    first = connect(version, will=Will(topic, b"taken over"))
    connect(version, first.client_id)
    watcher.expect_message(topic, b"taken over")


@statement("MQTT311", "MQTT-3.1.2-10", "MQTT-3.14.4-3")
@statement("MQTT5", "MQTT-3.1.2-10", "MQTT-3.14.4-3", "MQTT-3.1.2-8")
def test_disconnect_removes_will(connect, watch, version, topic):
    watcher = watch(topic, version)
    connect(version, will=Will(topic, b"never")).disconnect()
    watcher.expect_nothing(after=connect(version))


@statement("MQTT5", "MQTT-3.1.2-8")
@pytest.mark.parametrize("code", [0x04, 0x80, 0x82, 0x93])
def test_disconnect_with_another_code_publishes_will(connect, watch, topic, code):
    watcher = watch(topic)
    connect(5, will=Will(topic, b"on request")).disconnect(code)
    watcher.expect_message(topic, b"on request")


@statement("MQTT311", "MQTT-3.1.2-10")
@statement("MQTT5", "MQTT-3.1.2-10")
def test_will_is_published_once(connect, watch, version, topic):
    watcher = watch(topic, version)
    client = connect(version, persistent=True, will=Will(topic, b"once"))
    client.cut()
    watcher.expect_message(topic, b"once")
    connect(version, client.client_id, persistent=True).cut()
    connect(version, client.client_id, persistent=True).disconnect()
    watcher.expect_nothing(after=connect(version))


@statement("MQTT311", "MQTT-3.1.2-12")
@statement("MQTT5", "MQTT-3.1.2-8")
def test_no_will_is_published_without_the_flag(connect, watch, version, topic):
    watcher = watch(f"{topic}/#", version)
    client = connect(version)
    client.publish(f"{topic}/said", b"", 1)
    client.cut()
    watcher.expect_message(f"{topic}/said")
    watcher.expect_nothing(after=connect(version))


@statement("MQTT311", "MQTT-3.1.2-9", "MQTT-3.1.2-14")
@statement("MQTT5", "MQTT-3.1.2-9", "MQTT-3.1.2-12")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_will_has_its_qos(connect, watch, version, topic, qos):
    watcher = watch(topic, version)
    connect(version, will=Will(topic, b"x", qos=qos)).cut()
    watcher.expect_message(topic, b"x", qos=qos)


@statement("MQTT311", "MQTT-3.1.2-16")
@statement("MQTT5", "MQTT-3.1.2-14")
def test_will_without_retain_is_not_stored(connect, watch, version, topic):
    watcher = watch(topic, version)
    connect(version, will=Will(topic, b"x")).cut()
    watcher.expect_message(topic, b"x", retain=False)
    watch(topic, version).expect_nothing()


@statement("MQTT311", "MQTT-3.1.2-17", "MQTT-3.1.2-7")
@statement("MQTT5", "MQTT-3.1.2-15")
def test_will_with_retain_is_stored(connect, watch, version, topic):
    watcher = watch(topic, version)
    connect(version, will=Will(topic, b"x", retain=True)).cut()
    watcher.expect_message(topic, b"x", retain=False)
    watch(topic, version).expect_message(topic, b"x", retain=True)
    connect(version).publish(topic, b"", retain=True)


@pytest.mark.parametrize("size", [0, 1, 65_535])
@statement("MQTT311", "MQTT-3.1.2-9")
@statement("MQTT5", "MQTT-3.1.2-9")
def test_will_of_any_size_is_kept_whole(connect, watch, version, topic, size):
    watcher = watch(topic, version)
    connect(version, will=Will(topic, b"w" * size)).cut()
    watcher.expect_message(topic, b"w" * size)


@statement("MQTT5", "MQTT-3.1.3-10", "MQTT-3.1.2-9", "MQTT-3.3.2-17", "MQTT-3.3.2-18")
def test_will_is_published_with_its_properties(connect, watch, topic):
    watcher = watch(topic)
    properties = {
        "payload_format_indicator": 1,
        "content_type": "text/plain",
        "response_topic": "answers",
        "correlation_data": b"\x00\x01",
        "user_property": [("b", "2"), ("a", "1"), ("b", "0")],
    }
    connect(5, will=Will(topic, b"text", properties=properties)).cut()
    assert watcher.expect_message(topic, b"text").properties == properties


def test_will_expiry_counts_from_publication(connect, watch, topic):
    watcher = watch(topic)
    properties = {"message_expiry_interval": 60, "will_delay_interval": 1}
    connect(5, session_expiry_interval=60, will=Will(topic, b"x", properties=properties)).cut()
    message = watcher.expect_message(topic)
    assert message.properties["message_expiry_interval"] == 60
    assert "will_delay_interval" not in message.properties


@statement("MQTT5", "MQTT-3.1.2-8")
def test_will_waits_for_its_delay(connect, stopwatch, watch, topic):
    watcher = watch(topic)
    will = Will(topic, b"late", properties={"will_delay_interval": 1})
    client = connect(5, session_expiry_interval=60, will=will)
    begin, running = time.monotonic(), stopwatch()
    client.cut()
    watcher.expect_nothing(after=connect(5))
    watcher.expect_message(topic, b"late")
    assert time.monotonic() - begin >= 0.9
    assert running.seconds() <= 2.5


@statement("MQTT5", "MQTT-3.1.2-8")
def test_will_delay_ends_with_the_session(connect, stopwatch, watch, topic):
    watcher = watch(topic)
    will = Will(topic, b"end", properties={"will_delay_interval": 0xFFFF_FFFF})
    client = connect(5, session_expiry_interval=1, will=will)
    begin, running = time.monotonic(), stopwatch()
    client.cut()
    watcher.expect_message(topic, b"end")
    assert time.monotonic() - begin >= 0.9
    assert running.seconds() <= 2.5


@statement("MQTT5", "MQTT-3.1.2-8")
def test_will_delay_means_nothing_without_a_session(connect, stopwatch, watch, topic):
    watcher = watch(topic)
    running = stopwatch()
    connect(5, will=Will(topic, b"now", properties={"will_delay_interval": 60})).cut()
    watcher.expect_message(topic, b"now")
    assert running.seconds() < 1


@statement("MQTT5", "MQTT-3.1.3-9", "MQTT-3.1.2-10")
def test_client_back_in_time_stops_its_will(connect, watch, topic, elapse):
    watcher = watch(topic)
    will = Will(topic, b"never", properties={"will_delay_interval": 1})
    client = connect(5, session_expiry_interval=60, will=will)
    client.cut()
    again = connect(5, client.client_id, persistent=True)
    assert again.connack.session_present
    elapse(1.8)
    watcher.expect_nothing(after=again)


@statement("MQTT5", "MQTT-3.1.2-8")
def test_clean_start_ends_the_session_and_so_the_delay(connect, watch, topic):
    watcher = watch(topic)
    will = Will(topic, b"session over", properties={"will_delay_interval": 60})
    client = connect(5, session_expiry_interval=60, will=will)
    client.cut()
    connect(5, client.client_id, clean=True)
    watcher.expect_message(topic, b"session over")


@statement("MQTT5", "MQTT-3.1.3-9")
def test_will_with_delay_is_not_published_at_take_over_that_goes_on(connect, watch, topic):
    watcher = watch(topic)
    will = Will(topic, b"never", properties={"will_delay_interval": 60})
    client = connect(5, session_expiry_interval=60, will=will)
    connect(5, client.client_id, persistent=True)
    watcher.expect_nothing(after=connect(5))


@statement("MQTT5", "MQTT-3.1.2-7", "MQTT-3.1.2-8")
def test_each_connection_has_the_will_it_came_with(connect, watch, topic):
    watcher = watch(topic)
    first = connect(5, persistent=True, will=Will(topic, b"first"))
    second = connect(5, first.client_id, persistent=True, will=Will(topic, b"second"))
    watcher.expect_message(topic, b"first")
    second.cut()
    watcher.expect_message(topic, b"second")


@pytest.mark.parametrize("bad", ["a/+", "a/#", "#", ""])
@statement("MQTT5", "MQTT-4.7.0-1", "MQTT-4.7.3-1", "MQTT-3.1.4-2")
@statement("MQTT311", "MQTT-4.7.1-1", "MQTT-4.7.3-1")
def test_will_topic_has_no_wildcards_and_is_not_empty(dial, version, bad):
    client = dial(version)
    client.send_connect(will=Will(bad, b"x"))
    client.expect_refusal(*((0x81, 0x82, 0x90) if version == 5 else ()))


@statement("MQTT5", "MQTT-4.13.1-1", "MQTT-3.1.4-1")
@pytest.mark.parametrize(
    "section",
    [
        b"\x11\x00\x00\x00\x01",
        b"\x01\x02",
        b"\x18\x00\x00\x00\x01" * 2,
        b"\x0b\x01",
        b"\x08\x00\x01+",
    ],
    ids=["not-a-wills", "format-2", "twice", "subscription-id", "response-topic-wildcard"],
)
def test_will_properties_against_the_protocol_are_refused(dial, section):
    client = dial(5)
    client.send_connect(will=Will("w", b"x", properties=section))
    client.expect_refusal(0x81, 0x82, 0x90)


@statement("MQTT311", "MQTT-3.1.2-8", "MQTT-3.14.4-3")
@statement("MQTT5", "MQTT-3.1.2-8")
@pytest.mark.versions(4, 5)
def test_malformed_disconnect_does_not_remove_will(connect, watch, version, topic):
    watcher = watch(topic, version)
    client = connect(version, will=Will(topic, b"kept"))
    client.send(wire.frame(0xE1))
    client.expect_disconnect(0x81)
    watcher.expect_message(topic, b"kept")
