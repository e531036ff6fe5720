"""A WebSocket by hand, for frames that no library would send. RFC 6455."""

import base64
import os
import socket
from collections.abc import Iterable

from tests.conformance.wire import packets

__all__ = ["BINARY", "CLOSE", "CONTINUATION", "PING", "PONG", "TEXT", "WebSocket"]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class WebSocket:
    """A WebSocket opened by hand; frames are sent as they are asked for.

    `headers` are lines of its request, `ahead` goes out in front of that.
    """

    def __init__(
        self,
        address: tuple[str, int],
        protocol: str = "mqtt",
        path: str = "/mqtt",
        headers: Iterable[str] = (),
        ahead: bytes = b"",
    ) -> None:
        self.socket = socket.create_connection(address, timeout=30)
        self.socket.sendall(ahead)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
        lines += headers
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

    def send(
        self, payload: bytes, opcode: int = BINARY, final: bool = True, masked: bool = True
    ) -> None:
        head = bytes([final << 7 | opcode])
        size = len(payload)
        head += bytes([masked << 7 | (size if size < 126 else 126)])
        head += size.to_bytes(2, "big") if size >= 126 else b""
        mask = os.urandom(4) if masked else b""
        if masked:
            payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        self.socket.sendall(head + mask + payload)

    def frame(self) -> tuple[int, bytes] | None:
        """The next frame as (opcode, payload), or None at the end."""
        head = self._take(2)
        if head is None:
            return None
        assert not head[1] & 0x80, "a server never masks"
        size = head[1] & 0x7F
        if size >= 126:
            size = int.from_bytes(self._take(2 if size == 126 else 8) or b"", "big")
        return head[0] & 0x0F, self._take(size) or b""

    def _take(self, size: int) -> bytes | None:
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

    def packet(self, version: int = 5) -> packets.Packet:
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

    def close_code(self) -> int | None:
        """The code of the server's close frame; None where it just closed."""
        while (frame := self.frame()) is not None:
            if frame[0] == CLOSE:
                return int.from_bytes(frame[1][:2], "big") if frame[1] else 1005
        return None
