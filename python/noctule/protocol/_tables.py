"""The protocol's tables: packet types, properties, reason codes.

Generated from ``spec/mqtt.toml`` by ``tools/generate_tables.py``; change the table, not
this file. Sources: MQTT 5.0 §2.1.2, §2.2.2.2 and §2.4; MQTT 3.1.1 §3.2.2.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final

__all__ = [
    "FIXED_HEADER_FLAGS",
    "PROPERTIES",
    "REASON_CODES",
    "RETURN_CODES",
    "PacketType",
    "PropertyDefinition",
    "PropertyId",
    "PropertySection",
    "PropertyType",
    "ReasonCode",
    "ReturnCode",
]


class PacketType(IntEnum):
    """The control packets; the value is the upper half of a packet's first byte."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


FIXED_HEADER_FLAGS: Final[Mapping[PacketType, int]] = MappingProxyType(
    {
        PacketType.CONNECT: 0b0000,
        PacketType.CONNACK: 0b0000,
        PacketType.PUBACK: 0b0000,
        PacketType.PUBREC: 0b0000,
        PacketType.PUBREL: 0b0010,
        PacketType.PUBCOMP: 0b0000,
        PacketType.SUBSCRIBE: 0b0010,
        PacketType.SUBACK: 0b0000,
        PacketType.UNSUBSCRIBE: 0b0010,
        PacketType.UNSUBACK: 0b0000,
        PacketType.PINGREQ: 0b0000,
        PacketType.PINGRESP: 0b0000,
        PacketType.DISCONNECT: 0b0000,
        PacketType.AUTH: 0b0000,
    }
)
"""The flags a packet must carry in its first byte; PUBLISH has its own."""


class PropertyType(Enum):
    """The data types of property values, MQTT 5.0 §1.5."""

    BYTE = "byte"
    TWO_BYTE_INTEGER = "two byte integer"
    FOUR_BYTE_INTEGER = "four byte integer"
    VARIABLE_BYTE_INTEGER = "variable byte integer"
    UTF_8_STRING = "utf-8 string"
    BINARY_DATA = "binary data"
    UTF_8_STRING_PAIR = "utf-8 string pair"


class PropertySection(IntEnum):
    """Where properties stand: a packet, by its type's value, or CONNECT's will."""

    WILL = 0
    CONNECT = PacketType.CONNECT
    CONNACK = PacketType.CONNACK
    PUBLISH = PacketType.PUBLISH
    PUBACK = PacketType.PUBACK
    PUBREC = PacketType.PUBREC
    PUBREL = PacketType.PUBREL
    PUBCOMP = PacketType.PUBCOMP
    SUBSCRIBE = PacketType.SUBSCRIBE
    SUBACK = PacketType.SUBACK
    UNSUBSCRIBE = PacketType.UNSUBSCRIBE
    UNSUBACK = PacketType.UNSUBACK
    PINGREQ = PacketType.PINGREQ
    PINGRESP = PacketType.PINGRESP
    DISCONNECT = PacketType.DISCONNECT
    AUTH = PacketType.AUTH


class PropertyId(IntEnum):
    """The property identifiers, MQTT 5.0 §2.2.2.2."""

    PAYLOAD_FORMAT_INDICATOR = 0x01
    MESSAGE_EXPIRY_INTERVAL = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_IDENTIFIER = 0x0B
    SESSION_EXPIRY_INTERVAL = 0x11
    ASSIGNED_CLIENT_IDENTIFIER = 0x12
    SERVER_KEEP_ALIVE = 0x13
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    REQUEST_PROBLEM_INFORMATION = 0x17
    WILL_DELAY_INTERVAL = 0x18
    REQUEST_RESPONSE_INFORMATION = 0x19
    RESPONSE_INFORMATION = 0x1A
    SERVER_REFERENCE = 0x1C
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER_PROPERTY = 0x26
    MAXIMUM_PACKET_SIZE = 0x27
    WILDCARD_SUBSCRIPTION_AVAILABLE = 0x28
    SUBSCRIPTION_IDENTIFIER_AVAILABLE = 0x29
    SHARED_SUBSCRIPTION_AVAILABLE = 0x2A


class ReasonCode(IntEnum):
    """The reason codes, MQTT 5.0 §2.4.

    From 0x80 upwards they are errors. A value with several names has the first as its
    own and the others as aliases.
    """

    SUCCESS = 0x00
    NORMAL_DISCONNECTION = 0x00
    GRANTED_QOS_0 = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL_MESSAGE = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2


class ReturnCode(IntEnum):
    """The return codes of CONNACK before 5.0, MQTT 3.1.1 §3.2.2.3."""

    CONNECTION_ACCEPTED = 0x00
    UNACCEPTABLE_PROTOCOL_VERSION = 0x01
    IDENTIFIER_REJECTED = 0x02
    SERVER_UNAVAILABLE = 0x03
    BAD_USER_NAME_OR_PASSWORD = 0x04
    NOT_AUTHORIZED = 0x05


@dataclass(frozen=True, slots=True)
class PropertyDefinition:
    """What the specification says of one property.

    ``packets`` are the sections it may stand in, ``repeatable`` those of them where it
    may stand more than once. ``minimum`` and ``maximum`` bound the value of an integer
    (inclusive; both 0 for the other types); a value outside is answered with ``refusal``.
    """

    name: str
    type: PropertyType
    packets: frozenset[PropertySection]
    repeatable: frozenset[PropertySection]
    minimum: int
    maximum: int
    refusal: ReasonCode


PROPERTIES: Final[Mapping[PropertyId, PropertyDefinition]] = MappingProxyType(
    {
        PropertyId.PAYLOAD_FORMAT_INDICATOR: PropertyDefinition(
            name="Payload Format Indicator",
            type=PropertyType.BYTE,
            packets=frozenset({PropertySection.PUBLISH, PropertySection.WILL}),
            repeatable=frozenset(),
            minimum=0,
            maximum=1,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.MESSAGE_EXPIRY_INTERVAL: PropertyDefinition(
            name="Message Expiry Interval",
            type=PropertyType.FOUR_BYTE_INTEGER,
            packets=frozenset({PropertySection.PUBLISH, PropertySection.WILL}),
            repeatable=frozenset(),
            minimum=0,
            maximum=4_294_967_295,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.CONTENT_TYPE: PropertyDefinition(
            name="Content Type",
            type=PropertyType.UTF_8_STRING,
            packets=frozenset({PropertySection.PUBLISH, PropertySection.WILL}),
            repeatable=frozenset(),
            minimum=0,
            maximum=0,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.RESPONSE_TOPIC: PropertyDefinition(
            name="Response Topic",
            type=PropertyType.UTF_8_STRING,
            packets=frozenset({PropertySection.PUBLISH, PropertySection.WILL}),
            repeatable=frozenset(),
            minimum=0,
            maximum=0,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.CORRELATION_DATA: PropertyDefinition(
            name="Correlation Data",
            type=PropertyType.BINARY_DATA,
            packets=frozenset({PropertySection.PUBLISH, PropertySection.WILL}),
            repeatable=frozenset(),
            minimum=0,
            maximum=0,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.SUBSCRIPTION_IDENTIFIER: PropertyDefinition(
            name="Subscription Identifier",
            type=PropertyType.VARIABLE_BYTE_INTEGER,
            packets=frozenset({PropertySection.PUBLISH, PropertySection.SUBSCRIBE}),
            repeatable=frozenset({PropertySection.PUBLISH}),
            minimum=1,
            maximum=268_435_455,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.SESSION_EXPIRY_INTERVAL: PropertyDefinition(
            name="Session Expiry Interval",
            type=PropertyType.FOUR_BYTE_INTEGER,
            packets=frozenset(
                {PropertySection.CONNECT, PropertySection.CONNACK, PropertySection.DISCONNECT}
            ),
            repeatable=frozenset(),
            minimum=0,
            maximum=4_294_967_295,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.ASSIGNED_CLIENT_IDENTIFIER: PropertyDefinition(
            name="Assigned Client Identifier",
            type=PropertyType.UTF_8_STRING,
            packets=frozenset({PropertySection.CONNACK}),
            repeatable=frozenset(),
            minimum=0,
            maximum=0,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.SERVER_KEEP_ALIVE: PropertyDefinition(
            name="Server Keep Alive",
            type=PropertyType.TWO_BYTE_INTEGER,
            packets=frozenset({PropertySection.CONNACK}),
            repeatable=frozenset(),
            minimum=0,
            maximum=65_535,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.AUTHENTICATION_METHOD: PropertyDefinition(
            name="Authentication Method",
            type=PropertyType.UTF_8_STRING,
            packets=frozenset(
                {PropertySection.CONNECT, PropertySection.CONNACK, PropertySection.AUTH}
            ),
            repeatable=frozenset(),
            minimum=0,
            maximum=0,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.AUTHENTICATION_DATA: PropertyDefinition(
            name="Authentication Data",
            type=PropertyType.BINARY_DATA,
            packets=frozenset(
                {PropertySection.CONNECT, PropertySection.CONNACK, PropertySection.AUTH}
            ),
            repeatable=frozenset(),
            minimum=0,
            maximum=0,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.REQUEST_PROBLEM_INFORMATION: PropertyDefinition(
            name="Request Problem Information",
            type=PropertyType.BYTE,
            packets=frozenset({PropertySection.CONNECT}),
            repeatable=frozenset(),
            minimum=0,
            maximum=1,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.WILL_DELAY_INTERVAL: PropertyDefinition(
            name="Will Delay Interval",
            type=PropertyType.FOUR_BYTE_INTEGER,
            packets=frozenset({PropertySection.WILL}),
            repeatable=frozenset(),
            minimum=0,
            maximum=4_294_967_295,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.REQUEST_RESPONSE_INFORMATION: PropertyDefinition(
            name="Request Response Information",
            type=PropertyType.BYTE,
            packets=frozenset({PropertySection.CONNECT}),
            repeatable=frozenset(),
            minimum=0,
            maximum=1,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.RESPONSE_INFORMATION: PropertyDefinition(
            name="Response Information",
            type=PropertyType.UTF_8_STRING,
            packets=frozenset({PropertySection.CONNACK}),
            repeatable=frozenset(),
            minimum=0,
            maximum=0,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.SERVER_REFERENCE: PropertyDefinition(
            name="Server Reference",
            type=PropertyType.UTF_8_STRING,
            packets=frozenset({PropertySection.CONNACK, PropertySection.DISCONNECT}),
            repeatable=frozenset(),
            minimum=0,
            maximum=0,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.REASON_STRING: PropertyDefinition(
            name="Reason String",
            type=PropertyType.UTF_8_STRING,
            packets=frozenset(
                {
                    PropertySection.CONNACK,
                    PropertySection.PUBACK,
                    PropertySection.PUBREC,
                    PropertySection.PUBREL,
                    PropertySection.PUBCOMP,
                    PropertySection.SUBACK,
                    PropertySection.UNSUBACK,
                    PropertySection.DISCONNECT,
                    PropertySection.AUTH,
                }
            ),
            repeatable=frozenset(),
            minimum=0,
            maximum=0,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.RECEIVE_MAXIMUM: PropertyDefinition(
            name="Receive Maximum",
            type=PropertyType.TWO_BYTE_INTEGER,
            packets=frozenset({PropertySection.CONNECT, PropertySection.CONNACK}),
            repeatable=frozenset(),
            minimum=1,
            maximum=65_535,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.TOPIC_ALIAS_MAXIMUM: PropertyDefinition(
            name="Topic Alias Maximum",
            type=PropertyType.TWO_BYTE_INTEGER,
            packets=frozenset({PropertySection.CONNECT, PropertySection.CONNACK}),
            repeatable=frozenset(),
            minimum=0,
            maximum=65_535,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.TOPIC_ALIAS: PropertyDefinition(
            name="Topic Alias",
            type=PropertyType.TWO_BYTE_INTEGER,
            packets=frozenset({PropertySection.PUBLISH}),
            repeatable=frozenset(),
            minimum=1,
            maximum=65_535,
            refusal=ReasonCode.TOPIC_ALIAS_INVALID,
        ),
        PropertyId.MAXIMUM_QOS: PropertyDefinition(
            name="Maximum QoS",
            type=PropertyType.BYTE,
            packets=frozenset({PropertySection.CONNACK}),
            repeatable=frozenset(),
            minimum=0,
            maximum=1,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.RETAIN_AVAILABLE: PropertyDefinition(
            name="Retain Available",
            type=PropertyType.BYTE,
            packets=frozenset({PropertySection.CONNACK}),
            repeatable=frozenset(),
            minimum=0,
            maximum=1,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.USER_PROPERTY: PropertyDefinition(
            name="User Property",
            type=PropertyType.UTF_8_STRING_PAIR,
            packets=frozenset(
                {
                    PropertySection.CONNECT,
                    PropertySection.CONNACK,
                    PropertySection.PUBLISH,
                    PropertySection.WILL,
                    PropertySection.PUBACK,
                    PropertySection.PUBREC,
                    PropertySection.PUBREL,
                    PropertySection.PUBCOMP,
                    PropertySection.SUBSCRIBE,
                    PropertySection.SUBACK,
                    PropertySection.UNSUBSCRIBE,
                    PropertySection.UNSUBACK,
                    PropertySection.DISCONNECT,
                    PropertySection.AUTH,
                }
            ),
            repeatable=frozenset(
                {
                    PropertySection.CONNECT,
                    PropertySection.CONNACK,
                    PropertySection.PUBLISH,
                    PropertySection.WILL,
                    PropertySection.PUBACK,
                    PropertySection.PUBREC,
                    PropertySection.PUBREL,
                    PropertySection.PUBCOMP,
                    PropertySection.SUBSCRIBE,
                    PropertySection.SUBACK,
                    PropertySection.UNSUBSCRIBE,
                    PropertySection.UNSUBACK,
                    PropertySection.DISCONNECT,
                    PropertySection.AUTH,
                }
            ),
            minimum=0,
            maximum=0,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.MAXIMUM_PACKET_SIZE: PropertyDefinition(
            name="Maximum Packet Size",
            type=PropertyType.FOUR_BYTE_INTEGER,
            packets=frozenset({PropertySection.CONNECT, PropertySection.CONNACK}),
            repeatable=frozenset(),
            minimum=1,
            maximum=4_294_967_295,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.WILDCARD_SUBSCRIPTION_AVAILABLE: PropertyDefinition(
            name="Wildcard Subscription Available",
            type=PropertyType.BYTE,
            packets=frozenset({PropertySection.CONNACK}),
            repeatable=frozenset(),
            minimum=0,
            maximum=1,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.SUBSCRIPTION_IDENTIFIER_AVAILABLE: PropertyDefinition(
            name="Subscription Identifier Available",
            type=PropertyType.BYTE,
            packets=frozenset({PropertySection.CONNACK}),
            repeatable=frozenset(),
            minimum=0,
            maximum=1,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
        PropertyId.SHARED_SUBSCRIPTION_AVAILABLE: PropertyDefinition(
            name="Shared Subscription Available",
            type=PropertyType.BYTE,
            packets=frozenset({PropertySection.CONNACK}),
            repeatable=frozenset(),
            minimum=0,
            maximum=1,
            refusal=ReasonCode.PROTOCOL_ERROR,
        ),
    }
)


REASON_CODES: Final[Mapping[ReasonCode, frozenset[PacketType]]] = MappingProxyType(
    {
        ReasonCode.SUCCESS: frozenset(
            {
                PacketType.CONNACK,
                PacketType.PUBACK,
                PacketType.PUBREC,
                PacketType.PUBREL,
                PacketType.PUBCOMP,
                PacketType.UNSUBACK,
                PacketType.AUTH,
                PacketType.DISCONNECT,
                PacketType.SUBACK,
            }
        ),
        ReasonCode.GRANTED_QOS_1: frozenset({PacketType.SUBACK}),
        ReasonCode.GRANTED_QOS_2: frozenset({PacketType.SUBACK}),
        ReasonCode.DISCONNECT_WITH_WILL_MESSAGE: frozenset({PacketType.DISCONNECT}),
        ReasonCode.NO_MATCHING_SUBSCRIBERS: frozenset({PacketType.PUBACK, PacketType.PUBREC}),
        ReasonCode.NO_SUBSCRIPTION_EXISTED: frozenset({PacketType.UNSUBACK}),
        ReasonCode.CONTINUE_AUTHENTICATION: frozenset({PacketType.AUTH}),
        ReasonCode.RE_AUTHENTICATE: frozenset({PacketType.AUTH}),
        ReasonCode.UNSPECIFIED_ERROR: frozenset(
            {
                PacketType.CONNACK,
                PacketType.PUBACK,
                PacketType.PUBREC,
                PacketType.SUBACK,
                PacketType.UNSUBACK,
                PacketType.DISCONNECT,
            }
        ),
        ReasonCode.MALFORMED_PACKET: frozenset({PacketType.CONNACK, PacketType.DISCONNECT}),
        ReasonCode.PROTOCOL_ERROR: frozenset({PacketType.CONNACK, PacketType.DISCONNECT}),
        ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR: frozenset(
            {
                PacketType.CONNACK,
                PacketType.PUBACK,
                PacketType.PUBREC,
                PacketType.SUBACK,
                PacketType.UNSUBACK,
                PacketType.DISCONNECT,
            }
        ),
        ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: frozenset({PacketType.CONNACK}),
        ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: frozenset({PacketType.CONNACK}),
        ReasonCode.BAD_USER_NAME_OR_PASSWORD: frozenset({PacketType.CONNACK}),
        ReasonCode.NOT_AUTHORIZED: frozenset(
            {
                PacketType.CONNACK,
                PacketType.PUBACK,
                PacketType.PUBREC,
                PacketType.SUBACK,
                PacketType.UNSUBACK,
                PacketType.DISCONNECT,
            }
        ),
        ReasonCode.SERVER_UNAVAILABLE: frozenset({PacketType.CONNACK}),
        ReasonCode.SERVER_BUSY: frozenset({PacketType.CONNACK, PacketType.DISCONNECT}),
        ReasonCode.BANNED: frozenset({PacketType.CONNACK}),
        ReasonCode.SERVER_SHUTTING_DOWN: frozenset({PacketType.DISCONNECT}),
        ReasonCode.BAD_AUTHENTICATION_METHOD: frozenset(
            {PacketType.CONNACK, PacketType.DISCONNECT}
        ),
        ReasonCode.KEEP_ALIVE_TIMEOUT: frozenset({PacketType.DISCONNECT}),
        ReasonCode.SESSION_TAKEN_OVER: frozenset({PacketType.DISCONNECT}),
        ReasonCode.TOPIC_FILTER_INVALID: frozenset(
            {PacketType.SUBACK, PacketType.UNSUBACK, PacketType.DISCONNECT}
        ),
        ReasonCode.TOPIC_NAME_INVALID: frozenset(
            {PacketType.CONNACK, PacketType.PUBACK, PacketType.PUBREC, PacketType.DISCONNECT}
        ),
        ReasonCode.PACKET_IDENTIFIER_IN_USE: frozenset(
            {PacketType.PUBACK, PacketType.PUBREC, PacketType.SUBACK, PacketType.UNSUBACK}
        ),
        ReasonCode.PACKET_IDENTIFIER_NOT_FOUND: frozenset({PacketType.PUBREL, PacketType.PUBCOMP}),
        ReasonCode.RECEIVE_MAXIMUM_EXCEEDED: frozenset({PacketType.DISCONNECT}),
        ReasonCode.TOPIC_ALIAS_INVALID: frozenset({PacketType.DISCONNECT}),
        ReasonCode.PACKET_TOO_LARGE: frozenset({PacketType.CONNACK, PacketType.DISCONNECT}),
        ReasonCode.MESSAGE_RATE_TOO_HIGH: frozenset({PacketType.DISCONNECT}),
        ReasonCode.QUOTA_EXCEEDED: frozenset(
            {
                PacketType.CONNACK,
                PacketType.PUBACK,
                PacketType.PUBREC,
                PacketType.SUBACK,
                PacketType.DISCONNECT,
            }
        ),
        ReasonCode.ADMINISTRATIVE_ACTION: frozenset({PacketType.DISCONNECT}),
        ReasonCode.PAYLOAD_FORMAT_INVALID: frozenset(
            {PacketType.CONNACK, PacketType.PUBACK, PacketType.PUBREC, PacketType.DISCONNECT}
        ),
        ReasonCode.RETAIN_NOT_SUPPORTED: frozenset({PacketType.CONNACK, PacketType.DISCONNECT}),
        ReasonCode.QOS_NOT_SUPPORTED: frozenset({PacketType.CONNACK, PacketType.DISCONNECT}),
        ReasonCode.USE_ANOTHER_SERVER: frozenset({PacketType.CONNACK, PacketType.DISCONNECT}),
        ReasonCode.SERVER_MOVED: frozenset({PacketType.CONNACK, PacketType.DISCONNECT}),
        ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: frozenset(
            {PacketType.SUBACK, PacketType.DISCONNECT}
        ),
        ReasonCode.CONNECTION_RATE_EXCEEDED: frozenset({PacketType.CONNACK, PacketType.DISCONNECT}),
        ReasonCode.MAXIMUM_CONNECT_TIME: frozenset({PacketType.DISCONNECT}),
        ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED: frozenset(
            {PacketType.SUBACK, PacketType.DISCONNECT}
        ),
        ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED: frozenset(
            {PacketType.SUBACK, PacketType.DISCONNECT}
        ),
    }
)
"""Which packets a reason code may stand in."""


RETURN_CODES: Final[Mapping[ReasonCode, ReturnCode]] = MappingProxyType(
    {
        ReasonCode.SUCCESS: ReturnCode.CONNECTION_ACCEPTED,
        ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: ReturnCode.UNACCEPTABLE_PROTOCOL_VERSION,
        ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: ReturnCode.IDENTIFIER_REJECTED,
        ReasonCode.SERVER_UNAVAILABLE: ReturnCode.SERVER_UNAVAILABLE,
        ReasonCode.BAD_USER_NAME_OR_PASSWORD: ReturnCode.BAD_USER_NAME_OR_PASSWORD,
        ReasonCode.BAD_AUTHENTICATION_METHOD: ReturnCode.BAD_USER_NAME_OR_PASSWORD,
        ReasonCode.NOT_AUTHORIZED: ReturnCode.NOT_AUTHORIZED,
        ReasonCode.BANNED: ReturnCode.NOT_AUTHORIZED,
    }
)
"""How a reason code is told before 5.0; what is missing is SERVER_UNAVAILABLE."""
