"""Keep alive and PINGREQ. MQTT 3.1.1 §3.1.2.10 and §3.12, MQTT 5.0 §3.1.2.10 and §3.12."""

import time

import pytest

from tests.conformance.wire import Will

statement = pytest.mark.statement
KEEP_ALIVE_TIMEOUT = 0x8D


@statement("MQTT311", "MQTT-3.12.4-1")
@statement("MQTT5", "MQTT-3.12.4-1")
def test_pingreq_is_answered(connect, version):
    client = connect(version)
    client.send(b"\xc0\x00" * 3)
    for _ in range(3):
        client.expect("PINGRESP")


@statement("MQTT311", "MQTT-3.1.2-24", "MQTT-3.1.2-8")
@statement("MQTT5", "MQTT-3.1.2-22", "MQTT-3.2.2-22", "MQTT-3.1.2-8")
def test_silent_client_is_cut_after_one_and_a_half_keep_alives(connect, stopwatch, version, topic):
    watcher = connect(version)
    watcher.subscribe(topic)
    client = connect(version, keep_alive=2, will=Will(topic, b"silent"))
    assert "server_keep_alive" not in client.connack.properties
    begin, running = time.monotonic(), stopwatch()
    client.expect_disconnect(KEEP_ALIVE_TIMEOUT)
    assert time.monotonic() - begin >= 2.9
    assert running.seconds() <= 4.2
    watcher.expect_message(topic, b"silent")


@statement("MQTT311", "MQTT-3.1.2-24")
@statement("MQTT5", "MQTT-3.1.2-22")
def test_any_packet_keeps_the_connection(connect, version, topic, elapse):
    client = connect(version, keep_alive=2)
    for exchange in (client.ping, lambda: client.publish(topic, b"", 1), client.ping):
        elapse(1.8)
        exchange()
    client.expect_disconnect(KEEP_ALIVE_TIMEOUT)


@statement("MQTT311", "MQTT-3.1.2-24")
@statement("MQTT5", "MQTT-3.1.2-22")
def test_packets_from_the_server_do_not_count(connect, stopwatch, version, topic):
    client = connect(version, keep_alive=1)
    client.subscribe(topic)
    publisher, running = connect(version), stopwatch()
    publisher.publish(topic, b"tick")
    while (packet := client.receive()) is not None and packet.type == "PUBLISH":
        assert running.seconds() < 4
        time.sleep(0.05)
        publisher.publish(topic, b"tick")
    assert packet is None if version < 5 else packet.code == KEEP_ALIVE_TIMEOUT


@statement("MQTT311", "MQTT-3.1.2-24")
@statement("MQTT5", "MQTT-3.1.2-22")
def test_keep_alive_0_never_ends_the_connection(connect, version, elapse):
    client = connect(version, keep_alive=0)
    elapse(2.5)
    client.ping()


@statement("MQTT5", "MQTT-3.2.2-22")
@pytest.mark.broker(limits={"max_keep_alive_seconds": 1})
@pytest.mark.parametrize("keep_alive", [0, 1, 600])
def test_server_keep_alive_is_told_and_enforced(connect, keep_alive):
    client = connect(5, keep_alive=keep_alive)
    told = client.connack.properties.get("server_keep_alive", keep_alive)
    assert told == 1
    client.expect_disconnect(KEEP_ALIVE_TIMEOUT)
