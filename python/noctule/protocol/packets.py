"""The control packets of MQTT 3.1, 3.1.1 and 5.0 as plain values.

They hold what the wire holds, and no more: properties stay a list in its order, and rules
that need more than the packet itself belong to the session. `decoder` and `encoder` turn
them from bytes and into bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from noctule.protocol._tables import ReasonCode
from noctule.protocol.properties import NO_PROPERTIES, Properties

__all__ = [
    "Auth",
    "Connack",
    "Connect",
    "Disconnect",
    "Packet",
    "Pingreq",
    "Pingresp",
    "Puback",
    "Pubcomp",
    "Publish",
    "Pubrec",
    "Pubrel",
    "QoS",
    "Suback",
    "Subscribe",
    "SubscriptionRequest",
    "Unsuback",
    "Unsubscribe",
    "Version",
    "WillPacket",
]


class Version(IntEnum):
    """The protocol levels that stand in CONNECT."""

    V3_1 = 3
    V3_1_1 = 4
    V5 = 5


class QoS(IntEnum):
    """The qualities of service, MQTT 5.0 §4.3."""

    AT_MOST_ONCE = 0
    AT_LEAST_ONCE = 1
    EXACTLY_ONCE = 2


@dataclass(frozen=True, slots=True)
class WillPacket:
    """The will inside CONNECT. `qos` is 0, 1 or 2."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Connect:
    """MQTT 5.0 §3.1. `keep_alive` is in seconds, 0 to 65,535."""

    version: Version
    client_identifier: str = ""
    clean_start: bool = True
    keep_alive: int = 60
    user_name: str | None = None
    password: bytes | None = None
    will: WillPacket | None = None
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Connack:
    """MQTT 5.0 §3.2. Before 5.0 `reason_code` is the return code, 0 to 5."""

    session_present: bool
    reason_code: int
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Publish:
    """MQTT 5.0 §3.3. `packet_identifier` is 0 at QoS 0, and 1 to 65,535 otherwise."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_identifier: int = 0
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Puback:
    """MQTT 5.0 §3.4."""

    packet_identifier: int
    reason_code: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Pubrec:
    """MQTT 5.0 §3.5."""

    packet_identifier: int
    reason_code: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Pubrel:
    """MQTT 5.0 §3.6."""

    packet_identifier: int
    reason_code: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Pubcomp:
    """MQTT 5.0 §3.7."""

    packet_identifier: int
    reason_code: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class SubscriptionRequest:
    """One topic filter of SUBSCRIBE with its options, MQTT 5.0 §3.8.3.1.

    `retain_handling`: 0 retained messages are sent on subscribing, 1 only if the
    subscription is new, 2 not at all.
    """

    topic_filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclass(frozen=True, slots=True)
class Subscribe:
    """MQTT 5.0 §3.8."""

    packet_identifier: int
    requests: tuple[SubscriptionRequest, ...]
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Suback:
    """MQTT 5.0 §3.9; one reason code for each filter, in their order."""

    packet_identifier: int
    reason_codes: tuple[ReasonCode, ...]
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """MQTT 5.0 §3.10."""

    packet_identifier: int
    topic_filters: tuple[str, ...]
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Unsuback:
    """MQTT 5.0 §3.11; before 5.0 `reason_codes` is empty."""

    packet_identifier: int
    reason_codes: tuple[ReasonCode, ...] = ()
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Pingreq:
    """MQTT 5.0 §3.12."""


@dataclass(frozen=True, slots=True)
class Pingresp:
    """MQTT 5.0 §3.13."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """MQTT 5.0 §3.14."""

    reason_code: ReasonCode = ReasonCode.NORMAL_DISCONNECTION
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Auth:
    """MQTT 5.0 §3.15."""

    reason_code: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


Packet: TypeAlias = (
    Connect
    | Connack
    | Publish
    | Puback
    | Pubrec
    | Pubrel
    | Pubcomp
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
    | Auth
)
