"""CONNACK and what the server says it can do. MQTT 3.1.1 §3.2, MQTT 5.0 §3.2."""

import pytest

from tests.conformance import wire
from tests.conformance.wire import Will

statement = pytest.mark.statement

CAPABILITIES = {
    "maximum_qos": 2,
    "retain_available": 1,
    "wildcard_subscription_available": 1,
    "subscription_identifiers_available": 1,
    "shared_subscription_available": 1,
}


@statement("MQTT5", "MQTT-3.2.2-9")
@pytest.mark.parametrize("name", CAPABILITIES)
def test_server_that_can_do_all_says_so_by_leaving_it_out_or_1(connect, name):
    told = connect(5).connack.properties.get(name, CAPABILITIES[name])
    assert told == CAPABILITIES[name]
    # 5.0 has no Maximum QoS of 2: a server of QoS 2 leaves the property out.
    assert connect(5).connack.properties.get("maximum_qos") != 2


def test_connack_says_nothing_before_5_0(connect):
    for version in (3, 4):
        assert connect(version).connack.size == 4


@pytest.mark.broker(
    limits={"receive_maximum": 7, "max_packet_bytes": 5_000, "topic_alias_maximum": 3}
)
def test_server_announces_its_limits(connect):
    properties = connect(5).connack.properties
    assert properties["receive_maximum"] == 7
    assert properties["maximum_packet_size"] == 5_000
    assert properties["topic_alias_maximum"] == 3


@statement("MQTT5", "MQTT-3.2.2-9", "MQTT-3.2.2-10", "MQTT-3.8.4-7")
@pytest.mark.broker(protocol={"maximum_qos": 1})
def test_maximum_qos_1_is_announced_and_limits_grants(connect, topic):
    client = connect(5)
    assert client.connack.properties["maximum_qos"] == 1
    assert client.subscribe(topic, qos=2) == (1,)
    client.publish(topic, b"", 1)
    client.expect_message(topic, qos=1)
    client.send_publish(topic, b"", 2)
    client.expect_disconnect(0x9B)


@statement("MQTT5", "MQTT-3.2.2-9", "MQTT-3.2.2-10")
@statement("MQTT311", "MQTT-3.8.4-6")
@pytest.mark.broker(protocol={"maximum_qos": 0})
def test_maximum_qos_0_still_accepts_subscriptions_of_any_qos(connect, version, topic):
    client = connect(version)
    if version == 5:
        assert client.connack.properties["maximum_qos"] == 0
    for qos in (0, 1, 2):
        assert client.subscribe(f"{topic}/{qos}", qos=qos) == (0,)
    client.publish(f"{topic}/2", b"x")
    client.expect_message(f"{topic}/2", qos=0)
    client.send_publish(topic, b"", 1)
    client.expect_disconnect(0x9B)


@statement("MQTT5", "MQTT-3.2.2-12", "MQTT-3.2.2-7")
@pytest.mark.broker(protocol={"maximum_qos": 1})
def test_will_above_maximum_qos_is_refused(dial):
    client = dial(5)
    client.send_connect(will=Will("w", b"", qos=2))
    client.expect_refusal(0x9B, may_just_close=False)


@statement("MQTT5", "MQTT-3.2.2-13", "MQTT-3.2.2-7")
@pytest.mark.broker(protocol={"retain_available": False})
def test_retained_will_is_refused_where_retain_is_not_available(dial):
    client = dial(5)
    client.send_connect(will=Will("w", b"", retain=True))
    client.expect_refusal(0x9A, may_just_close=False)


@pytest.mark.broker(protocol={"retain_available": False})
def test_retained_message_is_refused_where_retain_is_not_available(connect, topic):
    client = connect(5)
    assert client.connack.properties["retain_available"] == 0
    client.send_publish(topic, b"x", retain=True)
    client.expect_disconnect(0x9A)


@statement("MQTT311", "MQTT-3.8.3-2")
@pytest.mark.broker(protocol={"wildcard_subscription_available": False})
def test_wildcards_are_refused_where_not_available(connect, version, topic):
    client = connect(version)
    assert client.connack.properties.get("wildcard_subscription_available", 0) == 0
    codes = client.subscribe(topic, f"{topic}/#", f"{topic}/+")
    assert codes == ((0, 0xA2, 0xA2) if version == 5 else (0, 0x80, 0x80))
    client.publish(f"{topic}/x", b"")
    client.expect_nothing()


@pytest.mark.broker(protocol={"subscription_identifiers_available": False})
def test_subscription_identifiers_are_refused_where_not_available(connect, topic):
    client = connect(5)
    assert client.connack.properties["subscription_identifiers_available"] == 0
    client.send(wire.subscribe(5, 1, [(topic, 0)], {"subscription_identifier": 1}))
    answer = client.receive()
    assert answer.type in ("SUBACK", "DISCONNECT")
    assert (answer.codes or (answer.code,)) == (0xA1,)


@statement("MQTT311", "MQTT-3.9.3-2")
@pytest.mark.broker(protocol={"shared_subscriptions_available": False})
def test_shared_subscriptions_are_refused_where_not_available(connect, version, topic):
    client = connect(version)
    assert client.connack.properties.get("shared_subscription_available", 0) == 0
    assert client.subscribe(f"$share/g/{topic}") == ((0x9E,) if version == 5 else (0x80,))


@statement("MQTT5", "MQTT-3.1.2-28")
@pytest.mark.broker(protocol={"response_information": "answers/"})
def test_response_information_is_sent_only_on_request(connect):
    assert "response_information" not in connect(5).connack.properties
    asked = connect(5, request_response_information=0)
    assert "response_information" not in asked.connack.properties
    asked = connect(5, request_response_information=1)
    assert asked.connack.properties["response_information"].startswith("answers/")


@statement("MQTT5", "MQTT-3.1.2-28")
def test_no_response_information_without_request(connect):
    for asked in ({}, {"request_response_information": 0}):
        assert "response_information" not in connect(5, **asked).connack.properties


@statement("MQTT5", "MQTT-3.1.2-24", "MQTT-3.2.2-19", "MQTT-3.2.2-20")
@pytest.mark.parametrize("limit", range(1, 60, 4))
def test_connack_fits_the_clients_maximum_packet_size(dial, limit):
    client = dial(5, "")
    client.send_connect(properties={"maximum_packet_size": limit})
    answer = client.receive()
    assert answer is None or answer.size <= limit


@statement("MQTT5", "MQTT-3.2.2-19", "MQTT-3.2.2-20", "MQTT-3.2.2-8", "MQTT-3.1.4-2")
@pytest.mark.parametrize("limit", [5, 8, 20])
def test_refusing_connack_fits_the_clients_maximum_packet_size(dial, limit):
    client = dial(5)
    client.send_connect(properties={"maximum_packet_size": limit}, will=Will("a/#/b"))
    answer = client.receive()
    assert answer is None or (answer.size <= limit and answer.code >= 0x80)
    if answer is not None:
        client.expect_close()


@statement("MQTT5", "MQTT-3.2.2-6", "MQTT-3.2.2-7", "MQTT-4.13.2-1", "MQTT-3.1.4-2")
@statement("MQTT311", "MQTT-3.2.2-4", "MQTT-3.2.2-5", "MQTT-3.2.2-6")
def test_refusal_has_no_session_present_even_where_there_is_a_session(connect, dial, version):
    client = connect(version, persistent=True)
    client.disconnect()
    again = dial(version, client.client_id)
    # No return code of 3.1.1 fits a bad will topic: a close without CONNACK [MQTT-3.2.2-6].
    again.send_connect(clean=False, will=Will("with/+/wildcard"))
    again.expect_refusal(*((0x81, 0x82, 0x90) if version == 5 else ()))
    assert connect(version, client.client_id, persistent=True).connack.session_present == (
        version > 3
    )


@pytest.mark.broker(limits={"max_session_expiry_seconds": 100})
@pytest.mark.parametrize(("wanted", "told"), [(0xFFFF_FFFF, 100), (101, 100), (100, 100), (50, 50)])
def test_session_expiry_is_capped_and_the_client_told(connect, wanted, told):
    properties = connect(5, session_expiry_interval=wanted).connack.properties
    assert properties.get("session_expiry_interval", wanted) == told
