"""MQTT in WebSocket frames, MQTT 5.0 §6: the sans-I/O half of the package `websockets`."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

from noctule.cli.connection.errors import ConnectError
from noctule.cli.connection.stream import SocketStream, place
from noctule.cli.connection.target import DEFAULT_WEBSOCKET_PATH
from noctule.cli.flags.settings import Settings, UsageError

try:
    from websockets.client import ClientProtocol
    from websockets.frames import Frame, Opcode
    from websockets.http11 import Response
    from websockets.protocol import State
    from websockets.typing import Subprotocol
    from websockets.uri import parse_uri
except ImportError as error:
    raise UsageError("WebSocket needs: pip install noctule[websocket]") from error

if TYPE_CHECKING:
    from websockets.protocol import Event

__all__ = ["WebSocketStream"]

SUBPROTOCOL = Subprotocol("mqtt")


class WebSocketStream:
    """A stream in binary frames over another stream; the handshake is done when it is made."""

    def __init__(self, below: SocketStream, settings: Settings) -> None:
        self._below = below
        self._unsent = bytearray()
        self._received = bytearray()
        self._is_over = False
        scheme = "wss" if settings.tls else "ws"
        host = "localhost" if settings.unix is not None else place(settings)
        path = settings.websocket_path or DEFAULT_WEBSOCKET_PATH
        self._protocol = ClientProtocol(
            parse_uri(f"{scheme}://{host}{path}"), subprotocols=[SUBPROTOCOL], max_size=None
        )
        self._shake_hands(f"{host}{path}", settings.connect_timeout)

    def _shake_hands(self, where: str, timeout: float) -> None:
        """[MQTT-6.0.0-3]: the sub-protocol mqtt is offered, and has to be accepted."""
        self._protocol.send_request(self._protocol.connect())
        deadline = time.monotonic() + timeout
        while self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
            self._flush()
            rest = deadline - time.monotonic()
            if rest <= 0:
                raise TimeoutError
            select.select([self._below], [self._below] if self._unsent else [], [], rest)
            try:
                data = self._below.receive()
            except ConnectionError:
                data = b""
            if data == b"":
                self._protocol.receive_eof()
            elif data:
                self._protocol.receive_data(data)
            self._take(self._protocol.events_received())
            if data == b"" and self._protocol.state is State.CONNECTING:
                break
        failure = self._protocol.handshake_exc
        if self._protocol.state is not State.OPEN or failure is not None:
            self._below.close()
            raise ConnectError(
                f"{where} does not speak WebSocket ({failure or 'it hung up'})",
                "check port and path, or leave --ws out",
            )
        if self._protocol.subprotocol != SUBPROTOCOL:
            self._below.close()
            raise ConnectError(f"{where} speaks WebSocket, but no MQTT in it", "check the path")

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._below.fileno()

    def send(self, data: bytes | bytearray) -> int:
        """Takes all or nothing: what a frame has begun cannot be taken back."""
        if not self._flush():
            return 0
        self._protocol.send_binary(bytes(data))
        self._flush()
        return len(data)

    def receive(self) -> bytes | None:
        """Payload bytes, b"" at the end, or None when there are none now."""
        self._flush()
        if not self._is_over:
            data = self._below.receive()
            if data == b"":
                self._protocol.receive_eof()
                self._is_over = True
            elif data:
                self._protocol.receive_data(data)
            self._take(self._protocol.events_received())
            self._flush()
        taken = bytes(self._received)
        self._received.clear()
        if taken:
            return taken
        return b"" if self._is_over else None

    def close(self) -> None:
        """The closing frame, and the end of the stream below."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close()
        deadline = time.monotonic() + 1.0
        while not self._flush() and time.monotonic() < deadline:
            select.select([], [self._below], [], 0.1)
        self._below.close()

    @property
    def is_writing(self) -> bool:
        """Whether bytes wait that the stream below has not taken."""
        return bool(self._unsent)

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Response) or not isinstance(event, Frame):
                continue
            if event.opcode in (Opcode.BINARY, Opcode.CONT):
                self._received += event.data
            elif event.opcode is Opcode.CLOSE:
                self._is_over = True

    def _flush(self) -> bool:
        """Writes what the protocol has to send; whether that was all."""
        for data in self._protocol.data_to_send():
            self._unsent += data
        while self._unsent:
            sent = self._below.send(self._unsent)
            if not sent:
                return False
            del self._unsent[:sent]
        return True
