"""-d: a line for each packet, in the form that Mosquitto's tools have."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from noctule.protocol import ClientSession, decode_fixed_header, decode_packet
from noctule.protocol.errors import NoctuleError
from noctule.protocol.packets import (
    Connack,
    Disconnect,
    Packet,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Unsubscribe,
)
from noctule.protocol.session import Phase

__all__ = ["tracer"]


def tracer(session: ClientSession) -> Callable[[str, bytes], None]:
    """Prints the packets that are in the bytes of one direction, in pieces of any size."""
    held = {"sending": bytearray(), "received": bytearray()}

    def trace(direction: str, data: bytes) -> None:
        if session.phase is Phase.CONNECTING and direction == "sending":
            for buffer in held.values():
                buffer.clear()  # Another connection.
        buffer = held[direction]
        buffer += data
        who = session.client_identifier or "(null)"
        for packet in _packets(session, buffer):
            if isinstance(packet, Connack):
                who = session.client_identifier or _assigned(packet) or who
            for line in lines(direction, packet):
                print(line if line.startswith("Subscribed") else f"Client {who} {line}")
        sys.stdout.flush()

    return trace


def _packets(session: ClientSession, buffer: bytearray) -> Iterator[Packet]:
    while buffer:
        try:
            header = decode_fixed_header(bytes(buffer[:5]))
            if header is None or len(buffer) < header.stop:
                return
            packet = decode_packet(session.options.version, bytes(buffer[: header.stop]))
        except NoctuleError:
            buffer.clear()  # The session says what is wrong.
            return
        del buffer[: header.stop]
        yield packet


def _assigned(packet: Connack) -> str | None:
    from noctule.protocol import PropertyId

    return packet.properties.string(PropertyId.ASSIGNED_CLIENT_IDENTIFIER)


def lines(direction: str, packet: Packet) -> Iterator[str]:
    """What is printed for a packet, without the client's name."""
    said = f"{direction} {type(packet).__name__.upper()}"
    match packet:
        case Connack():
            yield f"{said} ({packet.reason_code})"
        case Subscribe():
            for request in packet.requests:
                options = (
                    request.no_local << 2
                    | request.retain_as_published << 3
                    | request.retain_handling << 4
                )
                yield (
                    f"{said} (Mid: {packet.packet_identifier}, Topic: {request.topic_filter}, "
                    f"QoS: {request.qos}, Options: 0x{options:02x})"
                )
        case Unsubscribe():
            for topic_filter in packet.topic_filters:
                yield f"{said} (Mid: {packet.packet_identifier}, Topic: {topic_filter})"
        case Suback():
            yield said
            codes = ", ".join(str(int(code)) for code in packet.reason_codes)
            yield f"Subscribed (mid: {packet.packet_identifier}): {codes}"
        case Publish():
            yield (
                f"{said} (d{packet.dup:d}, q{packet.qos}, r{packet.retain:d}, "
                f"m{packet.packet_identifier}, '{packet.topic}', "
                f"... ({len(packet.payload)} bytes))"
            )
        case Pubrel() if direction == "sending":
            yield f"{said} (m{packet.packet_identifier})"
        case Puback() | Pubcomp() if direction == "received":
            yield f"{said} (Mid: {packet.packet_identifier}, RC:{int(packet.reason_code)})"
        case Puback() | Pubrec() | Pubrel() | Pubcomp():
            mid = packet.packet_identifier
            yield f"{said} ({'Mid: ' if direction == 'received' else 'm'}{mid})"
        case Disconnect() if direction == "received":
            yield f"{said} ({int(packet.reason_code)})"
        case _:
            yield said
