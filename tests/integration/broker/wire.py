"""Just enough MQTT 3.1.1, written for numbers: packets made and taken apart in bulk.

Nothing of noctule is in it, so that a fault there cannot hide itself here.
"""

import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

__all__ = [
    "CONNACK",
    "PINGREQ",
    "PINGRESP",
    "PUBCOMP",
    "PUBLISH",
    "PUBREC",
    "PUBREL",
    "SUBACK",
    "Connection",
    "acknowledgement",
    "connect",
    "publish",
    "subscribe",
]

CONNACK, PUBLISH, PUBREC, PUBREL, PUBCOMP, SUBACK, PINGRESP = 2, 3, 5, 6, 7, 9, 13
PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"
READ_BYTES = 1 << 18
SECONDS = 60.0


def frame(first: int, body: bytes) -> bytes:
    """A packet: its first byte, the remaining length, the rest."""
    length = len(body)
    header = bytearray([first])
    while True:
        length, low = divmod(length, 128)
        header.append(low | (0x80 if length else 0))
        if not length:
            return bytes(header) + body


def text(value: str) -> bytes:
    """A string with its length in front."""
    encoded = value.encode()
    return struct.pack("!H", len(encoded)) + encoded


def connect(client: str, *, clean: bool = True, keep_alive_seconds: int = 0) -> bytes:
    """CONNECT, MQTT 3.1.1 §3.1."""
    flags = 0x02 if clean else 0x00
    return frame(
        0x10, text("MQTT") + struct.pack("!BBH", 4, flags, keep_alive_seconds) + text(client)
    )


def subscribe(topic_filter: str, qos: int) -> bytes:
    """SUBSCRIBE with packet identifier 1, MQTT 3.1.1 §3.8."""
    return frame(0x82, b"\x00\x01" + text(topic_filter) + bytes([qos]))


def publish(topic: str, payload: bytes, qos: int = 0, packet_identifier: int = 0) -> bytes:
    """PUBLISH, MQTT 3.1.1 §3.3."""
    identifier = struct.pack("!H", packet_identifier) if qos else b""
    return frame(0x30 | qos << 1, text(topic) + identifier + payload)


def acknowledgement(kind: int, packet_identifier: int) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP."""
    flags = 0x02 if kind == PUBREL else 0
    return struct.pack("!BBH", kind << 4 | flags, 2, packet_identifier)


class Connection:
    """A blocking connection to a broker on this machine, from the address `source` of it."""

    def __init__(self, port: int, *, source: str = "") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), SECONDS, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = bytearray()

    def open(self, client: str, *, clean: bool = True) -> bool:
        """Send CONNECT; returns session present."""
        self.socket.sendall(connect(client, clean=clean))
        kind, _, body = self.packet()
        assert (kind, body[1]) == (CONNACK, 0)
        return body[0] == 1

    def subscribe(self, topic_filter: str, qos: int) -> None:
        """Subscribe and wait for SUBACK with that QoS."""
        self.socket.sendall(subscribe(topic_filter, qos))
        kind, _, body = self.packet()
        assert (kind, body) == (SUBACK, b"\x00\x01" + bytes([qos]))

    def packet(self) -> tuple[int, int, bytes]:
        """Wait for one packet: its type, flags and body. Packets behind it stay unread."""
        while True:
            for kind, flags, body, end in split(self._unread):
                del self._unread[:end]
                return kind, flags, body
            self._read()

    def packets(self) -> list[tuple[int, int, bytes]]:
        """The whole packets that have come; waits until there is one."""
        while not (found := list(split(self._unread))):
            self._read()
        del self._unread[: found[-1][3]]
        return [(kind, flags, body) for kind, flags, body, _ in found]

    def cut(self) -> None:
        """Lose the connection: a reset, as when a cable is pulled and put back."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Say goodbye."""
        if self.socket.fileno() >= 0:
            self.socket.sendall(DISCONNECT)
            self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()

    def _read(self) -> None:
        data = self.socket.recv(READ_BYTES)
        if not data:
            raise ConnectionError("the broker closed the connection")
        self._unread += data


def split(data: bytearray) -> Iterator[tuple[int, int, bytes, int]]:
    """Yield type, flags, body and end of each whole packet in the bytes."""
    position = 0
    while position + 2 <= len(data):
        length, shift, at = 0, 0, position + 1
        while True:
            if at >= len(data):
                return
            byte = data[at]
            length |= (byte & 0x7F) << shift
            shift += 7
            at += 1
            if byte < 0x80:
                break
        end = at + length
        if end > len(data):
            return
        yield data[position] >> 4, data[position] & 0x0F, bytes(data[at:end]), end
        position = end
