"""A blocking client on one socket: send anything, and say what must come back.

Every wait ends after TIMEOUT_SECONDS. That nothing comes is never found out by sleeping:
`expect_nothing` sends a PINGREQ and lets the PINGRESP be the next packet, so that all
the server had to say before it would have been seen.
"""

import itertools
import select
import socket
import ssl
import struct
import time
from typing import Any, Self

from . import codec, packets
from .codec import Properties, Reader, WireError
from .packets import Packet, Will

TIMEOUT_SECONDS = 30.0
RECEIVE_BYTES = 65_536


class ClosedError(AssertionError):
    """The server closed the connection where a packet was expected."""


class Client:
    """One connection to a server, speaking the protocol level `version` (3, 4 or 5).

    The socket is connected on creation, CONNECT is not sent. Packets that arrive while
    another one is waited for by name (`subscribe`, `publish`, `ping`) are put aside and
    come out of `receive` later, in their order.
    """

    def __init__(
        self,
        address: tuple[str, int],
        version: int = 5,
        *,
        client_id: str = "",
        receive_buffer_bytes: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.version = version
        self.client_id = client_id
        self.connack = Packet("CONNACK")
        self._backlog: list[Packet] = []
        self._buffer = bytearray()
        self._aliases: dict[int, str] = {}
        self._packet_ids = itertools.cycle(range(1, 65_536))
        self.socket = socket.socket()
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(TIMEOUT_SECONDS)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            raw = self.socket
            try:
                self.socket = tls.wrap_socket(raw, server_hostname=address[0])
            except OSError:
                raw.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Sending

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def send_connect(self, client_id: str | bytes | None = None, **fields: Any) -> None:
        self.send(
            packets.connect(
                self.version, self.client_id if client_id is None else client_id, **fields
            )
        )

    def send_publish(
        self, topic: str | bytes, payload: bytes = b"", qos: int = 0, **fields: Any
    ) -> int:
        """Send PUBLISH and do not wait; returns its packet identifier (0 at QoS 0)."""
        packet_id = fields.pop("packet_id", None)
        if packet_id is None:
            packet_id = self.next_packet_id() if qos else 0
        flags = {name: fields.pop(name) for name in ("retain", "dup") if name in fields}
        properties = fields.pop("raw_properties", fields)
        self.send(
            packets.publish(
                self.version,
                topic,
                payload,
                qos=qos,
                packet_id=packet_id,
                properties=properties,
                **flags,
            )
        )
        return int(packet_id)

    def send_ack(self, kind: str, packet_id: int, code: int = 0, **properties: Any) -> None:
        self.send(packets.acknowledgement(self.version, kind, packet_id, code, properties))

    def next_packet_id(self) -> int:
        return next(self._packet_ids)

    # Exchanges that must go well

    def connect(
        self,
        *,
        clean: bool = True,
        keep_alive: int = 60,
        will: Will | None = None,
        username: str | None = None,
        password: bytes | None = None,
        **properties: Any,
    ) -> Packet:
        """CONNECT, and CONNACK with code 0."""
        self.send_connect(
            clean=clean,
            keep_alive=keep_alive,
            will=will,
            username=username,
            password=password,
            properties=properties,
        )
        self.connack = self.expect("CONNACK", code=0)
        if "assigned_client_identifier" in self.connack.properties:
            self.client_id = self.connack.properties["assigned_client_identifier"]
        return self.connack

    def subscribe(
        self, *filters: str, qos: int = 0, options: int = 0, **properties: Any
    ) -> tuple[int, ...]:
        """SUBSCRIBE to all filters with one options byte; returns the codes of SUBACK."""
        packet_id = self.next_packet_id()
        pairs = [(topic_filter, options | qos) for topic_filter in filters]
        self.send(packets.subscribe(self.version, packet_id, pairs, properties))
        return self.await_packet("SUBACK", packet_id=packet_id).codes

    def unsubscribe(self, *filters: str, **properties: Any) -> tuple[int, ...]:
        """UNSUBSCRIBE; returns the codes of UNSUBACK (none before 5.0)."""
        packet_id = self.next_packet_id()
        self.send(packets.unsubscribe(self.version, packet_id, filters, properties))
        return self.await_packet("UNSUBACK", packet_id=packet_id).codes

    def publish(self, topic: str | bytes, payload: bytes = b"", qos: int = 0, **fields: Any) -> int:
        """PUBLISH with its whole exchange; returns the reason code of PUBACK or PUBREC."""
        packet_id = self.send_publish(topic, payload, qos, **fields)
        if qos == 0:
            return 0
        if qos == 1:
            return self.await_packet("PUBACK", packet_id=packet_id).code
        code = self.await_packet("PUBREC", packet_id=packet_id).code
        if code < 0x80:
            self.send_ack("PUBREL", packet_id)
            self.await_packet("PUBCOMP", packet_id=packet_id)
        return code

    def ack(self, message: Packet) -> None:
        """Carry the receiver's side of a PUBLISH through to its end."""
        if message.qos == 1:
            self.send_ack("PUBACK", message.packet_id)
        if message.qos == 2:
            self.send_ack("PUBREC", message.packet_id)
            self.await_packet("PUBREL", packet_id=message.packet_id)
            self.send_ack("PUBCOMP", message.packet_id)

    def ping(self) -> None:
        self.send(packets.PINGREQ)
        self.await_packet("PINGRESP")

    # Ends of the connection

    def disconnect(self, code: int = 0, **properties: Any) -> None:
        """DISCONNECT, and wait until the server has closed."""
        self.send(packets.disconnect(self.version, code, properties))
        while True:
            try:
                if self.receive() is None:
                    break
            except WireError:
                continue
        self.close()

    def cut(self) -> None:
        """End the connection as a broken network does: a reset, no DISCONNECT."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    # Receiving

    def receive(self, timeout: float = TIMEOUT_SECONDS) -> Packet | None:
        """The next packet, or None when the server has closed the connection.

        Raises TimeoutError when neither happens in `timeout` seconds.
        """
        return self._backlog.pop(0) if self._backlog else self._read(timeout)

    def expect(self, kind: str, *, timeout: float = TIMEOUT_SECONDS, **fields: Any) -> Packet:
        """The next packet, which must be of this type and have these fields."""
        packet = self.receive(timeout)
        if packet is None:
            raise ClosedError(f"expected {kind}, but the connection was closed")
        _check(packet, kind, fields)
        return packet

    def has_packet(self, timeout: float = 0.0) -> bool:
        """Whether something has come, or comes in `timeout` seconds, that `receive` would take."""
        packet = self._decode()
        if packet is not None:
            self._backlog.append(packet)
        return bool(self._backlog) or bool(select.select([self.socket], [], [], timeout)[0])

    def await_packet(self, kind: str, *, timeout: float = TIMEOUT_SECONDS, **fields: Any) -> Packet:
        """The next packet of this type; others that come before it are put aside."""
        aside = self._backlog
        for index, packet in enumerate(aside):
            if packet.type == kind:
                del aside[index]
                _check(packet, kind, fields)
                return packet
        deadline = time.monotonic() + timeout
        while True:
            packet_or_end = self._read(max(0.001, deadline - time.monotonic()))
            if packet_or_end is None:
                raise ClosedError(f"waited for {kind}, but the connection was closed; got {aside}")
            if packet_or_end.type == kind:
                _check(packet_or_end, kind, fields)
                return packet_or_end
            aside.append(packet_or_end)

    def expect_message(
        self, topic: str | None = None, payload: Any = None, **fields: Any
    ) -> Packet:
        """The next packet, which must be a PUBLISH; it is acknowledged to the end."""
        message = self.expect("PUBLISH", **_given(topic=topic, payload=payload), **fields)
        self.ack(message)
        return message

    def expect_nothing(self, after: "Client | None" = None) -> None:
        """Nothing is under way to this client.

        With `after`, that publisher first sends a marker message to this client, so that
        what it published before would have had to arrive ahead of the marker.
        """
        if after is not None:
            marker = f"conformance-fence/{id(self)}/{self.next_packet_id()}"
            assert self.subscribe(marker)[0] == 0
            after.publish(marker)
            self.expect("PUBLISH", topic=marker)
            self.unsubscribe(marker)
        self.send(packets.PINGREQ)
        self.expect("PINGRESP")

    def messages(self, count: int) -> list[Packet]:
        """The next `count` messages, each acknowledged to its end."""
        return [self.expect_message() for _ in range(count)]

    def expect_close(self, timeout: float = TIMEOUT_SECONDS) -> None:
        """The server closes without another packet."""
        packet = self.receive(timeout)
        assert packet is None, f"expected the end of the connection, got {packet}"
        self.close()

    def expect_disconnect(self, *codes: int, timeout: float = TIMEOUT_SECONDS) -> Packet | None:
        """The server ends the connection, at 5.0 with a DISCONNECT of one of these codes.

        At 3.1 and 3.1.1 a server has no DISCONNECT and just closes; None is returned then.
        """
        if self.version < 5:
            self.expect_close(timeout)
            return None
        packet = self.expect("DISCONNECT", timeout=timeout)
        assert packet.code in codes, f"DISCONNECT 0x{packet.code:02X}, not one of {_hex(codes)}"
        self.expect_close()
        return packet

    def expect_refusal(self, *codes: int, may_just_close: bool = True) -> Packet | None:
        """A CONNECT is refused: the connection ends, perhaps behind a CONNACK of these codes.

        The codes are those of the version in hand. Returns the CONNACK if there was one.
        """
        packet = self.receive()
        if packet is None:
            assert may_just_close, f"closed without a CONNACK of {_hex(codes)}"
            self.close()
            return None
        _check(packet, "CONNACK", {"session_present": False})
        assert packet.code in codes, f"CONNACK 0x{packet.code:02X}, not one of {_hex(codes)}"
        self.expect_close()
        return packet

    def raw(self, timeout: float = TIMEOUT_SECONDS) -> bytes:
        """All bytes until the server closes."""
        deadline = time.monotonic() + timeout
        while self._fill(max(0.001, deadline - time.monotonic())):
            pass
        return bytes(self._buffer)

    def _read(self, timeout: float) -> Packet | None:
        deadline = time.monotonic() + timeout
        while True:
            packet = self._decode()
            if packet is not None:
                return packet
            if not self._fill(max(0.001, deadline - time.monotonic())):
                return None

    def _fill(self, timeout: float) -> bool:
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        except TimeoutError:
            raise TimeoutError(f"nothing came; {bytes(self._buffer)!r} in the buffer") from None
        finally:
            self.socket.settimeout(TIMEOUT_SECONDS)
        self._buffer += data
        return bool(data)

    def _decode(self) -> Packet | None:
        """Take one whole packet off the buffer, if there is one."""
        end = next((at for at in range(1, len(self._buffer)) if self._buffer[at] < 0x80), 0)
        if end == 0:
            return None
        length = Reader(bytes(self._buffer[1:5])).variable()
        size = end + 1 + length
        if len(self._buffer) < size:
            return None
        first, body = self._buffer[0], bytes(self._buffer[end + 1 : size])
        del self._buffer[:size]
        return packets.decode(self.version, first, body, size)

    def resolve_alias(self, message: Packet) -> str:
        """The topic name of a message, by this connection's topic aliases if need be."""
        alias = message.properties.get("topic_alias")
        if alias is None:
            return message.topic
        if message.topic:
            self._aliases[alias] = message.topic
        return self._aliases[alias]


def _given(**fields: Any) -> Properties:
    return {name: value for name, value in fields.items() if value is not None}


def _check(packet: Packet, kind: str, fields: dict[str, Any]) -> None:
    assert packet.type == kind, f"expected {kind} {fields}, got {packet}"
    for name, wanted in fields.items():
        value = packet.properties.get(name) if name in codec.PROPERTIES else getattr(packet, name)
        assert value == wanted, f"{name} is {value!r}, not {wanted!r}, in {packet}"


def _hex(codes: tuple[int, ...]) -> str:
    return ", ".join(f"0x{code:02X}" for code in codes)
