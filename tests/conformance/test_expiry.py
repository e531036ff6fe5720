"""Message expiry. MQTT 5.0 §3.3.2.3.3."""

import time

import pytest

statement = pytest.mark.statement


@statement("MQTT5", "MQTT-3.3.2-6")
def test_expiry_without_waiting_is_passed_on_as_it_came(connect, topic):
    client = connect(5)
    client.subscribe(topic)
    for interval in (1, 60, 0xFFFF_FFFF):
        client.publish(topic, b"", message_expiry_interval=interval)
        left = client.expect_message(topic).properties["message_expiry_interval"]
        assert interval - 1 <= left <= interval


@statement("MQTT5", "MQTT-3.3.2-6")
def test_expiry_is_counted_down_while_the_message_waits(connect, topic, elapse):
    client = connect(5, persistent=True)
    client.subscribe(topic, qos=1)
    client.disconnect()
    publisher, begin = connect(5), time.monotonic()
    publisher.publish(topic, b"", 1, message_expiry_interval=60)
    elapse(2.1)
    again = connect(5, client.client_id, persistent=True)
    left = again.expect_message(topic).properties["message_expiry_interval"]
    assert 59 - (time.monotonic() - begin) <= left <= 58


@statement("MQTT5", "MQTT-3.3.2-6", "MQTT-3.3.2-5")
def test_retained_message_counts_down_and_goes(connect, topic, elapse):
    publisher, begin = connect(5), time.monotonic()
    publisher.publish(topic, b"short", retain=True, message_expiry_interval=3)
    publisher.publish(f"{topic}/long", b"long", 1, retain=True, message_expiry_interval=60)
    elapse(1.1)
    client = connect(5)
    client.subscribe(topic)
    left = client.expect_message(topic, b"short").properties["message_expiry_interval"]
    assert left <= 2
    elapse(2.5)
    late = connect(5)
    late.subscribe(f"{topic}/#")
    message = late.expect_message(f"{topic}/long")
    left = message.properties["message_expiry_interval"]
    assert 59 - (time.monotonic() - begin) <= left <= 57
    late.expect_nothing()
    connect(5).publish(f"{topic}/long", b"", 1, retain=True)


@statement("MQTT5", "MQTT-3.3.2-5")
def test_expired_message_is_not_delivered(connect, topic, elapse):
    client = connect(5, persistent=True)
    client.subscribe(topic, qos=2)
    client.disconnect()
    publisher = connect(5)
    publisher.publish(topic, b"short", 1, message_expiry_interval=1)
    publisher.publish(topic, b"short too", 2, message_expiry_interval=1)
    publisher.publish(topic, b"long", 1)
    elapse(1.8)
    again = connect(5, client.client_id, persistent=True)
    again.expect_message(topic, b"long", message_expiry_interval=None)
    again.expect_nothing()


@statement("MQTT5", "MQTT-3.3.2-5")
def test_expired_message_does_not_leave_a_full_window(connect, topic, elapse):
    client, publisher = connect(5, receive_maximum=1), connect(5)
    client.subscribe(topic, qos=1)
    publisher.publish(topic, b"in flight", 1)
    message = client.expect("PUBLISH", payload=b"in flight")
    publisher.publish(topic, b"short", 1, message_expiry_interval=1)
    publisher.publish(topic, b"long", 1, message_expiry_interval=60)
    elapse(1.8)
    client.ack(message)
    client.expect_message(topic, b"long")
    client.expect_nothing()


@statement("MQTT5", "MQTT-3.3.2-5")
def test_expiry_0_is_expired_for_those_who_are_away(connect, topic, elapse):
    client = connect(5, persistent=True)
    client.subscribe(topic, qos=1)
    client.disconnect()
    connect(5).publish(topic, b"", 1, message_expiry_interval=0)
    elapse(1.1)
    connect(5, client.client_id, persistent=True).expect_nothing()


@statement("MQTT5", "MQTT-4.3.3-13")
def test_received_qos_2_exchange_is_finished_although_the_message_expired(connect, topic, elapse):
    publisher = connect(5)
    packet_id = publisher.send_publish(topic, b"x", 2, message_expiry_interval=1)
    publisher.expect("PUBREC", packet_id=packet_id)
    elapse(1.8)
    publisher.send_ack("PUBREL", packet_id)
    publisher.expect("PUBCOMP", packet_id=packet_id, code=0)


@statement("MQTT5", "MQTT-4.3.3-7")
def test_sent_qos_2_exchange_is_finished_although_the_message_expired(connect, topic, elapse):
    client = connect(5)
    client.subscribe(topic, qos=2)
    connect(5).publish(topic, b"x", 2, message_expiry_interval=1)
    message = client.expect("PUBLISH", payload=b"x", qos=2)
    elapse(1.8)
    client.ack(message)
    client.expect_nothing()


@statement("MQTT5", "MQTT-4.3.3-7")
def test_started_qos_2_delivery_is_resent_although_expired(connect, topic, elapse):
    client = connect(5, persistent=True)
    client.subscribe(topic, qos=2)
    connect(5).publish(topic, b"x", 2, message_expiry_interval=1)
    message = client.expect("PUBLISH", payload=b"x")
    client.cut()
    elapse(1.8)
    again = connect(5, client.client_id, persistent=True)
    again.expect_message(topic, b"x", dup=True, packet_id=message.packet_id)
    again.expect_nothing()


@statement("MQTT5", "MQTT-3.3.2-5")
def test_expiry_holds_for_older_subscribers_too(connect, topic, elapse):
    client = connect(4, persistent=True)
    client.subscribe(topic, qos=1)
    client.disconnect()
    connect(5).publish(topic, b"short", 1, message_expiry_interval=1)
    elapse(1.8)
    connect(4, client.client_id, persistent=True).expect_nothing()
