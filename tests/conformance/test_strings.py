"""UTF-8 strings wherever a client may send one. MQTT 3.1.1 §1.5.3, MQTT 5.0 §1.5.4."""

import pytest

from tests.conformance import wire
from tests.conformance.wire import ILL_FORMED, Will

statement = pytest.mark.statement
MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID = 0x81, 0x82, 0x90


@statement("MQTT311", "MQTT-1.5.3-1", "MQTT-1.5.3-2", "MQTT-3.3.2-1", "MQTT-4.7.3-2")
@statement("MQTT5", "MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-3.3.2-1", "MQTT-4.7.3-2")
@pytest.mark.parametrize("form", ILL_FORMED)
@pytest.mark.parametrize("where", ["{}", "a/{}", "long-enough-to-be-a-whole-register/{}/and-more"])
def test_ill_formed_topic_name_ends_the_connection(connect, version, where, form):
    before, after = where.split("{}")
    client = connect(version)
    client.send_publish(before.encode() + ILL_FORMED[form] + after.encode(), b"x")
    client.expect_disconnect(MALFORMED, TOPIC_NAME_INVALID)


@statement("MQTT5", "MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-1.5.7-1", "MQTT-3.3.2-13")
@statement("MQTT5", "MQTT-3.3.2-19")
@pytest.mark.parametrize("form", ILL_FORMED)
@pytest.mark.parametrize("prefix", [b"\x08", b"\x03", b"\x26\x00\x01n", b"\x26"], ids=bytes.hex)
def test_ill_formed_string_property_ends_the_connection(connect, prefix, form):
    client = connect(5)
    text = wire.string(ILL_FORMED[form])
    client.send_publish(
        "a", b"", raw_properties=prefix + text + (wire.string("v") * (prefix == b"\x26"))
    )
    client.expect_disconnect(MALFORMED)


@statement("MQTT5", "MQTT-1.5.4-1", "MQTT-1.5.7-1", "MQTT-3.1.4-1")
@pytest.mark.parametrize("where", ["connect", "will"])
@pytest.mark.parametrize("section", [b"\x26\x00\x01\xff\x00\x00", b"\x26\x00\x00\x00\x01\xff"])
def test_ill_formed_user_property_of_connect_is_refused(dial, where, section):
    client = dial(5)
    if where == "connect":
        client.send_connect(properties=section)
    else:
        client.send_connect(will=Will("w", b"", properties=section))
    client.expect_refusal(MALFORMED, PROTOCOL_ERROR)


@pytest.mark.parametrize("text", ["\x01", "\n", "\x7f", "\x9f"], ids=ascii)
@pytest.mark.parametrize("where", ["topic", "filter", "unsubscribed"])
def test_control_characters_in_topics_end_the_connection(connect, version, where, text):
    # A server may refuse them, and what logs and terminals show is safer without.
    client = connect(version)
    match where:
        case "topic":
            client.send_publish(f"a/{text}", b"x", 1)
        case "filter":
            client.send(wire.subscribe(version, 1, [(f"a/{text}", 0)]))
        case "unsubscribed":
            client.send(wire.unsubscribe(version, 1, [f"a/{text}"]))
    client.expect_disconnect(MALFORMED)


@pytest.mark.parametrize("where", ["client-id", "will-topic", "user-name"])
def test_control_characters_in_connect_are_refused(dial, version, where):
    client = dial(version)
    match where:
        case "client-id":
            client.send_connect("a\nb")
        case "will-topic":
            client.send_connect(will=Will("a\nb"))
        case "user-name":
            client.send_connect(username="a\nb")
    client.expect_refusal(*((0x85, TOPIC_NAME_INVALID, MALFORMED) if version == 5 else (2,)))


WELL_FORMED = [
    "\ufeff",
    "\ufeffx",
    "x\ufeff",
    "\ud7ff",
    "\ue000",
    "\U0010fffd",
    "e\u0301",
    "\u00e9",
]


@statement("MQTT311", "MQTT-1.5.3-3", "MQTT-1.5.3-1", "MQTT-4.7.3-4")
@statement("MQTT5", "MQTT-1.5.4-3", "MQTT-1.5.4-1", "MQTT-4.7.3-4")
@pytest.mark.parametrize("text", WELL_FORMED, ids=ascii)
def test_well_formed_strings_are_kept_to_the_byte(connect, version, topic, text):
    client = connect(version)
    client.subscribe(f"{topic}/#")
    properties = {"content_type": text, "user_property": [(text, text)]} if version == 5 else {}
    client.publish(f"{topic}/{text}", b"x", **properties)
    assert client.expect_message(f"{topic}/{text}").properties == properties


@statement("MQTT311", "MQTT-4.7.3-3")
@statement("MQTT5", "MQTT-4.7.3-3", "MQTT-1.5.7-1")
def test_longest_property_strings_are_carried(connect, topic):
    client = connect(5)
    client.subscribe(topic)
    properties = {"content_type": "t" * 65_535, "user_property": [("n" * 65_535, "v" * 65_535)]}
    client.publish(topic, b"x", **properties)
    assert client.expect_message(topic).properties == properties
