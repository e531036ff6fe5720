"""Sessions: begun, kept, taken up again, expired. MQTT 3.1.1 §3.1.2.4, MQTT 5.0 §3.1.2.11."""

import pytest

from tests.conformance.wire import Will

statement = pytest.mark.statement


@statement("MQTT311", "MQTT-3.2.2-1", "MQTT-3.2.2-2", "MQTT-3.2.2-3", "MQTT-3.1.4-3")
@statement("MQTT311", "MQTT-3.1.2-4", "MQTT-3.1.2-6")
@statement("MQTT5", "MQTT-3.2.2-2", "MQTT-3.2.2-3", "MQTT-3.1.4-4", "MQTT-3.1.2-4")
@statement("MQTT5", "MQTT-3.1.2-5", "MQTT-3.1.2-6", "MQTT-3.1.2-23")
@pytest.mark.versions(4, 5)
def test_session_present_tells_whether_there_was_a_session(connect, version, client_id):
    steps = [(False, False), (False, True), (True, False), (False, version == 5), (False, True)]
    for clean, present in steps:
        kept = {"session_expiry_interval": 60} if version == 5 else {}
        client = connect(version, client_id, clean=clean, **kept)
        assert client.connack.session_present == present
        client.disconnect()


@statement("MQTT311", "MQTT-3.1.2-4", "MQTT-3.1.2-5", "MQTT-4.1.0-1", "MQTT-3.1.3-2")
@statement("MQTT311", "MQTT-4.5.0-1")
@statement("MQTT5", "MQTT-3.1.2-5", "MQTT-3.1.2-23", "MQTT-4.1.0-1", "MQTT-3.1.3-2")
@statement("MQTT5", "MQTT-4.5.0-1")
@pytest.mark.parametrize("end", ["disconnect", "cut", "close"])
def test_messages_for_an_absent_session_are_kept(connect, version, topic, end):
    client = connect(version, persistent=True)
    client.subscribe(topic, qos=2)
    getattr(client, end)()
    publisher = connect(version)
    for qos in (1, 2):
        publisher.publish(topic, b"%d" % qos, qos)
    again = connect(version, client.client_id, persistent=True)
    again.expect_message(topic, b"1", qos=1, dup=False, retain=False)
    again.expect_message(topic, b"2", qos=2, dup=False, retain=False)
    publisher.publish(topic, b"and now", 1)
    again.expect_message(topic, b"and now")


@statement("MQTT311", "MQTT-3.1.2-6", "MQTT-3.1.4-3")
@statement("MQTT5", "MQTT-3.1.2-4", "MQTT-3.1.4-4")
def test_clean_start_throws_the_old_session_away(connect, version, topic):
    client = connect(version, persistent=True)
    client.subscribe(topic, qos=1)
    client.disconnect()
    connect(version).publish(topic, b"lost", 1)
    anew = connect(version, client.client_id, clean=True)
    anew.expect_nothing()
    connect(version).publish(topic, b"unheard", 1)
    anew.expect_nothing(after=connect(version))
    anew.disconnect()
    later = connect(version, client.client_id, persistent=True)
    assert not later.connack.session_present
    later.expect_nothing()


@statement("MQTT311", "MQTT-3.1.2-6")
@statement("MQTT5", "MQTT-4.1.0-2")
def test_clean_session_ends_with_its_connection(connect, version, topic):
    client = connect(version, clean=True)
    client.subscribe(topic, qos=1)
    client.disconnect()
    connect(version).publish(topic, b"unheard", 1)
    again = connect(version, client.client_id, clean=False)
    assert not again.connack.session_present
    again.expect_nothing(after=connect(version))


@statement("MQTT311", "MQTT-3.1.2-6", "MQTT-3.1.4-3", "MQTT-3.1.4-2")
@statement("MQTT5", "MQTT-3.1.2-4", "MQTT-3.1.4-4", "MQTT-3.1.4-3")
def test_take_over_with_clean_start_drops_the_subscriptions(connect, version, topic):
    client = connect(version, persistent=True)
    client.subscribe(topic, qos=1)
    anew = connect(version, client.client_id, clean=True)
    assert not anew.connack.session_present
    connect(version).publish(topic, b"", 1)
    anew.expect_nothing(after=connect(version))


@statement("MQTT311", "MQTT-3.1.2-4", "MQTT-3.1.4-2")
@statement("MQTT5", "MQTT-3.1.2-5", "MQTT-3.1.4-3")
def test_take_over_goes_on_with_the_session(connect, version, topic):
    client = connect(version, persistent=True)
    client.subscribe(topic, qos=1)
    again = connect(version, client.client_id, persistent=True)
    assert again.connack.session_present == (version > 3)
    connect(version).publish(topic, b"x", 1)
    again.expect_message(topic, b"x")


@statement("MQTT311", "MQTT-3.1.3-2")
@statement("MQTT5", "MQTT-3.1.3-2")
def test_session_belongs_to_the_client_id_across_versions(connect, topic, client_id):
    connect(4, client_id, persistent=True).subscribe(topic, qos=1)
    new = connect(5, client_id, persistent=True)
    assert new.connack.session_present
    new.disconnect()
    connect(5).publish(topic, b"x", 1, content_type="text")
    old = connect(4, client_id, persistent=True)
    assert old.connack.session_present
    old.expect_message(topic, b"x")


@statement("MQTT5", "MQTT-4.1.0-2", "MQTT-3.1.2-23")
def test_session_goes_when_its_expiry_has_passed(connect, topic, elapse):
    client = connect(5, session_expiry_interval=1)
    client.subscribe(topic, qos=1)
    client.disconnect()
    elapse(2)
    assert connect(5).publish(topic, b"", 1) == 0x10
    assert not connect(5, client.client_id, persistent=True).connack.session_present


@statement("MQTT5", "MQTT-4.1.0-1", "MQTT-4.1.0-2")
def test_session_does_not_expire_while_connected(connect, topic, elapse):
    client = connect(5, session_expiry_interval=1)
    client.subscribe(topic, qos=1)
    elapse(2)
    client.publish(topic, b"x", 1)
    client.expect_message(topic)
    client.cut()
    assert connect(5, client.client_id, persistent=True).connack.session_present


@statement("MQTT5", "MQTT-4.1.0-2")
def test_session_expiry_begins_anew_at_each_end(connect, elapse):
    client = connect(5, session_expiry_interval=2)
    for _ in range(3):
        client.disconnect()
        elapse(1)
        client = connect(5, client.client_id, clean=False, session_expiry_interval=2)
        assert client.connack.session_present


@statement("MQTT5", "MQTT-4.1.0-2")
def test_clean_start_0_without_expiry_ends_the_session_with_the_connection(connect):
    client = connect(5, clean=False)
    client.disconnect()
    assert not connect(5, client.client_id, persistent=True).connack.session_present


@statement("MQTT5", "MQTT-3.1.2-23", "MQTT-4.1.0-2")
def test_clean_start_1_with_expiry_is_kept_after_the_connection(connect, topic):
    client = connect(5, clean=True, session_expiry_interval=60)
    client.subscribe(topic, qos=1)
    client.disconnect()
    connect(5).publish(topic, b"kept", 1)
    connect(5, client.client_id, persistent=True).expect_message(topic, b"kept")


@statement("MQTT5", "MQTT-3.1.2-23")
def test_disconnect_can_change_the_expiry(connect, elapse):
    shorter = connect(5, session_expiry_interval=300)
    shorter.disconnect(0, session_expiry_interval=0)
    assert not connect(5, shorter.client_id, persistent=True).connack.session_present
    longer = connect(5, session_expiry_interval=1)
    longer.disconnect(0, session_expiry_interval=300)
    elapse(2)
    assert connect(5, longer.client_id, persistent=True).connack.session_present


@statement("MQTT5", "MQTT-4.13.1-1")
def test_disconnect_cannot_raise_the_expiry_from_0(connect, topic):
    watcher = connect(5)
    watcher.subscribe(topic)
    client = connect(5, will=Will(topic, b"protocol error"))
    client.send(b"\xe0\x07\x00\x05\x11\x00\x00\x00\x05")
    client.expect_disconnect(0x82)
    watcher.expect_message(topic, b"protocol error")
    assert not connect(5, client.client_id, persistent=True).connack.session_present


@statement("MQTT311", "MQTT-3.1.2-4", "MQTT-3.1.2-5", "MQTT-4.1.0-1")
@statement("MQTT5", "MQTT-3.1.2-5", "MQTT-4.5.0-1")
def test_subscriptions_of_a_session_keep_their_options(connect, topic):
    client = connect(5, persistent=True)
    client.subscribe(topic, qos=2, options=0x08)
    client.subscribe(f"{topic}/own", qos=1, options=0x04)
    client.disconnect()
    again = connect(5, client.client_id, persistent=True)
    connect(5).publish(topic, b"x", 2, retain=True)
    again.expect_message(topic, b"x", qos=2, retain=True)
    again.publish(f"{topic}/own", b"x", 1)
    again.expect_nothing()
    again.publish(topic, b"", retain=True)


@pytest.mark.parametrize("queued", [True, False])
def test_qos_0_for_absent_sessions_is_kept_as_configured(connect_to, version, topic, queued):
    broker = connect_to(limits={"queue_qos0": queued})
    client = broker(version, persistent=True)
    client.subscribe(topic, qos=1)
    client.disconnect()
    publisher = broker(version)
    publisher.publish(topic, b"zero", 0)
    publisher.publish(topic, b"one", 1)
    again = broker(version, client.client_id, persistent=True)
    if queued:
        again.expect_message(topic, b"zero", qos=0)
    again.expect_message(topic, b"one", qos=1)
    again.expect_nothing()
