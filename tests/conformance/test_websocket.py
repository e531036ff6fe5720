"""MQTT over WebSocket. MQTT 3.1.1 §6, MQTT 5.0 §6, RFC 6455."""

import pytest

from tests.conformance import wire
from tests.conformance.websocket import CONTINUATION, PING, PONG, TEXT, WebSocket

statement = pytest.mark.statement
pytestmark = pytest.mark.broker(listeners=("websocket",))


@pytest.fixture
def dial_websocket(broker):
    opened = []

    def dial_websocket(**options):
        opened.append(WebSocket(broker.addresses["websocket"], **options))
        return opened[-1]

    yield dial_websocket
    for one in opened:
        one.socket.close()


@statement("MQTT311", "MQTT-6.0.0-3", "MQTT-6.0.0-4")
@statement("MQTT5", "MQTT-6.0.0-3", "MQTT-6.0.0-4")
@pytest.mark.parametrize("offered", ["mqtt", "chat, mqtt"])
def test_server_answers_with_sub_protocol_mqtt(dial_websocket, offered):
    client = dial_websocket(protocol=offered)
    assert " 101 " in client.status
    assert client.headers["sec-websocket-protocol"] == "mqtt"


@statement("MQTT311", "MQTT-6.0.0-3")
@statement("MQTT5", "MQTT-6.0.0-3")
def test_other_sub_protocol_is_refused(dial_websocket):
    client = dial_websocket(protocol="chat")
    assert " 101 " not in client.status or client.headers.get("sec-websocket-protocol") != "chat"


@statement("MQTT311", "MQTT-6.0.0-1")
@statement("MQTT5", "MQTT-6.0.0-1")
def test_packets_travel_in_binary_frames(dial_websocket, version, topic, client_id):
    client = dial_websocket()
    client.send(wire.connect(version, client_id))
    assert client.packet(version).code == 0
    client.send(wire.subscribe(version, 1, [(topic, 0)]))
    assert client.packet(version).type == "SUBACK"
    client.send(wire.publish(version, topic, b"x"))
    assert client.packet(version).payload == b"x"


@statement("MQTT311", "MQTT-6.0.0-1")
@statement("MQTT5", "MQTT-6.0.0-1")
@pytest.mark.parametrize("when", ["before-connect", "after-connect"])
def test_text_frame_closes(dial_websocket, client_id, when):
    client = dial_websocket()
    if when == "after-connect":
        client.send(wire.connect(5, client_id))
        assert client.packet().code == 0
    client.send(b"\xc0\x00" if when == "after-connect" else b"text", opcode=TEXT)
    assert client.close_code() in (1003, 1002, 1007, None)


@statement("MQTT311", "MQTT-6.0.0-2")
@statement("MQTT5", "MQTT-6.0.0-2")
def test_a_packet_may_be_cut_into_frames_and_frames_hold_many_packets(
    dial_websocket, topic, client_id
):
    client = dial_websocket()
    for byte in wire.connect(5, client_id):
        client.send(bytes([byte]))
    assert client.packet().code == 0
    client.send(wire.subscribe(5, 1, [(topic, 0)]) + wire.publish(5, topic, b"x") + b"\xc0")
    client.send(b"\x00")
    assert [client.packet().type for _ in range(3)] == ["SUBACK", "PUBLISH", "PINGRESP"]


@statement("MQTT311", "MQTT-6.0.0-2")
@statement("MQTT5", "MQTT-6.0.0-2")
def test_fragmented_message_is_put_together(dial_websocket, client_id):
    client = dial_websocket()
    whole = wire.connect(5, client_id)
    client.send(whole[:5], final=False)
    client.send(b"are you there", opcode=PING)
    client.send(whole[5:9], opcode=CONTINUATION, final=False)
    client.send(whole[9:], opcode=CONTINUATION)
    assert client.frame() == (PONG, b"are you there")
    assert client.packet().code == 0


def test_unmasked_frame_closes(dial_websocket, client_id):
    client = dial_websocket()
    client.send(wire.connect(5, client_id), masked=False)
    assert client.close_code() in (1002, None)
