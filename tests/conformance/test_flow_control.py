"""Flow control by receive maximum, in both directions. MQTT 5.0 §3.3.4 and §4.9."""

import pytest

from tests.conformance import wire

statement = pytest.mark.statement
RECEIVE_MAXIMUM_EXCEEDED = 0x93


@statement("MQTT5", "MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2")
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("maximum", [1, 2, 7])
def test_server_keeps_within_the_clients_receive_maximum(connect, topic, maximum, qos):
    client, publisher = connect(5, receive_maximum=maximum), connect(5)
    client.subscribe(topic, qos=qos)
    for at in range(20):
        publisher.publish(topic, b"%d" % at, qos)
    window = [client.expect("PUBLISH") for _ in range(maximum)]
    client.expect_nothing()
    for at in range(20):
        message = window.pop(0)
        assert message.payload == b"%d" % at
        client.ack(message)
        if at + maximum < 20:
            window.append(client.expect("PUBLISH"))
        client.expect_nothing()


@statement("MQTT5", "MQTT-3.3.4-9", "MQTT-4.9.0-2")
def test_pubrec_does_not_give_quota_back_but_pubcomp_does(connect, topic):
    client, publisher = connect(5, receive_maximum=1), connect(5)
    client.subscribe(topic, qos=2)
    publisher.publish(topic, b"first", 2)
    publisher.publish(topic, b"second", 2)
    packet_id = client.expect("PUBLISH", payload=b"first").packet_id
    client.send_ack("PUBREC", packet_id)
    client.expect("PUBREL", packet_id=packet_id)
    client.expect_nothing()
    client.send_ack("PUBCOMP", packet_id)
    client.expect_message(topic, b"second")


@statement("MQTT5", "MQTT-4.9.0-2", "MQTT-4.4.0-2")
@pytest.mark.parametrize(("qos", "kind"), [(1, "PUBACK"), (2, "PUBREC")])
def test_error_acknowledgement_gives_quota_back(connect, topic, qos, kind):
    client, publisher = connect(5, receive_maximum=1), connect(5)
    client.subscribe(topic, qos=qos)
    for payload in (b"first", b"second"):
        publisher.publish(topic, payload, qos)
    client.send_ack(kind, client.expect("PUBLISH", payload=b"first").packet_id, 0x80)
    client.expect_message(topic, b"second")


@statement("MQTT5", "MQTT-3.3.4-10", "MQTT-4.9.0-3")
def test_other_packets_flow_at_quota_0(connect, topic):
    client = connect(5, receive_maximum=1)
    client.subscribe(topic, qos=1)
    client.publish(topic, b"in flight", 1)
    client.publish(topic, b"waiting", 1)
    message = client.expect("PUBLISH", payload=b"in flight")
    client.ping()
    assert client.subscribe(f"{topic}/zero", qos=0) == (0,)
    assert client.unsubscribe(f"{topic}/none") == (0x11,)
    assert client.publish(f"{topic}/unheard", b"", 1) == 0x10
    assert client.publish(f"{topic}/unheard", b"", 2) in (0, 0x10)
    client.publish(f"{topic}/zero", b"not counted", 0)
    client.expect_message(f"{topic}/zero", b"not counted", qos=0)
    client.ack(message)
    client.expect_message(topic, b"waiting")


@statement("MQTT5", "MQTT-3.3.4-9", "MQTT-4.9.0-1")
def test_quota_is_set_anew_by_each_connection(connect, topic):
    client = connect(5, persistent=True, receive_maximum=2)
    client.subscribe(topic, qos=1)
    publisher = connect(5)
    for at in range(6):
        publisher.publish(topic, b"%d" % at, 1)
    for _ in range(2):
        client.expect("PUBLISH")
    client.expect_nothing()
    client.cut()
    again = connect(5, client.client_id, persistent=True, receive_maximum=4)
    payloads = [again.expect("PUBLISH").payload for _ in range(4)]
    assert payloads == [b"0", b"1", b"2", b"3"]
    again.expect_nothing()


@statement("MQTT5", "MQTT-3.3.4-9", "MQTT-4.4.0-1")
def test_resending_keeps_within_a_smaller_receive_maximum(connect, topic):
    client = connect(5, persistent=True, receive_maximum=10)
    client.subscribe(topic, qos=1)
    publisher = connect(5)
    for at in range(10):
        publisher.publish(topic, b"%d" % at, 1)
        client.expect("PUBLISH")
    client.cut()
    again = connect(5, client.client_id, persistent=True, receive_maximum=3)
    window = [again.expect("PUBLISH", dup=True) for _ in range(3)]
    again.expect_nothing()
    for message in window:
        again.ack(message)
    rest = [message.payload for message in again.messages(7)]
    assert rest == [b"%d" % at for at in range(3, 10)]


@statement("MQTT5", "MQTT-3.3.4-7", "MQTT-4.9.0-1")
@pytest.mark.broker(limits={"receive_maximum": 5})
def test_client_that_exceeds_the_servers_receive_maximum_is_cut(connect, topic):
    client = connect(5)
    assert client.connack.properties["receive_maximum"] == 5
    for packet_id in range(1, 6):
        client.send_publish(topic, b"", 2, packet_id=packet_id)
        client.expect("PUBREC", packet_id=packet_id)
    client.ping()
    client.send_publish(topic, b"", 2, packet_id=6)
    client.expect_disconnect(RECEIVE_MAXIMUM_EXCEEDED)


@statement("MQTT5", "MQTT-3.3.4-7", "MQTT-4.9.0-1")
@pytest.mark.broker(limits={"receive_maximum": 5})
def test_finished_exchanges_do_not_count(connect, topic):
    client = connect(5)
    for at in range(12):
        client.publish(topic, b"", 1 + at % 2)
    for packet_id in range(101, 106):
        client.send_publish(topic, b"", 2, packet_id=packet_id)
        client.expect("PUBREC", packet_id=packet_id)
    client.send_publish(topic, b"", 2, packet_id=101, dup=True)  # sent again: not a sixth
    client.expect("PUBREC", packet_id=101)
    for packet_id in range(101, 106):
        client.send_ack("PUBREL", packet_id)
        client.expect("PUBCOMP", packet_id=packet_id)


@pytest.mark.broker(limits={"max_inflight_messages": 3})
def test_server_holds_its_own_limit_of_messages_in_flight(connect, version, topic):
    client, publisher = connect(version), connect(version)
    client.subscribe(topic, qos=1)
    for at in range(8):
        publisher.publish(topic, b"%d" % at, 1)
    window = [client.expect("PUBLISH") for _ in range(3)]
    client.expect_nothing()
    for message in window:
        client.ack(message)
    assert [message.payload for message in client.messages(5)] == [b"%d" % n for n in range(3, 8)]


@statement("MQTT311", "MQTT-2.3.1-4")
@statement("MQTT5", "MQTT-2.2.1-4", "MQTT-4.3.2-1")
def test_packet_ids_go_round_without_0_and_without_one_in_use(connect, version, topic):
    client, publisher = connect(version), connect(version)
    client.subscribe(topic, qos=1)
    client.subscribe(f"{topic}/held", qos=1)
    publisher.publish(f"{topic}/held", b"held", 1)
    held = client.expect("PUBLISH").packet_id
    one_by_one = b"".join(
        wire.publish(version, topic, b"", qos=1, packet_id=packet_id) for packet_id in range(1, 101)
    )
    for _ in range(660):
        publisher.send(one_by_one)
        answers = b""
        for _ in range(100):
            message = client.expect("PUBLISH", qos=1)
            assert message.packet_id not in (0, held)
            answers += wire.acknowledgement(version, "PUBACK", message.packet_id)
            if len(answers) >= 40:
                client.send(answers)
                answers = b""
        client.send(answers)
        for _ in range(100):
            publisher.expect("PUBACK")
