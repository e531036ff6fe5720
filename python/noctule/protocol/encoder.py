"""Packets into bytes, for all packet types and versions.

InvalidArgumentError is raised for what the decoder of the other side would refuse, so that a
program's mistake is named where it was made and never reaches the network.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from noctule.protocol._tables import (
    FIXED_HEADER_FLAGS,
    REASON_CODES,
    PacketType,
    PropertyId,
    PropertySection,
    ReasonCode,
)
from noctule.protocol._wire import TWO_BYTES, encode_binary, encode_string, encode_variable
from noctule.protocol.errors import InvalidArgumentError
from noctule.protocol.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Unsuback,
    Unsubscribe,
    Version,
    WillPacket,
)
from noctule.protocol.properties import Properties, encode_properties
from noctule.protocol.topics import check_topic_filter, check_topic_name

__all__ = ["encode_packet"]


def encode_packet(version: Version | int, packet: Packet) -> bytes:
    """The bytes of `packet` in `version`; CONNECT says its own version.

    Before 5.0 properties and the reason codes of acknowledgements are left out.
    """
    return _ENCODERS[type(packet)](Version(version), packet)


def _frame(kind: PacketType, body: bytes | bytearray, flags: int | None = None) -> bytes:
    first = kind << 4 | (FIXED_HEADER_FLAGS[kind] if flags is None else flags)
    return bytes((first,)) + encode_variable(len(body)) + body


def _section(version: Version, section: PropertySection, properties: Properties) -> bytes:
    return encode_properties(section, properties) if version >= 5 else b""


def _identifier(value: int) -> bytes:
    if not 1 <= value <= 0xFFFF:
        raise InvalidArgumentError(f"packet identifier {value}; it can be 1 to 65535")
    return TWO_BYTES.pack(value)


def _check_reason(kind: PacketType, code: int) -> None:
    try:
        allowed = REASON_CODES[ReasonCode(code)]
    except ValueError:
        allowed = frozenset()
    if kind not in allowed:
        raise InvalidArgumentError(f"reason code 0x{code:02X} is not one of {kind.name}")


def _check_response_topic(properties: Properties) -> None:
    response_topic = properties.string(PropertyId.RESPONSE_TOPIC)
    if response_topic is not None:
        check_topic_name(response_topic)


def _encode_connect(_: Version, packet: Connect) -> bytes:
    version = packet.version
    _check_connect(packet)
    name = "MQIsdp" if version == Version.V3_1 else "MQTT"
    flags = (
        (0x80 if packet.user_name is not None else 0)
        | (0x40 if packet.password is not None else 0)
        | (0x02 if packet.clean_start else 0)
        | (_will_flags(packet.will) if packet.will is not None else 0)
    )
    body = bytearray(encode_string(name))
    body += bytes((version, flags))
    body += TWO_BYTES.pack(packet.keep_alive)
    body += _section(version, PropertySection.CONNECT, packet.properties)
    body += encode_string(packet.client_identifier)
    if packet.will is not None:
        body += _encode_will(version, packet.will)
    if packet.user_name is not None:
        body += encode_string(packet.user_name)
    if packet.password is not None:
        body += encode_binary(packet.password)
    return _frame(PacketType.CONNECT, body)


def _check_connect(packet: Connect) -> None:
    if not 0 <= packet.keep_alive <= 0xFFFF:
        raise InvalidArgumentError(f"keep alive {packet.keep_alive}; it can be 0 to 65535 seconds")
    if packet.version >= 5:
        if (
            packet.properties.binary(PropertyId.AUTHENTICATION_DATA) is not None
            and packet.properties.string(PropertyId.AUTHENTICATION_METHOD) is None
        ):
            raise InvalidArgumentError("authentication data without an authentication method")
        return
    if packet.password is not None and packet.user_name is None:
        raise InvalidArgumentError("before 5.0 a password needs a user name")
    if not packet.client_identifier and not packet.clean_start:
        raise InvalidArgumentError("before 5.0 an empty client identifier needs a clean session")


def _will_flags(will: WillPacket) -> int:
    if will.qos not in (0, 1, 2):
        raise InvalidArgumentError(f"will QoS {will.qos}; it can be 0, 1 or 2")
    return 0x04 | will.qos << 3 | (0x20 if will.retain else 0)


def _encode_will(version: Version, will: WillPacket) -> bytes:
    check_topic_name(will.topic)
    _check_response_topic(will.properties)
    return (
        _section(version, PropertySection.WILL, will.properties)
        + encode_string(will.topic)
        + encode_binary(will.payload)
    )


def _encode_connack(version: Version, packet: Connack) -> bytes:
    if version < 5:
        is_present = packet.session_present and version > 3
        return _frame(PacketType.CONNACK, bytes((is_present, packet.reason_code)))
    _check_reason(PacketType.CONNACK, packet.reason_code)
    properties = encode_properties(PropertySection.CONNACK, packet.properties)
    head = bytes((packet.session_present, packet.reason_code))
    return _frame(PacketType.CONNACK, head + properties)


def _encode_publish(version: Version, packet: Publish) -> bytes:
    if packet.qos not in (0, 1, 2):
        raise InvalidArgumentError(f"QoS {packet.qos}; it can be 0, 1 or 2")
    if packet.dup and packet.qos == 0:
        raise InvalidArgumentError("DUP on QoS 0")
    if packet.topic or packet.properties.integer(PropertyId.TOPIC_ALIAS) is None:
        check_topic_name(packet.topic)
    _check_response_topic(packet.properties)
    body = (
        encode_string(packet.topic)
        + (_identifier(packet.packet_identifier) if packet.qos else b"")
        + _section(version, PropertySection.PUBLISH, packet.properties)
        + packet.payload
    )
    flags = packet.dup << 3 | packet.qos << 1 | packet.retain
    return _frame(PacketType.PUBLISH, body, flags)


def _encode_acknowledgement(
    kind: PacketType, version: Version, packet: Puback | Pubrec | Pubrel | Pubcomp
) -> bytes:
    """The shortest of the three forms that 5.0 has, MQTT 5.0 §3.4.2.1."""
    body = _identifier(packet.packet_identifier)
    if version < 5 or (packet.reason_code == 0 and not packet.properties):
        return _frame(kind, body)
    _check_reason(kind, packet.reason_code)
    body += bytes((packet.reason_code,))
    if packet.properties:
        body += encode_properties(PropertySection(kind), packet.properties)
    return _frame(kind, body)


def _encode_subscribe(version: Version, packet: Subscribe) -> bytes:
    if not packet.requests:
        raise InvalidArgumentError("SUBSCRIBE needs a topic filter")
    body = bytearray(_identifier(packet.packet_identifier))
    body += _section(version, PropertySection.SUBSCRIBE, packet.properties)
    for request in packet.requests:
        check_topic_filter(request.topic_filter)
        body += encode_string(request.topic_filter)
        body.append(_subscription_options(version, request))
    return _frame(PacketType.SUBSCRIBE, body)


def _subscription_options(version: Version, request: SubscriptionRequest) -> int:
    if request.qos not in (0, 1, 2):
        raise InvalidArgumentError(f"QoS {request.qos}; it can be 0, 1 or 2")
    if version < 5:
        return request.qos
    if request.retain_handling not in (0, 1, 2):
        raise InvalidArgumentError(f"retain handling {request.retain_handling}; 0, 1 and 2 exist")
    if request.no_local and request.topic_filter.startswith("$share/"):
        raise InvalidArgumentError("no local on a shared subscription [MQTT-3.8.3-4]")
    return (
        request.qos
        | request.no_local << 2
        | request.retain_as_published << 3
        | request.retain_handling << 4
    )


def _encode_suback(version: Version, packet: Suback) -> bytes:
    for code in packet.reason_codes:
        _check_reason(PacketType.SUBACK, code)
    return _frame(
        PacketType.SUBACK,
        _identifier(packet.packet_identifier)
        + _section(version, PropertySection.SUBACK, packet.properties)
        + bytes(packet.reason_codes),
    )


def _encode_unsubscribe(version: Version, packet: Unsubscribe) -> bytes:
    if not packet.topic_filters:
        raise InvalidArgumentError("UNSUBSCRIBE needs a topic filter")
    body = bytearray(_identifier(packet.packet_identifier))
    body += _section(version, PropertySection.UNSUBSCRIBE, packet.properties)
    for topic_filter in packet.topic_filters:
        check_topic_filter(topic_filter)
        body += encode_string(topic_filter)
    return _frame(PacketType.UNSUBSCRIBE, body)


def _encode_unsuback(version: Version, packet: Unsuback) -> bytes:
    body = _identifier(packet.packet_identifier)
    if version >= 5:
        for code in packet.reason_codes:
            _check_reason(PacketType.UNSUBACK, code)
        body += encode_properties(PropertySection.UNSUBACK, packet.properties)
        body += bytes(packet.reason_codes)
    return _frame(PacketType.UNSUBACK, body)


def _encode_pingreq(_: Version, packet: Pingreq) -> bytes:
    return b"\xc0\0"


def _encode_pingresp(_: Version, packet: Pingresp) -> bytes:
    return b"\xd0\0"


def _encode_disconnect(version: Version, packet: Disconnect) -> bytes:
    if version < 5 or (packet.reason_code == 0 and not packet.properties):
        return b"\xe0\0"
    return _frame(PacketType.DISCONNECT, _code_and_properties(PacketType.DISCONNECT, packet))


def _encode_auth(version: Version, packet: Auth) -> bytes:
    if version < 5:
        raise InvalidArgumentError("AUTH came with 5.0")
    if packet.reason_code == 0 and not packet.properties:
        return b"\xf0\0"
    return _frame(PacketType.AUTH, _code_and_properties(PacketType.AUTH, packet))


def _code_and_properties(kind: PacketType, packet: Disconnect | Auth) -> bytes:
    _check_reason(kind, packet.reason_code)
    body = bytes((packet.reason_code,))
    if packet.properties:
        body += encode_properties(PropertySection(kind), packet.properties)
    return body


_ENCODERS: dict[type[Packet], Callable[[Version, Any], bytes]] = {
    Connect: _encode_connect,
    Connack: _encode_connack,
    Publish: _encode_publish,
    Puback: partial(_encode_acknowledgement, PacketType.PUBACK),
    Pubrec: partial(_encode_acknowledgement, PacketType.PUBREC),
    Pubrel: partial(_encode_acknowledgement, PacketType.PUBREL),
    Pubcomp: partial(_encode_acknowledgement, PacketType.PUBCOMP),
    Subscribe: _encode_subscribe,
    Suback: _encode_suback,
    Unsubscribe: _encode_unsubscribe,
    Unsuback: _encode_unsuback,
    Pingreq: _encode_pingreq,
    Pingresp: _encode_pingresp,
    Disconnect: _encode_disconnect,
    Auth: _encode_auth,
}
