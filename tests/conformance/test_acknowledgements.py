"""QoS 1 and QoS 2 exchanges. MQTT 3.1.1 §3.4-3.7 and §4.3, MQTT 5.0 §3.4-3.7 and §4.3."""

import pytest

from tests.conformance import wire

statement = pytest.mark.statement
MALFORMED, PROTOCOL_ERROR = 0x81, 0x82
PACKET_ID_NOT_FOUND = 0x92


# The server as receiver


@statement("MQTT311", "MQTT-4.3.2-2", "MQTT-2.3.1-6", "MQTT-3.3.4-1")
@statement("MQTT5", "MQTT-4.3.2-4", "MQTT-2.2.1-5", "MQTT-3.3.4-1", "MQTT-3.4.2-1")
@pytest.mark.parametrize("packet_id", [1, 2, 255, 256, 65_535])
def test_puback_has_the_id_of_its_publish(connect, version, topic, packet_id):
    client = connect(version)
    client.send_publish(topic, b"", 1, packet_id=packet_id)
    client.expect("PUBACK", packet_id=packet_id)


@statement("MQTT311", "MQTT-4.3.2-2")
@statement("MQTT5", "MQTT-4.3.2-5")
@pytest.mark.parametrize("dup", [False, True], ids=["dup-0", "dup-1"])
def test_id_means_a_new_message_after_puback(connect, version, topic, dup):
    client = connect(version)
    client.subscribe(topic, qos=0)
    client.publish(topic, b"first", 1, packet_id=9)
    client.publish(topic, b"second", 1, packet_id=9, dup=dup)
    assert [message.payload for message in client.messages(2)] == [b"first", b"second"]


@statement("MQTT311", "MQTT-4.3.3-2", "MQTT-2.3.1-6", "MQTT-3.3.4-1")
@statement("MQTT5", "MQTT-4.3.3-8", "MQTT-4.3.3-11", "MQTT-2.2.1-5", "MQTT-3.5.2-1")
@statement("MQTT5", "MQTT-3.7.2-1", "MQTT-3.3.4-1")
@pytest.mark.parametrize("packet_id", [1, 255, 256, 65_535])
def test_pubrec_and_pubcomp_have_the_id_of_their_publish(connect, version, topic, packet_id):
    client = connect(version)
    client.send_publish(topic, b"", 2, packet_id=packet_id)
    client.expect("PUBREC", packet_id=packet_id)
    client.send_ack("PUBREL", packet_id)
    client.expect("PUBCOMP", packet_id=packet_id, code=0)


@statement("MQTT311", "MQTT-4.3.3-2")
@statement("MQTT5", "MQTT-4.3.3-10")
def test_qos_2_message_sent_again_is_delivered_once(connect, version, topic):
    client, watcher = connect(version), connect(version)
    watcher.subscribe(topic, qos=2)
    client.send_publish(topic, b"first", 2, packet_id=5)
    client.expect("PUBREC", packet_id=5)
    for dup in (True, False, True):
        client.send_publish(topic, b"first", 2, packet_id=5, dup=dup)
        answer = client.receive()
        # 5.0 may tell a sender that did not set DUP that its id is in use.
        assert answer.type == "PUBREC"
        assert answer.packet_id == 5
        assert answer.code in (0, 0x10, 0x91)
    client.send_ack("PUBREL", 5)
    client.expect("PUBCOMP", packet_id=5)
    watcher.expect_message(topic, b"first")
    watcher.expect_nothing(after=client)


@statement("MQTT311", "MQTT-4.3.3-2")
@statement("MQTT5", "MQTT-4.3.3-12")
@pytest.mark.parametrize("dup", [False, True], ids=["dup-0", "dup-1"])
def test_id_means_a_new_message_after_pubcomp(connect, version, topic, dup):
    client = connect(version)
    client.subscribe(topic)
    client.publish(topic, b"first", 2, packet_id=5)
    client.publish(topic, b"second", 2, packet_id=5, dup=dup)
    assert [message.payload for message in client.messages(2)] == [b"first", b"second"]


@statement("MQTT311", "MQTT-4.3.3-2", "MQTT-4.1.0-1")
@statement("MQTT5", "MQTT-4.3.3-10", "MQTT-4.3.3-11")
def test_received_qos_2_ids_survive_a_reconnect(connect, version, topic):
    watcher = connect(version)
    watcher.subscribe(topic, qos=2)
    client = connect(version, persistent=True)
    client.send_publish(topic, b"once", 2, packet_id=5)
    client.expect("PUBREC", packet_id=5)
    client.cut()
    again = connect(version, client.client_id, persistent=True)
    again.send_publish(topic, b"once", 2, packet_id=5, dup=True)
    again.expect("PUBREC", packet_id=5)
    again.send_ack("PUBREL", 5)
    again.expect("PUBCOMP", packet_id=5)
    watcher.expect_message(topic, b"once")
    watcher.expect_nothing(after=again)


@statement("MQTT5", "MQTT-4.3.3-11", "MQTT-3.7.2-1")
@statement("MQTT311", "MQTT-4.3.3-2")
def test_pubrel_of_an_unknown_id_gets_pubcomp(connect, version):
    client = connect(version)
    client.send_ack("PUBREL", 77)
    client.expect("PUBCOMP", packet_id=77, code=PACKET_ID_NOT_FOUND if version == 5 else 0)
    client.expect_nothing()


@statement("MQTT311", "MQTT-4.3.3-2")
def test_pubrel_can_be_sent_again_after_pubcomp(connect, version, topic):
    client = connect(version)
    client.publish(topic, b"", 2, packet_id=5)
    client.send_ack("PUBREL", 5)
    client.expect("PUBCOMP", packet_id=5)


@statement("MQTT5", "MQTT-4.3.3-9")
def test_id_is_free_after_a_refusing_pubrec(connect, topic):
    client = connect(5)
    client.subscribe(topic)
    client.send_publish("$SYS/broker/forbidden", b"", 2, packet_id=5)
    answer = client.receive()
    if answer.type == "DISCONNECT" or answer.code < 0x80:
        pytest.skip("this server does not refuse in PUBREC")
    client.publish(topic, b"new", 2, packet_id=5)
    client.expect_message(topic, b"new")


@statement("MQTT5", "MQTT-2.2.1-5")
def test_qos_2_id_in_use_cannot_be_used_for_qos_1(connect, topic):
    client, watcher = connect(5), connect(5)
    watcher.subscribe(topic, qos=2)
    client.send_publish(topic, b"two", 2, packet_id=5)
    client.expect("PUBREC", packet_id=5)
    client.send_publish(topic, b"one", 1, packet_id=5)
    answer = client.receive()
    # Either the id is reported to be in use or the two exchanges are kept apart.
    assert answer is None or answer.type in ("PUBACK", "DISCONNECT")
    refused = answer is None or answer.code >= 0x80
    assert answer is None or answer.code in (0, 0x10, 0x91, 0x82)
    messages = {watcher.expect_message(topic).payload for _ in range(1 if refused else 2)}
    assert messages == ({b"two"} if refused else {b"one", b"two"}) or not refused


# The server as sender


@statement("MQTT311", "MQTT-2.3.1-4", "MQTT-2.3.1-1", "MQTT-4.3.2-1", "MQTT-4.3.3-1")
@statement("MQTT5", "MQTT-2.2.1-4", "MQTT-4.3.2-1", "MQTT-4.3.2-2", "MQTT-4.3.3-1")
@statement("MQTT5", "MQTT-4.3.3-2")
@pytest.mark.parametrize("qos", [1, 2])
def test_messages_in_flight_have_different_ids(connect, version, topic, qos):
    client, publisher = connect(version), connect(version)
    client.subscribe(topic, qos=qos)
    for _ in range(15):
        publisher.publish(topic, b"", qos)
    messages = [client.expect("PUBLISH", qos=qos, dup=False) for _ in range(15)]
    assert len({message.packet_id for message in messages} - {0}) == 15
    for message in messages:
        client.ack(message)


@statement("MQTT311", "MQTT-4.3.1-1", "MQTT-2.3.1-5")
@statement("MQTT5", "MQTT-4.3.1-1", "MQTT-2.2.1-2")
def test_qos_0_is_sent_once_without_id(connect, version, topic):
    client = connect(version, persistent=True)
    client.subscribe(topic)
    client.publish(topic, b"x")
    client.expect("PUBLISH", qos=0, dup=False, packet_id=0)
    client.cut()
    connect(version, client.client_id, persistent=True).expect_nothing()


@statement("MQTT311", "MQTT-4.3.2-1", "MQTT-4.4.0-1", "MQTT-3.3.1-1")
@statement("MQTT5", "MQTT-4.3.2-3", "MQTT-4.4.0-1", "MQTT-3.3.1-1")
def test_qos_1_stays_open_until_puback(connect, version, topic):
    client = connect(version, persistent=True)
    client.subscribe(topic, qos=1)
    connect(version).publish(topic, b"x", 1)
    message = client.expect("PUBLISH", payload=b"x", dup=False)
    for _ in range(2):
        client.cut()
        client = connect(version, client.client_id, persistent=True)
        client.expect("PUBLISH", payload=b"x", dup=True, packet_id=message.packet_id)
    client.ack(message)
    client.ping()
    client.cut()
    connect(version, client.client_id, persistent=True).expect_nothing()


@statement("MQTT5", "MQTT-4.4.0-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_nothing_is_resent_while_the_connection_lasts(connect, version, topic, elapse, qos):
    client = connect(version)
    client.subscribe(topic, qos=qos)
    connect(version).publish(topic, b"x", qos)
    message = client.expect("PUBLISH", payload=b"x")
    elapse(1)
    client.expect_nothing()
    client.ack(message)


@statement("MQTT311", "MQTT-4.3.3-1", "MQTT-4.4.0-1", "MQTT-2.3.1-6")
@statement("MQTT5", "MQTT-4.3.3-3", "MQTT-4.3.3-4", "MQTT-4.3.3-5", "MQTT-4.3.3-6")
@statement("MQTT5", "MQTT-4.4.0-1", "MQTT-3.6.2-1")
def test_qos_2_is_open_in_both_halves(connect, version, topic):
    client = connect(version, persistent=True)
    client.subscribe(topic, qos=2)
    connect(version).publish(topic, b"x", 2)
    packet_id = client.expect("PUBLISH", payload=b"x", dup=False).packet_id
    client.cut()

    client = connect(version, client.client_id, persistent=True)
    client.expect("PUBLISH", payload=b"x", dup=True, packet_id=packet_id)
    client.send_ack("PUBREC", packet_id)
    client.expect("PUBREL", packet_id=packet_id, code=0)
    for _ in range(2):
        client.cut()
        client = connect(version, client.client_id, persistent=True)
        client.expect("PUBREL", packet_id=packet_id)
        client.expect_nothing()
    client.send_ack("PUBCOMP", packet_id)
    client.ping()
    client.cut()
    connect(version, client.client_id, persistent=True).expect_nothing()


@statement("MQTT5", "MQTT-4.3.3-4", "MQTT-4.3.3-6")
@statement("MQTT311", "MQTT-4.3.3-1")
def test_pubrec_again_gets_pubrel_again_and_no_publish(connect, version, topic):
    client = connect(version)
    client.subscribe(topic, qos=2)
    connect(version).publish(topic, b"x", 2)
    packet_id = client.expect("PUBLISH").packet_id
    for _ in range(2):
        client.send_ack("PUBREC", packet_id)
        client.expect("PUBREL", packet_id=packet_id)
    client.send_ack("PUBCOMP", packet_id)
    client.expect_nothing()


@statement("MQTT5", "MQTT-4.4.0-2")
@pytest.mark.parametrize("code", [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
@pytest.mark.parametrize(("qos", "kind"), [(1, "PUBACK"), (2, "PUBREC")])
def test_error_acknowledgement_settles_the_message(connect, topic, qos, kind, code):
    client = connect(5, persistent=True, receive_maximum=1)
    client.subscribe(topic, qos=qos)
    publisher = connect(5)
    publisher.publish(topic, b"refused", qos)
    publisher.publish(topic, b"next", qos)
    client.send_ack(kind, client.expect("PUBLISH", payload=b"refused").packet_id, code)
    client.expect_message(topic, b"next")
    client.ping()
    client.cut()
    connect(5, client.client_id, persistent=True).expect_nothing()


@statement("MQTT5", "MQTT-3.6.2-1", "MQTT-4.3.3-4")
def test_pubrec_of_an_unknown_id_gets_pubrel_that_says_so(connect):
    client = connect(5)
    client.send_ack("PUBREC", 4_321)
    client.expect("PUBREL", packet_id=4_321, code=PACKET_ID_NOT_FOUND)
    client.expect_nothing()


@statement("MQTT311", "MQTT-4.8.0-1", "MQTT-4.3.3-1")
@statement("MQTT5", "MQTT-4.3.3-3", "MQTT-4.3.2-3")
@pytest.mark.parametrize("kind", ["PUBACK", "PUBCOMP"])
def test_acknowledgement_nobody_asked_for_frees_nothing(connect, version, topic, kind):
    client = connect(version, persistent=True)
    client.subscribe(topic, qos=1)
    connect(version).publish(topic, b"x", 1)
    message = client.expect("PUBLISH", payload=b"x")
    client.send_ack(kind, message.packet_id + 1)
    client.send(wire.PINGREQ)
    answer = client.receive()
    assert answer is None or answer.type in ("PINGRESP", "DISCONNECT")
    again = connect(version, client.client_id, persistent=True)
    again.expect_message(topic, b"x", dup=True, packet_id=message.packet_id)


@statement("MQTT311", "MQTT-4.3.3-1")
@statement("MQTT5", "MQTT-4.3.3-3")
@pytest.mark.parametrize(("qos", "kind"), [(2, "PUBACK"), (1, "PUBREC"), (2, "PUBCOMP")])
def test_acknowledgement_of_the_wrong_kind_does_not_settle(connect, version, topic, qos, kind):
    client = connect(version, persistent=True)
    client.subscribe(topic, qos=qos)
    connect(version).publish(topic, b"x", qos)
    message = client.expect("PUBLISH", payload=b"x")
    client.send_ack(kind, message.packet_id)
    client.send(wire.PINGREQ)
    while (answer := client.receive()) is not None and answer.type == "PUBREL":
        assert answer.code in (0, PACKET_ID_NOT_FOUND)
    assert answer is None or answer.type in ("PINGRESP", "DISCONNECT")
    again = connect(version, client.client_id, persistent=True)
    again.expect_message(topic, b"x", dup=True, packet_id=message.packet_id)


@statement("MQTT5", "MQTT-3.4.2-1", "MQTT-3.5.2-1", "MQTT-3.6.2-1", "MQTT-3.7.2-1")
@pytest.mark.parametrize("kind", ["PUBACK", "PUBREC", "PUBREL", "PUBCOMP"])
@pytest.mark.parametrize("code", [0x01, 0x7F, 0x9F, 0xFF])
def test_unknown_reason_codes_are_refused(connect, kind, code):
    client = connect(5)
    client.send_ack(kind, 1, code)
    client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)


@statement("MQTT311", "MQTT-2.2.2-1", "MQTT-2.2.2-2", "MQTT-3.6.1-1")
@statement("MQTT5", "MQTT-2.1.3-1", "MQTT-3.6.1-1")
@pytest.mark.versions(4, 5)
@pytest.mark.parametrize("first", [0x41, 0x52, 0x60, 0x64, 0x6A, 0x63, 0x78], ids=hex)
def test_server_closes_at_wrong_flags_of_acknowledgements(connect, version, first):
    client = connect(version)
    client.send(wire.frame(first, b"\x00\x01"))
    client.expect_disconnect(MALFORMED)


@statement("MQTT5", "MQTT-4.13.1-1")
@statement("MQTT311", "MQTT-4.8.0-1")
@pytest.mark.parametrize("first", [0x40, 0x50, 0x62, 0x70], ids=hex)
@pytest.mark.parametrize("body", [b"", b"\x01", b"\x00\x00"], ids=["empty", "half", "id-0"])
def test_server_closes_at_acknowledgements_without_id(connect, version, first, body):
    client = connect(version)
    client.send(wire.frame(first, body))
    client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)


@statement("MQTT5", "MQTT-4.13.1-1", "MQTT-1.5.7-1")
@pytest.mark.parametrize(
    "section",
    [b"\x1f\x00\x01\xff", b"\x1f\x00\x00\x1f\x00\x00", b"\x01\x00", b"\x26\x00\x01a\x00\x01\xff"],
    ids=["utf8", "twice", "not-for-puback", "user-property"],
)
def test_server_closes_at_bad_properties_of_acknowledgements(connect, section):
    client = connect(5)
    client.send(wire.frame(0x40, b"\x00\x01\x00" + wire.properties_section(section)))
    client.expect_disconnect(MALFORMED, PROTOCOL_ERROR)


@statement("MQTT5", "MQTT-2.2.1-5")
@pytest.mark.parametrize("qos", [1, 2])
def test_acknowledgements_may_carry_reasons_and_properties(connect, topic, qos):
    client = connect(5)
    client.subscribe(topic, qos=qos)
    client.publish(topic, b"x", qos)
    packet_id = client.expect("PUBLISH").packet_id
    notes = {"reason_string": "fine", "user_property": [("a", "1"), ("a", "2")]}
    if qos == 1:
        client.send_ack("PUBACK", packet_id, 0x10, **notes)
    else:
        client.send_ack("PUBREC", packet_id, 0x10, **notes)
        client.expect("PUBREL", packet_id=packet_id)
        client.send_ack("PUBCOMP", packet_id, 0, **notes)
    client.expect_nothing()
