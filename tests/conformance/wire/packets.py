"""Packets: bytes of those a client sends, strict reading of those a server sends.

The version argument is the protocol level: 3 (MQTT 3.1), 4 (3.1.1) or 5 (5.0).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from .codec import Properties, Reader, WireError, binary, properties_section, string, variable

TYPES = {
    1: "CONNECT",
    2: "CONNACK",
    3: "PUBLISH",
    4: "PUBACK",
    5: "PUBREC",
    6: "PUBREL",
    7: "PUBCOMP",
    8: "SUBSCRIBE",
    9: "SUBACK",
    10: "UNSUBSCRIBE",
    11: "UNSUBACK",
    12: "PINGREQ",
    13: "PINGRESP",
    14: "DISCONNECT",
    15: "AUTH",
}
NUMBERS = {name: number for number, name in TYPES.items()}
PINGREQ = b"\xc0\x00"

_NOTES = {"reason_string", "user_property"}
# What a server may put into each packet. MQTT 5.0 §2.2.2.2.
_ALLOWED = {
    "CONNACK": _NOTES
    | {
        "session_expiry_interval",
        "assigned_client_identifier",
        "server_keep_alive",
        "authentication_method",
        "authentication_data",
        "response_information",
        "server_reference",
        "receive_maximum",
        "topic_alias_maximum",
        "maximum_qos",
        "retain_available",
        "maximum_packet_size",
        "wildcard_subscription_available",
        "subscription_identifiers_available",
        "shared_subscription_available",
    },
    "PUBLISH": {
        "payload_format_indicator",
        "message_expiry_interval",
        "content_type",
        "response_topic",
        "correlation_data",
        "subscription_identifier",
        "topic_alias",
        "user_property",
    },
    # [MQTT-3.14.2-2]: a server's DISCONNECT has no session expiry interval.
    "DISCONNECT": _NOTES | {"server_reference"},
    "AUTH": _NOTES | {"authentication_method", "authentication_data"},
}
_FAILURES = {0x80, 0x83, 0x87, 0x97}
# The reason codes a server may send in each packet. MQTT 5.0 §2.4.
_CODES = {
    "CONNACK": {0x00, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, *range(0x99, 0xA0)} - {0x9E},
    "PUBACK": _FAILURES | {0x00, 0x10, 0x90, 0x91, 0x99},
    "PUBREC": _FAILURES | {0x00, 0x10, 0x90, 0x91, 0x99},
    "PUBREL": {0x00, 0x92},
    "PUBCOMP": {0x00, 0x92},
    "SUBACK": _FAILURES | {0x00, 0x01, 0x02, 0x8F, 0x91, 0x9E, 0xA1, 0xA2},
    "UNSUBACK": {0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91},
    "DISCONNECT": {0x00, *range(0x80, 0x84), 0x87, 0x89, *range(0x8B, 0x91)}
    | set(range(0x93, 0xA3)),
    "AUTH": {0x00, 0x18},
}
_CONNACK_RETURN_CODES = range(6)
_SUBACK_RETURN_CODES = {0, 1, 2, 0x80}


@dataclass(frozen=True)
class Will:
    """The will of a CONNECT; properties are sent at 5.0 only."""

    topic: str | bytes
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: Properties | bytes = field(default_factory=dict)


@dataclass(frozen=True)
class Packet:
    """A packet as the server sent it; fields that its type does not have stay at their default."""

    type: str
    flags: int = 0
    size: int = 0
    session_present: bool = False
    code: int = 0
    codes: tuple[int, ...] = ()
    packet_id: int = 0
    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    dup: bool = False
    retain: bool = False
    properties: Properties = field(default_factory=dict)


def frame(first: int, body: bytes = b"") -> bytes:
    """A packet of any first byte around any body, with the length that fits."""
    return bytes([first]) + variable(len(body)) + body


def connect(
    version: int,
    client_id: str | bytes = "",
    *,
    clean: bool = True,
    keep_alive: int = 60,
    will: Will | None = None,
    username: str | bytes | None = None,
    password: bytes | None = None,
    properties: Properties | bytes | None = None,
    protocol_name: str | bytes | None = None,
    level: int | None = None,
    flags: int | None = None,
) -> bytes:
    """CONNECT. protocol_name, level and flags replace what would follow from the rest."""
    if protocol_name is None:
        protocol_name = "MQIsdp" if version == 3 else "MQTT"
    if flags is None:
        flags = clean << 1 | (username is not None) << 7 | (password is not None) << 6
        if will is not None:
            flags |= 0x04 | will.qos << 3 | will.retain << 5
    body = string(protocol_name) + bytes([version if level is None else level, flags])
    body += keep_alive.to_bytes(2, "big")
    if version == 5:
        body += properties_section(properties or {})
    body += string(client_id)
    if will is not None:
        body += properties_section(will.properties) if version == 5 else b""
        body += string(will.topic) + binary(will.payload)
    body += string(username) if username is not None else b""
    body += binary(password) if password is not None else b""
    return frame(0x10, body)


def publish(
    version: int,
    topic: str | bytes,
    payload: bytes = b"",
    *,
    qos: int = 0,
    packet_id: int | None = None,
    retain: bool = False,
    dup: bool = False,
    properties: Properties | bytes | None = None,
) -> bytes:
    """PUBLISH; the packet identifier is written at QoS 1 and above."""
    body = string(topic)
    if qos:
        body += (packet_id or 0).to_bytes(2, "big")
    if version == 5:
        body += properties_section(properties or {})
    return frame(0x30 | dup << 3 | qos << 1 | retain, body + payload)


def acknowledgement(
    version: int,
    kind: str,
    packet_id: int,
    code: int = 0,
    properties: Properties | None = None,
) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP, in the shortest form that says it all."""
    body = packet_id.to_bytes(2, "big")
    if version == 5 and (code or properties):
        body += bytes([code])
        body += properties_section(properties) if properties else b""
    return frame(NUMBERS[kind] << 4 | (0x02 if kind == "PUBREL" else 0), body)


def subscribe(
    version: int,
    packet_id: int,
    filters: Iterable[tuple[str | bytes, int]],
    properties: Properties | bytes | None = None,
) -> bytes:
    """SUBSCRIBE for pairs of a filter and its options byte."""
    body = packet_id.to_bytes(2, "big")
    body += properties_section(properties or {}) if version == 5 else b""
    body += b"".join(string(topic_filter) + bytes([options]) for topic_filter, options in filters)
    return frame(0x82, body)


def unsubscribe(
    version: int,
    packet_id: int,
    filters: Iterable[str | bytes],
    properties: Properties | bytes | None = None,
) -> bytes:
    """UNSUBSCRIBE for any number of filters."""
    body = packet_id.to_bytes(2, "big")
    body += properties_section(properties or {}) if version == 5 else b""
    return frame(0xA2, body + b"".join(string(topic_filter) for topic_filter in filters))


def disconnect(version: int, code: int = 0, properties: Properties | None = None) -> bytes:
    """DISCONNECT; code and properties are sent at 5.0 only."""
    if version < 5 or not (code or properties):
        return frame(0xE0)
    return frame(0xE0, bytes([code]) + (properties_section(properties) if properties else b""))


def auth(code: int, properties: Properties | bytes | None = None) -> bytes:
    """AUTH with its reason code."""
    return frame(0xF0, bytes([code]) + properties_section(properties or {}))


def decode(version: int, first: int, body: bytes, size: int) -> Packet:
    """One packet of a server.

    Raises WireError where the server broke the format, used a property or reason code
    that the packet may not carry, or sent a packet that only clients send.
    """
    kind, flags = TYPES.get(first >> 4, "reserved"), first & 0x0F
    if kind not in {*_CODES, "PUBLISH", "PINGRESP"}:
        raise WireError(f"a server never sends {kind}")
    if kind != "PUBLISH" and flags != (0x02 if kind == "PUBREL" else 0):
        raise WireError(f"{kind} with fixed header flags {flags:04b} [MQTT-2.1.3-1]")
    reader = Reader(body)
    packet = _READERS[kind](version, kind, flags, size, reader)
    if reader.left:
        raise WireError(f"{reader.left} bytes behind the end of {kind}")
    return packet


def _read_connack(version: int, kind: str, flags: int, size: int, reader: Reader) -> Packet:
    acknowledge, code = reader.integer(1), reader.integer(1)
    if acknowledge > 1:
        raise WireError(f"CONNACK flags {acknowledge:08b} [MQTT-3.2.2-1]")
    if acknowledge and (code or version == 3):
        raise WireError("session present in a CONNACK that may not have it [MQTT-3.2.2-6]")
    # A refusal may come before the server knows the version; then it has no properties.
    properties = reader.properties(_ALLOWED[kind]) if version == 5 and reader.left else {}
    if version == 5:
        _check_code(kind, code)
    elif code not in _CONNACK_RETURN_CODES:
        raise WireError(f"CONNACK return code {code}")
    return Packet(
        kind, size=size, session_present=bool(acknowledge), code=code, properties=properties
    )


def _read_publish(version: int, kind: str, flags: int, size: int, reader: Reader) -> Packet:
    qos, dup, retain = flags >> 1 & 3, bool(flags & 8), bool(flags & 1)
    if qos == 3 or (dup and not qos):
        raise WireError(f"PUBLISH flags {flags:04b} [MQTT-3.3.1-2] [MQTT-3.3.1-4]")
    topic = reader.string()
    packet_id = reader.integer(2) if qos else 0
    if qos and not packet_id:
        raise WireError("packet identifier 0 [MQTT-2.2.1-4]")
    properties = reader.properties(_ALLOWED[kind]) if version == 5 else {}
    if "+" in topic or "#" in topic:
        raise WireError(f"wildcard in topic name {topic!r} [MQTT-3.3.2-2]")
    if not topic and "topic_alias" not in properties:
        raise WireError("empty topic name [MQTT-4.7.3-1]")
    if properties.get("topic_alias") == 0:
        raise WireError("topic alias 0 [MQTT-3.3.2-8]")
    return Packet(
        kind,
        flags=flags,
        size=size,
        topic=topic,
        packet_id=packet_id,
        qos=qos,
        dup=dup,
        retain=retain,
        properties=properties,
        payload=reader.rest(),
    )


def _read_acknowledgement(version: int, kind: str, flags: int, size: int, reader: Reader) -> Packet:
    packet_id = reader.integer(2)
    code = reader.integer(1) if version == 5 and reader.left else 0
    properties = reader.properties(_NOTES) if version == 5 and reader.left else {}
    _check_code(kind, code)
    return Packet(kind, size=size, packet_id=packet_id, code=code, properties=properties)


def _read_suback(version: int, kind: str, flags: int, size: int, reader: Reader) -> Packet:
    packet_id = reader.integer(2)
    properties = reader.properties(_NOTES) if version == 5 else {}
    codes = tuple(reader.rest())
    if version < 5 and kind == "UNSUBACK" and codes:
        raise WireError("UNSUBACK with a payload")
    for code in codes:
        if version < 5 and code not in _SUBACK_RETURN_CODES:
            raise WireError(f"SUBACK return code 0x{code:02X} [MQTT-3.9.3-2]")
        _check_code(kind, code)
    return Packet(kind, size=size, packet_id=packet_id, codes=codes, properties=properties)


def _read_disconnect(version: int, kind: str, flags: int, size: int, reader: Reader) -> Packet:
    if version < 5:
        raise WireError(f"a server of MQTT 3 never sends {kind}")
    code = reader.integer(1) if reader.left else 0
    properties = reader.properties(_ALLOWED[kind]) if reader.left else {}
    _check_code(kind, code)
    return Packet(kind, size=size, code=code, properties=properties)


def _read_pingresp(version: int, kind: str, flags: int, size: int, reader: Reader) -> Packet:
    return Packet(kind, size=size)


def _check_code(kind: str, code: int) -> None:
    if code not in _CODES[kind]:
        raise WireError(f"0x{code:02X} is not a reason code of {kind}")


_READERS = {
    "CONNACK": _read_connack,
    "PUBLISH": _read_publish,
    "PUBACK": _read_acknowledgement,
    "PUBREC": _read_acknowledgement,
    "PUBREL": _read_acknowledgement,
    "PUBCOMP": _read_acknowledgement,
    "SUBACK": _read_suback,
    "UNSUBACK": _read_suback,
    "PINGRESP": _read_pingresp,
    "DISCONNECT": _read_disconnect,
    "AUTH": _read_disconnect,
}
