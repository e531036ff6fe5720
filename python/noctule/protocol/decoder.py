"""Bytes into packets, for all packet types and versions.

This is the plain, complete decoder. A session parses the packets that come by the million
(PUBLISH and the acknowledgements) with code of its own, which must answer as this one does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from noctule.protocol._tables import (
    FIXED_HEADER_FLAGS,
    REASON_CODES,
    PacketType,
    PropertyId,
    PropertySection,
    ReasonCode,
    ReturnCode,
)
from noctule.protocol._wire import (
    decode_binary,
    decode_byte,
    decode_string,
    decode_two_bytes,
    decode_variable,
)
from noctule.protocol.errors import InvalidTopicError, MalformedPacketError, ProtocolError
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
from noctule.protocol.properties import NO_PROPERTIES, Properties, decode_properties
from noctule.protocol.topics import check_topic_filter, check_topic_name

__all__ = [
    "FixedHeader",
    "check_from_client",
    "check_from_server",
    "decode_fixed_header",
    "decode_packet",
]

PROTOCOL_NAMES = {3: "MQIsdp", 4: "MQTT", 5: "MQTT"}
BRIDGE_FLAG = 0x80
"""Mosquitto's bridges set it on the protocol level of 3.1 and 3.1.1."""

_Acknowledgement = TypeVar("_Acknowledgement", Puback, Pubrec, Pubrel, Pubcomp)


@dataclass(frozen=True, slots=True)
class FixedHeader:
    """The first two to five bytes: `first` byte, where the body starts and stops."""

    first: int
    start: int
    stop: int


def decode_fixed_header(data: bytes, offset: int = 0) -> FixedHeader | None:
    """The fixed header at `offset`; None if more bytes are needed to know it.

    MalformedPacketError for a remaining length of more than four bytes, or in more than it needs.
    """
    available = data[offset + 1 : offset + 5]
    if len(available) < 4 and all(byte >= 0x80 for byte in available):
        return None
    remaining, start = decode_variable(data, offset + 1, len(data))
    return FixedHeader(data[offset], start, start + remaining)


def decode_packet(version: Version | int, data: bytes) -> Packet:
    """The one packet that `data` is, whole and alone.

    Raises MalformedPacketError or ProtocolError with the reason code to answer with. A CONNECT
    says its own version; `version` is what the others are read as.
    """
    header = decode_fixed_header(data)
    if header is None or header.stop > len(data):
        raise MalformedPacketError("the packet is not whole")
    if header.stop < len(data):
        raise MalformedPacketError("bytes behind the packet")
    try:
        kind = PacketType(header.first >> 4)
    except ValueError:
        raise MalformedPacketError(f"packet type {header.first >> 4} is reserved") from None
    return decode_body(Version(version), kind, header, data)


def decode_body(version: Version, kind: PacketType, header: FixedHeader, data: bytes) -> Packet:
    """The packet of a known type between `header.start` and `header.stop` of `data`."""
    if kind is PacketType.AUTH and version < 5:
        raise MalformedPacketError("packet type 15 is reserved before 5.0")
    flags = header.first & 0x0F
    if kind is PacketType.PUBLISH:
        return _decode_publish(version, flags, data, header.start, header.stop)
    expected = FIXED_HEADER_FLAGS[kind]
    if version == 3 and expected:
        flags &= 0b0111  # MQTT 3.1 sets DUP on PUBREL and requests that are sent again.
    if flags != expected:
        raise MalformedPacketError(f"fixed header flags {flags:04b} on {kind.name}")
    return _DECODERS[kind](version, data, header.start, header.stop)


def _section(
    version: Version, section: PropertySection, data: bytes, offset: int, stop: int
) -> tuple[Properties, int]:
    if version < 5:
        return NO_PROPERTIES, offset
    return decode_properties(section, data, offset, stop)


def _end(kind: str, offset: int, stop: int) -> None:
    if offset != stop:
        raise MalformedPacketError(f"{stop - offset} bytes behind the end of {kind}")


def _packet_identifier(data: bytes, offset: int, stop: int) -> tuple[int, int]:
    identifier, offset = decode_two_bytes(data, offset, stop)
    if identifier == 0:
        raise MalformedPacketError("packet identifier 0")
    return identifier, offset


def _reason(kind: PacketType, value: int) -> ReasonCode:
    """The reason code, if it stands in the list of this packet, MQTT 5.0 §2.4."""
    try:
        code = ReasonCode(value)
    except ValueError:
        raise ProtocolError(f"reason code 0x{value:02X} does not exist") from None
    if kind not in REASON_CODES[code]:
        raise ProtocolError(f"reason code 0x{value:02X} is not one of {kind.name}")
    return code


# --- CONNECT and CONNACK --------------------------------------------------------------


def _decode_connect(version: Version, data: bytes, offset: int, stop: int) -> Connect:
    name, offset = decode_string(data, offset, stop)
    level, offset = decode_byte(data, offset, stop)
    plain_level = level & ~BRIDGE_FLAG if level & ~BRIDGE_FLAG in (3, 4) else level
    if name not in PROTOCOL_NAMES.values():
        raise ProtocolError(f"protocol name {name!r}", ReasonCode.UNSUPPORTED_PROTOCOL_VERSION)
    if PROTOCOL_NAMES.get(plain_level) != name:
        raise ProtocolError(
            f"protocol level {level} of {name}", ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
        )
    version = Version(plain_level)
    flags, offset = decode_byte(data, offset, stop)
    _check_connect_flags(version, flags)
    keep_alive, offset = decode_two_bytes(data, offset, stop)
    properties, offset = _section(version, PropertySection.CONNECT, data, offset, stop)
    _check_authentication(properties)
    client_identifier, offset = decode_string(data, offset, stop)
    will = user_name = password = None
    if flags & 0x04:
        will, offset = _decode_will(version, flags, data, offset, stop)
    # MQTT 3.1 allows the fields to be missing although their flags are set.
    if flags & 0x80 and (version > 3 or offset < stop):
        user_name, offset = decode_string(data, offset, stop)
    if flags & 0x40 and (version > 3 or offset < stop):
        password, offset = decode_binary(data, offset, stop)
    _end("CONNECT", offset, stop)
    return Connect(
        version,
        client_identifier,
        bool(flags & 0x02),
        keep_alive,
        user_name,
        password,
        will,
        properties,
    )


def _check_connect_flags(version: Version, flags: int) -> None:
    if flags & 0xC0 == 0x40 and version < 5:
        raise MalformedPacketError("a password without a user name")
    if flags & 0x1C == 0x1C:
        raise MalformedPacketError("will QoS 3 [MQTT-3.1.2-12]")
    if version == 3:
        return  # It leaves the other bits without a meaning.
    if flags & 0x01:
        raise MalformedPacketError("the reserved connect flag is set [MQTT-3.1.2-3]")
    if not flags & 0x04 and flags & 0x38:
        raise MalformedPacketError("will QoS or will retain without a will")


def _check_authentication(properties: Properties) -> None:
    if properties.binary(PropertyId.AUTHENTICATION_DATA) is None:
        return
    if properties.string(PropertyId.AUTHENTICATION_METHOD) is None:
        raise ProtocolError("authentication data without an authentication method")


def _decode_will(
    version: Version, flags: int, data: bytes, offset: int, stop: int
) -> tuple[WillPacket, int]:
    properties, offset = _section(version, PropertySection.WILL, data, offset, stop)
    topic, offset = decode_string(data, offset, stop)
    _check_name(topic)
    _check_response_topic(properties)
    payload, offset = decode_binary(data, offset, stop)
    return WillPacket(topic, payload, flags >> 3 & 3, bool(flags & 0x20), properties), offset


def _check_name(topic: str) -> None:
    try:
        check_topic_name(topic)
    except InvalidTopicError as error:
        raise ProtocolError(str(error), ReasonCode.TOPIC_NAME_INVALID) from error


def _check_response_topic(properties: Properties) -> None:
    """[MQTT-3.3.2-14]"""
    response_topic = properties.string(PropertyId.RESPONSE_TOPIC)
    if response_topic is None:
        return
    try:
        check_topic_name(response_topic)
    except InvalidTopicError as error:
        raise ProtocolError(f"response topic: {error}") from error


def _decode_connack(version: Version, data: bytes, offset: int, stop: int) -> Connack:
    flags, offset = decode_byte(data, offset, stop)
    if version == 3:
        flags = 0  # The byte is reserved there: sessions are not spoken of.
    elif flags > 1:
        raise MalformedPacketError("reserved CONNACK flags are set")
    value, offset = decode_byte(data, offset, stop)
    if version < 5:
        if value > max(ReturnCode):
            raise MalformedPacketError(f"return code {value} is reserved")
        _check_refusal(flags, value)
        _end("CONNACK", offset, stop)
        return Connack(bool(flags), value)
    code = _reason(PacketType.CONNACK, value)
    _check_refusal(flags, code)
    properties, offset = decode_properties(PropertySection.CONNACK, data, offset, stop)
    _check_authentication(properties)
    _end("CONNACK", offset, stop)
    return Connack(bool(flags), code, properties)


def _check_refusal(session_present: int, code: int) -> None:
    if session_present and code:
        raise ProtocolError("a refusing CONNACK with session present [MQTT-3.2.2-6]")


# --- PUBLISH and its acknowledgements -------------------------------------------------


def _decode_publish(version: Version, flags: int, data: bytes, offset: int, stop: int) -> Publish:
    qos = flags >> 1 & 3
    dup = bool(flags & 0x08)
    if qos == 3:
        raise MalformedPacketError("QoS 3 [MQTT-3.3.1-4]")
    if dup and qos == 0:
        if version > 3:
            raise MalformedPacketError("DUP on QoS 0 [MQTT-3.3.1-2]")
        dup = False  # MQTT 3.1 does not forbid it there, where it says nothing.
    topic, offset = decode_string(data, offset, stop)
    identifier = 0
    if qos:
        identifier, offset = _packet_identifier(data, offset, stop)
    properties, offset = _section(version, PropertySection.PUBLISH, data, offset, stop)
    if topic or properties.integer(PropertyId.TOPIC_ALIAS) is None:
        _check_published_name(topic)
    _check_response_topic(properties)
    return Publish(topic, data[offset:stop], qos, bool(flags & 0x01), dup, identifier, properties)


def _check_published_name(topic: str) -> None:
    if not topic:
        raise ProtocolError("an empty topic name and no topic alias")
    _check_name(topic)


def _decode_acknowledgement(
    kind: PacketType, packet: type[_Acknowledgement]
) -> Callable[[Version, bytes, int, int], _Acknowledgement]:
    section = PropertySection(kind)

    def decode(version: Version, data: bytes, offset: int, stop: int) -> _Acknowledgement:
        identifier, offset = _packet_identifier(data, offset, stop)
        if offset == stop:
            return packet(identifier)
        if version < 5:
            _end(kind.name, offset, stop)
        code = _reason(kind, data[offset])
        offset += 1
        if offset == stop:
            return packet(identifier, code)
        properties, offset = decode_properties(section, data, offset, stop)
        _end(kind.name, offset, stop)
        return packet(identifier, code, properties)

    return decode


# --- SUBSCRIBE, UNSUBSCRIBE and their answers -----------------------------------------


def _decode_subscribe(version: Version, data: bytes, offset: int, stop: int) -> Subscribe:
    identifier, offset = _packet_identifier(data, offset, stop)
    properties, offset = _section(version, PropertySection.SUBSCRIBE, data, offset, stop)
    requests = []
    while offset < stop:
        topic_filter, offset = decode_string(data, offset, stop)
        options, offset = decode_byte(data, offset, stop)
        _check_subscription_options(version, options)
        requests.append(
            SubscriptionRequest(
                topic_filter, options & 3, bool(options & 4), bool(options & 8), options >> 4 & 3
            )
        )
    if not requests:
        raise ProtocolError("SUBSCRIBE without a topic filter [MQTT-3.8.3-2]")
    return Subscribe(identifier, tuple(requests), properties)


def _check_subscription_options(version: Version, options: int) -> None:
    if options & 3 == 3:
        raise MalformedPacketError("QoS 3 is asked for")
    if options & (0xC0 if version >= 5 else 0xFC):
        raise MalformedPacketError("reserved subscription option bits are set [MQTT-3.8.3-5]")
    if options & 0x30 == 0x30:
        raise ProtocolError("retain handling 3")


def _decode_suback(version: Version, data: bytes, offset: int, stop: int) -> Suback:
    identifier, offset = _packet_identifier(data, offset, stop)
    properties, offset = _section(version, PropertySection.SUBACK, data, offset, stop)
    values = data[offset:stop]
    if not values:
        raise MalformedPacketError("SUBACK without a reason code")
    if version < 5 and any(value not in (0, 1, 2, 0x80) for value in values):
        raise MalformedPacketError("a reserved return code in SUBACK")
    codes = tuple(_reason(PacketType.SUBACK, value) for value in values)
    return Suback(identifier, codes, properties)


def _decode_unsubscribe(version: Version, data: bytes, offset: int, stop: int) -> Unsubscribe:
    identifier, offset = _packet_identifier(data, offset, stop)
    properties, offset = _section(version, PropertySection.UNSUBSCRIBE, data, offset, stop)
    filters = []
    while offset < stop:
        topic_filter, offset = decode_string(data, offset, stop)
        filters.append(topic_filter)
    if not filters:
        raise ProtocolError("UNSUBSCRIBE without a topic filter [MQTT-3.10.3-2]")
    return Unsubscribe(identifier, tuple(filters), properties)


def _decode_unsuback(version: Version, data: bytes, offset: int, stop: int) -> Unsuback:
    identifier, offset = _packet_identifier(data, offset, stop)
    if version < 5:
        _end("UNSUBACK", offset, stop)
        return Unsuback(identifier)
    properties, offset = decode_properties(PropertySection.UNSUBACK, data, offset, stop)
    values = data[offset:stop]
    if not values:
        raise MalformedPacketError("UNSUBACK without a reason code")
    codes = tuple(_reason(PacketType.UNSUBACK, value) for value in values)
    return Unsuback(identifier, codes, properties)


# --- The rest -------------------------------------------------------------------------


def _decode_pingreq(version: Version, data: bytes, offset: int, stop: int) -> Pingreq:
    _end("PINGREQ", offset, stop)
    return Pingreq()


def _decode_pingresp(version: Version, data: bytes, offset: int, stop: int) -> Pingresp:
    _end("PINGRESP", offset, stop)
    return Pingresp()


def _decode_disconnect(version: Version, data: bytes, offset: int, stop: int) -> Disconnect:
    if offset == stop:
        return Disconnect()
    if version < 5:
        _end("DISCONNECT", offset, stop)
    code = _reason(PacketType.DISCONNECT, data[offset])
    offset += 1
    if offset == stop:
        return Disconnect(code)
    properties, offset = decode_properties(PropertySection.DISCONNECT, data, offset, stop)
    _end("DISCONNECT", offset, stop)
    return Disconnect(code, properties)


def _decode_auth(version: Version, data: bytes, offset: int, stop: int) -> Auth:
    if offset == stop:
        return Auth()
    code = _reason(PacketType.AUTH, data[offset])
    offset += 1
    properties = NO_PROPERTIES
    if offset < stop:
        properties, offset = decode_properties(PropertySection.AUTH, data, offset, stop)
    _end("AUTH", offset, stop)
    if properties.string(PropertyId.AUTHENTICATION_METHOD) is None:
        raise ProtocolError("AUTH without an authentication method")
    return Auth(code, properties)


_DECODERS: dict[PacketType, Callable[[Version, bytes, int, int], Packet]] = {
    PacketType.CONNECT: _decode_connect,
    PacketType.CONNACK: _decode_connack,
    PacketType.PUBACK: _decode_acknowledgement(PacketType.PUBACK, Puback),
    PacketType.PUBREC: _decode_acknowledgement(PacketType.PUBREC, Pubrec),
    PacketType.PUBREL: _decode_acknowledgement(PacketType.PUBREL, Pubrel),
    PacketType.PUBCOMP: _decode_acknowledgement(PacketType.PUBCOMP, Pubcomp),
    PacketType.SUBSCRIBE: _decode_subscribe,
    PacketType.SUBACK: _decode_suback,
    PacketType.UNSUBSCRIBE: _decode_unsubscribe,
    PacketType.UNSUBACK: _decode_unsuback,
    PacketType.PINGREQ: _decode_pingreq,
    PacketType.PINGRESP: _decode_pingresp,
    PacketType.DISCONNECT: _decode_disconnect,
    PacketType.AUTH: _decode_auth,
}


# --- Who may say what -----------------------------------------------------------------


def check_from_client(version: Version | int, packet: Packet) -> None:
    """ProtocolError for a packet that is sound, but not from a client to a server."""
    match packet:
        case Connack() | Suback() | Unsuback() | Pingresp():
            raise ProtocolError(f"{type(packet).__name__.upper()} from a client")
        case Publish(properties=properties) if properties.subscription_identifiers:
            raise ProtocolError("a client's PUBLISH has a subscription identifier [MQTT-3.3.4-6]")
        case Connect(version=own, client_identifier="", clean_start=False) if own < 5:
            raise ProtocolError(
                "an empty client identifier with clean session 0 [MQTT-3.1.3-7]",
                ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
            )
        case Subscribe(requests=requests):
            for request in requests:
                _check_filter(version, request.topic_filter)
                if request.no_local and request.topic_filter.startswith("$share/"):
                    raise ProtocolError("no local on a shared subscription [MQTT-3.8.3-4]")
        case Unsubscribe(topic_filters=topic_filters):
            for topic_filter in topic_filters:
                _check_filter(version, topic_filter)


def check_from_server(version: Version | int, packet: Packet) -> None:
    """ProtocolError for a packet that is sound, but not from a server to a client."""
    match packet:
        case Connect() | Subscribe() | Unsubscribe() | Pingreq():
            raise ProtocolError(f"{type(packet).__name__.upper()} from a server")
        case Disconnect() if version < 5:
            raise ProtocolError("DISCONNECT from a server before 5.0")
        case Disconnect(reason_code=ReasonCode.DISCONNECT_WITH_WILL_MESSAGE):
            raise ProtocolError("DISCONNECT 0x04 from a server")
        case Disconnect(properties=properties):
            if properties.integer(PropertyId.SESSION_EXPIRY_INTERVAL) is not None:
                raise ProtocolError("a server's DISCONNECT has a session expiry [MQTT-3.14.2-2]")
        case Auth(reason_code=ReasonCode.RE_AUTHENTICATE):
            raise ProtocolError("AUTH 0x19 from a server")


def _check_filter(version: Version | int, topic_filter: str) -> None:
    if version < 5 and topic_filter.startswith("$share"):
        return  # Shared subscriptions came with 5.0; before, it is a filter like any other.
    try:
        check_topic_filter(topic_filter)
    except InvalidTopicError as error:
        raise ProtocolError(str(error), ReasonCode.TOPIC_FILTER_INVALID) from error
