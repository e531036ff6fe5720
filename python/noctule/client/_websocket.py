"""MQTT in WebSocket frames, MQTT 5.0 §6: the package `websockets` between two layers.

Its sans-I/O protocol does the handshake and the frames; this file moves the bytes, and
looks like a transport to the connection above.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from noctule.client.errors import ConnectionFailedError
from noctule.client.url import Address

try:
    from websockets.client import ClientProtocol
    from websockets.exceptions import InvalidHandshake, WebSocketException
    from websockets.frames import Frame, Opcode
    from websockets.http11 import Response
    from websockets.protocol import State
    from websockets.typing import Subprotocol
    from websockets.uri import parse_uri
except ImportError as error:
    raise ConnectionFailedError("WebSocket needs: pip install noctule[websocket]") from error

if TYPE_CHECKING:
    from noctule.client._connection import Connection

__all__ = ["WebSocketProtocol"]

SUBPROTOCOL = "mqtt"
UNSUPPORTED_DATA = 1003


class WebSocketProtocol(asyncio.Protocol):
    """Under a `Connection`: carries its bytes in binary frames [MQTT-6.0.0-1].

    `opening` gets its result when the handshake is over, with the sub-protocol mqtt offered
    [MQTT-6.0.0-3] and accepted, or ConnectionFailedError. Frames and packets have nothing to
    do with each other [MQTT-6.0.0-2].
    """

    def __init__(
        self,
        address: Address,
        connection: Connection,
        headers: Mapping[str, str],
        opening: asyncio.Future[None],
    ) -> None:
        self._connection = connection
        self._headers = headers
        self._opening = opening
        self._is_open = False
        self._transport: asyncio.Transport | None = None
        self._protocol = ClientProtocol(
            parse_uri(str(address)), subprotocols=[Subprotocol(SUBPROTOCOL)], max_size=None
        )

    # --- The network's side -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        request = self._protocol.connect()
        for name, value in self._headers.items():
            request.headers[name] = value
        self._protocol.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self._opened()
            elif isinstance(event, Frame):
                self._handle_frame(event)
        self._flush()
        if self._protocol.handshake_exc is not None:
            self._opened()

    def eof_received(self) -> bool:
        self._protocol.receive_eof()
        self._flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self._opening.done():
            self._opening.set_exception(
                ConnectionFailedError(f"the WebSocket handshake was cut off: {exc or 'closed'}")
            )
        if self._is_open:
            self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def _opened(self) -> None:
        if self._opening.done():
            return
        error: Exception | None = self._protocol.handshake_exc
        if error is None and self._protocol.subprotocol != SUBPROTOCOL:
            error = InvalidHandshake("the server does not speak the sub-protocol mqtt")
        if error is not None:
            failure = ConnectionFailedError(f"the WebSocket handshake failed: {error}")
            failure.__cause__ = error
            self._opening.set_exception(failure)
            return
        self._is_open = True
        self._connection.connection_made(self)
        self._opening.set_result(None)

    def _handle_frame(self, frame: Frame) -> None:
        if not self._is_open:
            return
        if frame.opcode in (Opcode.BINARY, Opcode.CONT):
            self._connection.data_received(bytes(frame.data))
        elif frame.opcode is Opcode.TEXT:
            self._protocol.fail(UNSUPPORTED_DATA, "MQTT travels in binary frames")

    def _flush(self) -> None:
        transport = self._transport
        if transport is None:
            return
        for data in self._protocol.data_to_send():
            if data:
                transport.write(data)
            else:
                transport.close()  # The library's way of saying that the stream ends here.
        if self._protocol.close_expected():
            transport.close()

    # --- The connection's side: a ByteTransport ---------------------------------------

    def write(self, data: bytes) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_binary(data)
            self._flush()

    def close(self) -> None:
        if self._transport is None:
            return
        if self._protocol.state is State.OPEN:
            try:
                self._protocol.send_close()
            except WebSocketException:
                self._transport.close()
                return
            self._flush()
        self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default if self._transport is None else self._transport.get_extra_info(name, default)
