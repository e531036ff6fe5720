"""The values that paho-mqtt's interface speaks in: codes, flags, properties, messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

from noctule.protocol import Message, PropertyId
from noctule.protocol import Properties as Section
from noctule.protocol._tables import PROPERTIES, PropertySection
from noctule.protocol._tables import ReasonCode as Code
from noctule.protocol.topics import filter_matches

__all__ = [
    "CallbackAPIVersion",
    "ConnectFlags",
    "DisconnectFlags",
    "MQTTErrorCode",
    "MQTTMessage",
    "MQTTMessageInfo",
    "MQTTProtocolVersion",
    "PacketTypes",
    "Properties",
    "ReasonCode",
    "SubscribeOptions",
    "connack_string",
    "error_string",
    "topic_matches_sub",
]


class CallbackAPIVersion(IntEnum):
    """Which arguments callbacks get. VERSION2 is supported."""

    VERSION1 = 1
    VERSION2 = 2


class MQTTProtocolVersion(IntEnum):
    """The protocol levels."""

    MQTTv31 = 3
    MQTTv311 = 4
    MQTTv5 = 5


class MQTTErrorCode(IntEnum):
    """What the methods return."""

    MQTT_ERR_AGAIN = -1
    MQTT_ERR_SUCCESS = 0
    MQTT_ERR_NOMEM = 1
    MQTT_ERR_PROTOCOL = 2
    MQTT_ERR_INVAL = 3
    MQTT_ERR_NO_CONN = 4
    MQTT_ERR_CONN_REFUSED = 5
    MQTT_ERR_NOT_FOUND = 6
    MQTT_ERR_CONN_LOST = 7
    MQTT_ERR_TLS = 8
    MQTT_ERR_PAYLOAD_SIZE = 9
    MQTT_ERR_NOT_SUPPORTED = 10
    MQTT_ERR_AUTH = 11
    MQTT_ERR_ACL_DENIED = 12
    MQTT_ERR_UNKNOWN = 13
    MQTT_ERR_ERRNO = 14
    MQTT_ERR_QUEUE_SIZE = 15
    MQTT_ERR_KEEPALIVE = 16


def error_string(mqtt_errno: int) -> str:
    """A sentence for an error code."""
    return f"{MQTTErrorCode(mqtt_errno).name[9:].lower().replace('_', ' ')}."


_RETURN_CODES = {
    0: Code.SUCCESS,
    1: Code.UNSUPPORTED_PROTOCOL_VERSION,
    2: Code.CLIENT_IDENTIFIER_NOT_VALID,
    3: Code.SERVER_UNAVAILABLE,
    4: Code.BAD_USER_NAME_OR_PASSWORD,
    5: Code.NOT_AUTHORIZED,
}


def connack_string(connack_code: int) -> str:
    """A sentence for CONNACK's code, of 5.0 or before."""
    return f"{ReasonCode(PacketTypes.CONNACK, identifier=_RETURN_CODES.get(connack_code))}."


class PacketTypes(IntEnum):
    """The packets, and the will's section of CONNECT."""

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
    WILLMESSAGE = 99


class ReasonCode:
    """A reason code that compares with numbers and with its name."""

    def __init__(
        self,
        packetType: int,  # noqa: N803
        aName: str = "Success",  # noqa: N803
        identifier: int | None = -1,
    ) -> None:
        self.packetType = packetType
        if identifier is None or identifier == -1:
            self.value = next(c.value for c in Code if _name(packetType, c) == aName)
        else:
            self.value = int(identifier)

    def getName(self) -> str:  # noqa: N802
        """The specification's name."""
        return _name(self.packetType, Code(self.value))

    @property
    def is_failure(self) -> bool:
        """Whether it is an error."""
        return self.value >= 0x80

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int):
            return self.value == other
        if isinstance(other, str):
            return self.getName() == other
        return isinstance(other, ReasonCode) and self.value == other.value

    def __lt__(self, other: ReasonCode) -> bool:
        return self.value < other.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __str__(self) -> str:
        return self.getName()

    def __repr__(self) -> str:
        return f"ReasonCode({PacketTypes(self.packetType).name.title()}, {self.getName()!r})"

    def json(self) -> str:
        """The name."""
        return self.getName()

    def pack(self) -> bytearray:
        """The byte of the wire."""
        return bytearray([self.value])


def _name(packet_type: int, code: Code) -> str:
    name = code.name
    if code == 0 and packet_type == PacketTypes.DISCONNECT:
        name = "NORMAL_DISCONNECTION"
    elif code == 0 and packet_type == PacketTypes.SUBACK:
        name = "GRANTED_QOS_0"
    return name.replace("_", " ").capitalize().replace("qos", "QoS").replace("Qos", "QoS")


class ConnectFlags(NamedTuple):
    """What CONNACK says besides its code."""

    session_present: bool


class DisconnectFlags(NamedTuple):
    """Whether the server said that it would end the connection."""

    is_disconnect_packet_from_server: bool


_ATTRIBUTES = {
    "".join(word for word in definition.name.replace("-", " ").split()): identifier
    for identifier, definition in PROPERTIES.items()
} | {"MaximumQoS": PropertyId.MAXIMUM_QOS}
_NAMES = {identifier: name for name, identifier in _ATTRIBUTES.items()}


class Properties:
    """Properties as attributes: ``properties.MessageExpiryInterval = 60``."""

    packetType: int  # noqa: N815

    def __init__(self, packetType: int) -> None:  # noqa: N803
        object.__setattr__(self, "packetType", int(packetType))

    def __setattr__(self, name: str, value: Any) -> None:
        identifier = _ATTRIBUTES.get(name)
        section = PropertySection(0 if self.packetType == 99 else self.packetType)
        if identifier is None or section not in PROPERTIES[identifier].packets:
            raise AttributeError(f"{section.name} has no property {name}")
        if section in PROPERTIES[identifier].repeatable or name == "UserProperty":
            given = value if isinstance(value, list) else [value]
            value = [*self.__dict__.get(name, []), *given]
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"property {name} is not set")

    def isEmpty(self) -> bool:  # noqa: N802
        """Whether nothing is set."""
        return not list(self._pairs())

    def clear(self) -> None:
        """Takes all properties off."""
        for name in [name for name in self.__dict__ if name != "packetType"]:
            object.__delattr__(self, name)

    def json(self) -> dict[str, Any]:
        """The properties as a dictionary; binary data as hex."""
        return {
            name: value.hex() if isinstance(value, bytes) else value
            for name, value in self.__dict__.items()
            if name != "packetType"
        }

    def _pairs(self) -> Iterator[tuple[PropertyId, Any]]:
        for name, value in self.__dict__.items():
            if name == "packetType":
                continue
            values = value if isinstance(value, list) else [value]
            for each in values:
                yield _ATTRIBUTES[name], tuple(each) if isinstance(each, list) else each

    def section(self) -> Section:
        """As this package's protocol has them."""
        return Section(self._pairs())

    @classmethod
    def of(cls, packet_type: int, section: Section) -> Properties:
        """What has come from the server."""
        made = cls(packet_type)
        for identifier, value in section:
            setattr(made, _NAMES[identifier], value)
        return made


class SubscribeOptions:
    """The options of a 5.0 subscription."""

    RETAIN_SEND_ON_SUBSCRIBE, RETAIN_SEND_IF_NEW_SUB, RETAIN_DO_NOT_SEND = range(3)

    def __init__(
        self,
        qos: int = 0,
        noLocal: bool = False,  # noqa: N803
        retainAsPublished: bool = False,  # noqa: N803
        retainHandling: int = 0,  # noqa: N803
    ) -> None:
        self.QoS = qos
        self.noLocal = noLocal
        self.retainAsPublished = retainAsPublished
        self.retainHandling = retainHandling


class MQTTMessage:
    """A message that has come, or that is on its way."""

    def __init__(self, mid: int = 0, topic: str = "") -> None:
        self.timestamp = time.monotonic()
        self.topic = topic
        self.payload = b""
        self.qos = 0
        self.retain = False
        self.dup = False
        self.mid = mid
        self.properties: Properties | None = None

    @classmethod
    def of(cls, message: Message, is_v5: bool) -> MQTTMessage:
        """What has come from the server."""
        made = cls(message.packet_identifier, message.topic)
        made.payload = message.payload
        made.qos = int(message.qos)
        made.retain = message.retain
        made.dup = message.dup
        if is_v5:
            made.properties = Properties.of(PacketTypes.PUBLISH, message.properties)
        return made


class MQTTMessageInfo:
    """How publishing fares; also a pair of error code and message identifier."""

    def __init__(self, mid: int) -> None:
        self.mid = mid
        self.rc = MQTTErrorCode.MQTT_ERR_SUCCESS
        self._published = threading.Event()

    def __iter__(self) -> Iterator[int]:
        return iter((self.rc, self.mid))

    def __getitem__(self, index: int) -> int:
        return (self.rc, self.mid)[index]

    def __str__(self) -> str:
        return str((self.rc, self.mid))

    def is_published(self) -> bool:
        """Whether the server has it, or at QoS 0: whether it is written."""
        self._check()
        return self._published.is_set()

    def wait_for_publish(self, timeout: float | None = None) -> None:
        """Waits until `is_published`, or `timeout` seconds."""
        self._check()
        self._published.wait(timeout)

    def _check(self) -> None:
        if self.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            raise ValueError("Message is not queued due to ERR_QUEUE_SIZE")
        if self.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_AGAIN):
            raise RuntimeError(f"Message publish failed: {error_string(self.rc)}")


def topic_matches_sub(sub: str, topic: str) -> bool:
    """Whether messages to `topic` go to subscribers of `sub`."""
    return filter_matches(sub, topic)
