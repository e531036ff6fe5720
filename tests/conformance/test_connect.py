"""CONNECT. MQTT 3.1.1 §3.1, MQTT 5.0 §3.1."""

import pytest

from tests.conformance import wire
from tests.conformance.wire import Will

statement = pytest.mark.statement
MALFORMED, PROTOCOL_ERROR = 0x81, 0x82

# Each packet that is not CONNECT, complete and well-formed, at 3.1.1.
OTHER_PACKETS = {
    "type-0": b"\x00\x00",
    "CONNACK": b"\x20\x02\x00\x00",
    "PUBLISH": wire.publish(4, "before/connect", b"x"),
    "PUBACK": b"\x40\x02\x00\x01",
    "PUBREC": b"\x50\x02\x00\x01",
    "PUBREL": b"\x62\x02\x00\x01",
    "PUBCOMP": b"\x70\x02\x00\x01",
    "SUBSCRIBE": wire.subscribe(4, 1, [("#", 0)]),
    "SUBACK": b"\x90\x03\x00\x01\x00",
    "UNSUBSCRIBE": wire.unsubscribe(4, 1, ["#"]),
    "UNSUBACK": b"\xb0\x02\x00\x01",
    "PINGREQ": b"\xc0\x00",
    "PINGRESP": b"\xd0\x00",
    "DISCONNECT": b"\xe0\x00",
    "AUTH": b"\xf0\x00",
}


@statement("MQTT311", "MQTT-3.1.0-1", "MQTT-3.2.0-1", "MQTT-4.8.0-1")
@statement("MQTT5", "MQTT-3.1.0-1", "MQTT-3.2.0-1", "MQTT-3.14.0-1")
@pytest.mark.parametrize("kind", OTHER_PACKETS)
def test_server_closes_when_first_packet_is_not_connect(dial, kind):
    client = dial()
    client.send(OTHER_PACKETS[kind])
    client.expect_close()


@statement("MQTT5", "MQTT-3.1.0-1", "MQTT-3.14.0-1")
def test_packet_before_connect_is_not_acted_on(dial, connect, topic):
    watcher = connect()
    watcher.subscribe(topic)
    early = dial()
    early.send(wire.publish(5, topic, b"early") + wire.connect(5, early.client_id))
    early.expect_close()
    watcher.expect_nothing(after=connect())


@statement("MQTT311", "MQTT-3.1.0-2", "MQTT-4.8.0-1")
@statement("MQTT5", "MQTT-3.1.0-2", "MQTT-3.2.0-2", "MQTT-4.13.1-1")
@pytest.mark.parametrize("other", [False, True], ids=["same-id", "other-id"])
def test_server_disconnects_at_second_connect(connect, version, other):
    client = connect(version)
    client.send_connect(client.client_id + "2" if other else client.client_id)
    client.expect_disconnect(PROTOCOL_ERROR)


@statement("MQTT311", "MQTT-3.1.0-2", "MQTT-3.1.2-8")
@statement("MQTT5", "MQTT-3.1.0-2", "MQTT-3.1.2-8")
def test_second_connect_publishes_will(connect, version, topic):
    watcher = connect(version)
    watcher.subscribe(topic)
    client = connect(version, will=Will(topic, b"gone"))
    client.send_connect()
    client.expect_disconnect(PROTOCOL_ERROR)
    watcher.expect_message(topic, b"gone")


@statement("MQTT311", "MQTT-3.1.2-1")
@statement("MQTT5", "MQTT-3.1.2-1", "MQTT-3.2.2-8")
@pytest.mark.versions(4, 5)
@pytest.mark.parametrize("name", [b"mqtt", b"MQTX", b"", b"MQT", b"MQTTT", b"x" * 65_535])
def test_server_refuses_other_protocol_name(dial, version, name):
    client = dial(version)
    client.send_connect(protocol_name=name)
    client.expect_refusal(0x84 if version == 5 else 1)


@statement("MQTT311", "MQTT-3.1.2-1")
@statement("MQTT5", "MQTT-3.1.2-1")
@pytest.mark.parametrize(("name", "level"), [("MQIsdp", 4), ("MQIsdp", 5), ("MQTT", 3)])
def test_server_refuses_name_of_another_level(dial, name, level):
    client = dial(5 if level == 5 else 4)
    client.send_connect(protocol_name=name, level=level)
    answer = client.raw()
    assert not answer or answer[2:4] in (b"\x00\x01", b"\x00\x84")


@statement("MQTT311", "MQTT-3.1.2-2", "MQTT-3.2.2-4", "MQTT-3.2.2-5")
@statement("MQTT5", "MQTT-3.1.2-2", "MQTT-3.2.2-6", "MQTT-3.2.2-7", "MQTT-3.2.2-8")
@pytest.mark.parametrize("level", [0, 1, 2, 6, 7, 127, 255])
def test_server_refuses_unsupported_protocol_level(dial, level):
    client = dial(4)
    client.send_connect(level=level)
    answer = client.raw()
    assert answer[:1] == b"\x20", "3.1.1 wants a CONNACK"
    assert answer == b"\x20\x02\x00\x01" or (level > 5 and answer[2:4] == b"\x00\x84")


def test_mqtt_3_1_client_is_served(connect, topic):
    client = connect(3)
    client.subscribe(topic, qos=2)
    client.publish(topic, b"old", qos=2)
    client.expect_message(topic, b"old", qos=2)
    client.disconnect()


@statement("MQTT311", "MQTT-3.1.2-3", "MQTT-3.1.4-1")
@statement("MQTT5", "MQTT-3.1.2-3", "MQTT-3.1.4-1")
@pytest.mark.versions(4, 5)
def test_server_refuses_reserved_connect_flag(dial, version):
    client = dial(version)
    client.send_connect(flags=0x03)
    refused_as_malformed(client)


def refused_as_malformed(client):
    """3.1.1 sends nothing before it closes; 5.0 may send a CONNACK that says why."""
    if client.version < 5:
        client.expect_close()
    else:
        client.expect_refusal(MALFORMED, PROTOCOL_ERROR)


@statement("MQTT311", "MQTT-3.1.2-11", "MQTT-3.1.2-13", "MQTT-3.1.2-15", "MQTT-3.1.4-1")
@statement("MQTT5", "MQTT-3.1.2-11", "MQTT-3.1.2-13", "MQTT-3.1.4-1")
@pytest.mark.versions(4, 5)
@pytest.mark.parametrize("flags", [0x0A, 0x12, 0x22, 0x3A], ids=hex)
def test_server_refuses_will_qos_or_retain_without_will_flag(dial, version, flags):
    client = dial(version)
    client.send_connect(flags=flags)
    refused_as_malformed(client)


@statement("MQTT311", "MQTT-3.1.2-11", "MQTT-3.1.4-1")
@statement("MQTT5", "MQTT-3.1.2-9", "MQTT-3.1.4-1")
def test_server_refuses_will_fields_without_will_flag(dial, version):
    client = dial(version)
    client.send_connect(will=Will("w", b"x"), flags=0x02)
    refused_as_malformed(client)


@statement("MQTT311", "MQTT-3.1.2-9", "MQTT-3.1.4-1")
@statement("MQTT5", "MQTT-3.1.2-9", "MQTT-3.1.4-1")
def test_server_refuses_will_flag_without_will_fields(dial, version):
    client = dial(version)
    client.send_connect(flags=0x06)
    refused_as_malformed(client)


@statement("MQTT311", "MQTT-3.1.2-14", "MQTT-3.1.4-1")
@statement("MQTT5", "MQTT-3.1.2-12", "MQTT-3.1.4-1")
def test_server_refuses_will_qos_3(dial, version):
    client = dial(version)
    client.send_connect(will=Will("w", b"x", qos=3))
    refused_as_malformed(client)


@statement("MQTT311", "MQTT-3.1.2-18")
@statement("MQTT5", "MQTT-3.1.2-16")
def test_server_refuses_user_name_without_its_flag(dial, version):
    client = dial(version)
    client.send_connect(username="u", flags=0x02)
    refused_as_malformed(client)


@statement("MQTT311", "MQTT-3.1.2-19")
@statement("MQTT5", "MQTT-3.1.2-17")
@pytest.mark.versions(4, 5)
def test_server_refuses_user_name_flag_without_user_name(dial, version):
    client = dial(version)
    client.send_connect(flags=0x82)
    refused_as_malformed(client)


@statement("MQTT311", "MQTT-3.1.2-20")
@statement("MQTT5", "MQTT-3.1.2-18")
def test_server_refuses_password_without_its_flag(dial, version):
    client = dial(version)
    client.send_connect(username="u", password=b"p", flags=0x82)
    refused_as_malformed(client)


@statement("MQTT311", "MQTT-3.1.2-21")
@statement("MQTT5", "MQTT-3.1.2-19")
@pytest.mark.versions(4, 5)
def test_server_refuses_password_flag_without_password(dial, version):
    client = dial(version)
    client.send_connect(username="u", flags=0xC2)
    refused_as_malformed(client)


@statement("MQTT311", "MQTT-3.1.2-22")
def test_server_refuses_password_without_user_name_before_5_0(dial):
    client = dial(4)
    client.send_connect(password=b"p")
    refused_as_malformed(client)


@statement("MQTT5", "MQTT-3.1.2-16", "MQTT-3.1.2-19")
def test_password_without_user_name_is_well_formed_at_5_0(connect):
    connect(5, password=b"p")


@statement("MQTT311", "MQTT-3.1.2-19", "MQTT-3.1.2-21", "MQTT-3.1.3-1", "MQTT-3.1.2-9")
@statement("MQTT5", "MQTT-3.1.2-9", "MQTT-3.1.2-17", "MQTT-3.1.2-19", "MQTT-3.1.3-1")
def test_payload_fields_are_read_in_their_order(connect, version, topic):
    watcher = connect(version)
    watcher.subscribe(topic, qos=1)
    client = connect(version, will=Will(topic, b"will", qos=1), username="user", password=b"pass")
    client.cut()
    watcher.expect_message(topic, b"will", qos=1)


@statement("MQTT311", "MQTT-3.1.3-3", "MQTT-3.1.4-1")
@statement("MQTT5", "MQTT-3.1.3-3", "MQTT-3.1.4-1")
def test_server_refuses_connect_without_client_id_field(dial, version):
    client = dial(version)
    whole = wire.connect(version, "")
    client.send(wire.frame(0x10, whole[2:-2]))
    refused_as_malformed(client)


ILL_FORMED = {
    "cut-off": b"a\xc3",
    "overlong": b"a\xc0\xaf",
    "surrogate": b"a\xed\xa0\x80",
    "above-10ffff": b"a\xf4\x90\x80\x80",
    "fe": b"a\xfe",
    "null": b"a\0b",
}


@statement("MQTT311", "MQTT-1.5.3-1", "MQTT-1.5.3-2", "MQTT-3.1.3-4", "MQTT-3.1.3-10")
@statement("MQTT311", "MQTT-3.1.3-11")
@statement("MQTT5", "MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-3.1.3-4", "MQTT-3.1.3-11")
@statement("MQTT5", "MQTT-3.1.3-12")
@pytest.mark.parametrize("form", ILL_FORMED)
@pytest.mark.parametrize("where", ["client-id", "will-topic", "user-name"])
def test_server_refuses_ill_formed_strings_in_connect(dial, version, where, form):
    client, text = dial(version), ILL_FORMED[form]
    match where:
        case "client-id":
            client.send_connect(text)
        case "will-topic":
            client.send_connect(will=Will(text))
        case "user-name":
            client.send_connect(username=text)
    packet = client.receive()
    # 3.1.1 asks for a close and 5.0 lets a CONNACK go first; a refused client id may be
    # reported as such (3.1.1: 2, 5.0: 0x85), a topic name too (0x90).
    if packet is not None:
        allowed = (MALFORMED, PROTOCOL_ERROR, 0x85, 0x90) if version == 5 else (2,)
        assert packet.type == "CONNACK"
        assert packet.code in allowed
        client.expect_close()


@statement("MQTT311", "MQTT-3.1.3-5", "MQTT-3.1.4-4")
@statement("MQTT5", "MQTT-3.1.3-5", "MQTT-3.1.4-5")
@pytest.mark.parametrize(
    "name",
    ["0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ", "Z"],
)
def test_server_accepts_plain_client_ids_to_23_characters(connect, version, name):
    client = connect(version, name)
    assert "assigned_client_identifier" not in client.connack.properties
    client.ping()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a/b", id="slash"),
        pytest.param("a+b", id="plus"),
        pytest.param("#", id="hash"),
        pytest.param("$SYS", id="dollar"),
        pytest.param("quote'\"", id="quotes"),
        pytest.param("line\nbreak", id="newline"),
        pytest.param("\ufeffbom", id="byte-order-mark"),
        pytest.param("é" * 100, id="accents"),
        pytest.param("y" * 65_535, id="longest"),
    ],
)
def test_unusual_client_id_is_taken_or_refused_as_a_whole(dial, version, name):
    client = dial(version, name)
    client.send_connect()
    answer = client.receive()
    if answer is None or answer.code != 0:
        assert answer is None or answer.code in (2, 0x85)
        return
    # Taken whole: the same id takes over, another that shares its beginning does not.
    prefix = dial(version, name[:-1] or "q")
    prefix.connect()
    client.ping()
    dial(version, name).connect()
    client.expect_disconnect(0x8E)


@statement("MQTT311", "MQTT-3.1.3-6")
def test_empty_client_id_with_clean_session_is_served(connect, topic):
    first, second = connect(4, ""), connect(4, "")
    for client in (first, second):
        assert not client.connack.session_present
        client.subscribe(topic)
    connect(4).publish(topic, b"both")
    first.expect_message(topic)
    second.expect_message(topic)


@statement("MQTT311", "MQTT-3.1.3-8", "MQTT-3.1.3-9", "MQTT-3.2.2-5", "MQTT-3.2.2-4")
def test_empty_client_id_without_clean_session_is_refused(dial):
    client = dial(4, "")
    client.send_connect(clean=False)
    client.expect_refusal(2, may_just_close=False)


def test_empty_client_id_is_refused_at_3_1(dial):
    client = dial(3, "")
    client.send_connect()
    client.expect_refusal(2, may_just_close=False)


@statement("MQTT5", "MQTT-3.1.3-6", "MQTT-3.2.2-16")
def test_assigned_client_ids_are_unique(connect):
    names = {connect(5, "").connack.properties["assigned_client_identifier"] for _ in range(50)}
    assert len(names) == 50
    assert all(names)


@statement("MQTT5", "MQTT-3.1.3-6", "MQTT-3.1.3-7")
def test_assigned_client_id_names_the_session(connect, topic):
    client = connect(5, "", clean=False, session_expiry_interval=300)
    assigned = client.connack.properties["assigned_client_identifier"]
    client.subscribe(topic, qos=1)
    client.disconnect()
    connect(5).publish(topic, b"kept", qos=1)
    again = connect(5, assigned, persistent=True)
    assert again.connack.session_present
    again.expect_message(topic, b"kept")


@statement("MQTT311", "MQTT-3.1.3-9", "MQTT-3.2.2-5")
@statement("MQTT5", "MQTT-3.1.3-8", "MQTT-3.2.2-7", "MQTT-4.13.2-1")
@pytest.mark.broker(protocol={"allow_empty_client_identifier": False})
def test_server_may_refuse_empty_client_ids(dial, version):
    client = dial(version, "")
    client.send_connect()
    client.expect_refusal(0x85 if version == 5 else 2, may_just_close=False)


@statement("MQTT311", "MQTT-3.1.4-2", "MQTT-3.1.3-2")
@statement("MQTT5", "MQTT-3.1.4-3", "MQTT-3.1.3-2")
def test_same_client_id_takes_over(connect, version):
    first = connect(version)
    second = connect(version, first.client_id)
    first.expect_disconnect(0x8E)
    second.ping()


@statement("MQTT5", "MQTT-3.1.4-3")
@statement("MQTT311", "MQTT-3.1.4-2")
@pytest.mark.parametrize("newer", [3, 4, 5])
def test_take_over_works_across_versions(connect, version, newer):
    first = connect(version)
    second = connect(newer, first.client_id)
    first.expect_disconnect(0x8E)
    second.ping()


@statement("MQTT311", "MQTT-3.1.4-2")
@statement("MQTT5", "MQTT-3.1.4-3")
def test_client_id_is_case_sensitive_and_exact(connect, version, client_id):
    first = connect(version, client_id)
    second = connect(version, client_id.upper())
    first.ping()
    second.ping()


@statement("MQTT311", "MQTT-3.1.4-4", "MQTT-3.2.0-1")
@statement("MQTT5", "MQTT-3.1.4-5", "MQTT-3.2.0-1", "MQTT-3.2.0-2", "MQTT-3.2.2-1")
def test_good_connect_gets_one_connack(dial, version):
    client = dial(version)
    client.send_connect()
    client.expect("CONNACK", code=0, session_present=False)
    client.expect_nothing()


@statement("MQTT311", "MQTT-3.1.4-4", "MQTT-3.2.0-1")
@statement("MQTT5", "MQTT-3.2.0-1")
def test_packets_sent_behind_connect_at_once_are_answered_in_order(dial, version, topic):
    client = dial(version)
    client.send(
        wire.connect(version, client.client_id)
        + wire.subscribe(version, 7, [(topic, 0)])
        + wire.publish(version, topic, b"x")
        + wire.PINGREQ
    )
    client.expect("CONNACK", code=0)
    client.expect("SUBACK", packet_id=7, codes=(0,))
    client.expect("PUBLISH", topic=topic, payload=b"x")
    client.expect("PINGRESP")


@statement("MQTT311", "MQTT-3.1.4-5")
@statement("MQTT5", "MQTT-3.1.4-6", "MQTT-3.1.4-2")
def test_nothing_behind_refused_connect_is_processed(dial, connect, version, topic):
    watcher = connect(version)
    watcher.subscribe(topic)
    refused = dial(version)
    refused.send(
        wire.connect(version, refused.client_id, will=Will("w+", b""))
        + wire.publish(version, topic, b"behind", retain=True)
    )
    answer = refused.receive()
    assert answer is None or answer.code != 0
    publisher = connect(version)
    watcher.expect_nothing(after=publisher)
    late = connect(version)
    late.subscribe(topic)
    late.expect_nothing()


@statement("MQTT5", "MQTT-4.13.1-1", "MQTT-3.1.4-1", "MQTT-3.2.2-7")
@pytest.mark.parametrize(
    "properties",
    [
        {"receive_maximum": 0},
        {"maximum_packet_size": 0},
        {"request_problem_information": 2},
        {"request_response_information": 2},
        {"session_expiry_interval": [1, 1]},
        {"receive_maximum": [5, 5]},
        {"topic_alias_maximum": [5, 6]},
        {"authentication_data": b"without-method"},
    ],
    ids=str,
)
def test_server_refuses_connect_properties_against_the_protocol(dial, properties):
    client = dial(5)
    client.send_connect(properties=properties)
    client.expect_refusal(PROTOCOL_ERROR)


@statement("MQTT5", "MQTT-4.13.1-1", "MQTT-3.1.4-1")
@pytest.mark.parametrize(
    "section",
    [
        b"\x00\x01",
        b"\x7f\x01",
        b"\x01\x01",
        b"\x23\x00\x01",
        b"\x0b\x01",
        b"\x11\x00\x00",
        b"\x21\x00",
        b"\x26\x00\x01a",
        b"\x26\x00\x01a\x00\x02b",
    ],
    ids=bytes.hex,
)
def test_server_refuses_malformed_connect_properties(dial, section):
    client = dial(5)
    client.send_connect(properties=section)
    client.expect_refusal(MALFORMED, PROTOCOL_ERROR)


@statement("MQTT5", "MQTT-3.1.4-1", "MQTT-4.13.1-1")
def test_server_refuses_property_length_past_the_packet(dial):
    client = dial(5)
    client.send(bytes.fromhex("10 0f 0004 4d515454 05 02 003c ff7f 0001 61"))
    client.expect_refusal(MALFORMED, PROTOCOL_ERROR)


@statement("MQTT311", "MQTT-3.1.4-1")
@statement("MQTT5", "MQTT-3.1.4-1")
def test_server_refuses_bytes_behind_the_connect_payload(dial, version):
    client = dial(version)
    whole = wire.connect(version, client.client_id)
    client.send(wire.frame(0x10, whole[2:] + b"\x00"))
    refused_as_malformed(client)


@statement("MQTT311", "MQTT-2.2.2-1", "MQTT-2.2.2-2")
@statement("MQTT5", "MQTT-2.1.3-1")
@pytest.mark.versions(4, 5)
@pytest.mark.parametrize("flags", [1, 2, 4, 8])
def test_server_refuses_connect_with_fixed_header_flags(dial, version, flags):
    client = dial(version)
    whole = wire.connect(version, client.client_id)
    client.send(bytes([whole[0] | flags]) + whole[1:])
    refused_as_malformed(client)
