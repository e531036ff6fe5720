"""MQTT over WebSocket. MQTT 3.1.1 §6, MQTT 5.0 §6, RFC 6455."""

import base64
import os
import socket

import pytest

from tests.conformance import wire
from tests.conformance.wire import packets

statement = pytest.mark.statement
pytestmark = pytest.mark.broker(listeners=("websocket",))
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class WebSocket:
    """A WebSocket opened by hand; frames are sent as they are asked for."""

    def __init__(self, address, protocol="mqtt", path="/mqtt"):
        self.socket = socket.create_connection(address, timeout=5)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {address[0]}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        lines += [f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while b"\r\n\r\n" not in answer and (more := self.socket.recv(4_096)):
            answer += more
        head, _, self._buffer = answer.partition(b"\r\n\r\n")
        self.status, _, rest = head.decode().partition("\r\n")
        self.headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in rest.split("\r\n"))
        }
        self._bytes = b""

    def send(self, payload, opcode=BINARY, final=True, masked=True):
        head = bytes([final << 7 | opcode])
        size = len(payload)
        head += bytes([masked << 7 | (size if size < 126 else 126)])
        head += size.to_bytes(2, "big") if size >= 126 else b""
        mask = os.urandom(4) if masked else b""
        if masked:
            payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        self.socket.sendall(head + mask + payload)

    def frame(self):
        """The next frame as (opcode, payload), or None at the end."""
        head = self._take(2)
        if head is None:
            return None
        assert not head[1] & 0x80, "a server never masks"
        size = head[1] & 0x7F
        if size >= 126:
            size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
        return head[0] & 0x0F, self._take(size)

    def _take(self, size):
        while len(self._buffer) < size:
            try:
                more = self.socket.recv(65_536)
            except ConnectionResetError:
                return None
            if not more:
                return None
            self._buffer += more
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def packet(self, version=5):
        """The next MQTT packet, put together from binary frames."""
        while True:
            if len(self._bytes) >= 2 and len(self._bytes) >= 2 + self._bytes[1]:
                size = 2 + self._bytes[1]
                raw, self._bytes = self._bytes[:size], self._bytes[size:]
                return packets.decode(version, raw[0], raw[2:], size)
            frame = self.frame()
            assert frame is not None, "closed"
            assert frame[0] in (BINARY, CONTINUATION), "packets travel in binary frames only"
            self._bytes += frame[1]

    def close_code(self):
        """The code of the server's close frame; None where it just closed."""
        while (frame := self.frame()) is not None:
            if frame[0] == CLOSE:
                return int.from_bytes(frame[1][:2], "big") if frame[1] else 1005
        return None


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
