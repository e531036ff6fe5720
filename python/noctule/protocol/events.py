"""What happens in a session. `Message` and `Delivery` are events too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from noctule.protocol._tables import ReasonCode, ReturnCode
from noctule.protocol.errors import ProtocolError
from noctule.protocol.message import Delivery, Message
from noctule.protocol.options import Granted
from noctule.protocol.properties import NO_PROPERTIES, Properties

__all__ = [
    "AuthenticationContinued",
    "Connected",
    "Disconnected",
    "Event",
    "MessageReceived",
    "Reauthenticated",
    "Refused",
    "Subscribed",
    "Unsubscribed",
]


@dataclass(frozen=True, slots=True)
class Connected:
    """The server has accepted; `properties` are those of CONNACK."""

    granted: Granted
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Refused:
    """The server has refused CONNECT, and the connection is to be closed."""

    reason_code: ReasonCode | ReturnCode
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is to be closed, for a reason other than our own DISCONNECT.

    The server's DISCONNECT, or `error`: a rule that it broke, or its silence.
    """

    reason_code: ReasonCode
    properties: Properties = NO_PROPERTIES
    error: ProtocolError | None = None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """SUBACK: one reason code for each filter of the SUBSCRIBE with this identifier."""

    packet_identifier: int
    reason_codes: tuple[ReasonCode, ...]
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """UNSUBACK; before 5.0 without reason codes."""

    packet_identifier: int
    reason_codes: tuple[ReasonCode, ...]
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class AuthenticationContinued:
    """The server's AUTH 0x18: to be answered with `authenticate`."""

    data: bytes | None
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class Reauthenticated:
    """The server's AUTH 0x00: a re-authentication has succeeded."""

    data: bytes | None
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """PUBREC for a QoS 2 delivery, with `hold_releases`: to be answered with `release`."""

    delivery: Delivery


Event: TypeAlias = (
    Message
    | Delivery
    | Connected
    | Refused
    | Disconnected
    | Subscribed
    | Unsubscribed
    | AuthenticationContinued
    | Reauthenticated
    | MessageReceived
)
