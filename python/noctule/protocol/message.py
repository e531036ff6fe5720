"""What a session gives to its program, and what it takes from it."""

from __future__ import annotations

from typing import NamedTuple

from noctule.protocol._tables import PropertyId, ReasonCode
from noctule.protocol.packets import QoS
from noctule.protocol.properties import NO_PROPERTIES, Properties

__all__ = ["Delivery", "Message", "MessageHeader"]


class MessageHeader:
    """What many messages have in common: flags, properties, and the connection they came on.

    Headers are shared between messages (for speed, see `bench/client`), so they never change.
    """

    __slots__ = (
        "connection",
        "dup",
        "properties",
        "qos",
        "retain",
        "subscription_identifiers",
        "topic_alias",
    )

    def __init__(
        self,
        flags: int = 0,
        properties: Properties = NO_PROPERTIES,
        connection: int = 0,
    ) -> None:
        self.qos = QoS(flags >> 1 & 3)
        self.retain = bool(flags & 1)
        self.dup = bool(flags & 8)
        self.properties = properties
        self.connection = connection
        self.subscription_identifiers = properties.subscription_identifiers
        self.topic_alias = properties.integer(PropertyId.TOPIC_ALIAS) or 0


class Message(NamedTuple):
    """An application message as it came from the server, MQTT 5.0 §3.3.

    `packet_identifier` is 0 at QoS 0. The other fields are read through `header`, by the
    properties below. A tuple, because those are the quickest to make.
    """

    topic: str
    payload: bytes
    header: MessageHeader = MessageHeader()
    packet_identifier: int = 0

    @property
    def qos(self) -> QoS:
        """The quality of service it was delivered with."""
        return self.header.qos

    @property
    def retain(self) -> bool:
        """Whether the server had it stored, or with "retain as published": as it was sent."""
        return self.header.retain

    @property
    def dup(self) -> bool:
        """Whether the server may have sent it before."""
        return self.header.dup

    @property
    def properties(self) -> Properties:
        """All properties, in the order of the wire; empty before 5.0."""
        return self.header.properties

    @property
    def subscription_identifiers(self) -> tuple[int, ...]:
        """Of the subscriptions that it was sent for, where the server has identifiers."""
        return self.header.subscription_identifiers

    @property
    def message_expiry_interval(self) -> int | None:
        """Seconds it had left to live when the server sent it; None: no end."""
        return self.header.properties.integer(PropertyId.MESSAGE_EXPIRY_INTERVAL)

    @property
    def content_type(self) -> str | None:
        """What the publisher says that the payload is, a MIME type by habit."""
        return self.header.properties.string(PropertyId.CONTENT_TYPE)

    @property
    def response_topic(self) -> str | None:
        """Where the publisher waits for an answer."""
        return self.header.properties.string(PropertyId.RESPONSE_TOPIC)

    @property
    def correlation_data(self) -> bytes | None:
        """What an answer has to carry, so that the publisher knows what it answers."""
        return self.header.properties.binary(PropertyId.CORRELATION_DATA)

    @property
    def payload_format_indicator(self) -> int:
        """1 where the publisher promises that the payload is UTF-8, else 0."""
        return self.header.properties.integer(PropertyId.PAYLOAD_FORMAT_INDICATOR, 0) or 0

    @property
    def user_properties(self) -> list[tuple[str, str]]:
        """Names and values that the publisher added, in their order."""
        return self.header.properties.user_properties

    @property
    def text(self) -> str:
        """The payload as UTF-8; UnicodeDecodeError where it is none."""
        return self.payload.decode()


class Delivery:
    """A message on its way to the server, and how that ended.

    `reason_code` is None until the server has answered: at QoS 1 with PUBACK, at QoS 2 with
    PUBCOMP, or with a PUBREC of 0x80 and above. `error` says why there will be no answer.
    `context` belongs to whoever made the delivery.
    """

    __slots__ = (
        "_properties_of_answer",
        "context",
        "dup",
        "error",
        "packet_identifier",
        "payload",
        "properties",
        "qos",
        "reason_code",
        "retain",
        "topic",
    )

    _properties_of_answer: Properties

    def __init__(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool = False,
        properties: Properties = NO_PROPERTIES,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.properties = properties
        self.dup = False
        self.packet_identifier = 0
        self.reason_code: ReasonCode | None = None
        self.error: Exception | None = None
        self.context: object = None

    @property
    def is_settled(self) -> bool:
        """Whether it is over, well or not."""
        return self.reason_code is not None or self.error is not None

    @property
    def answer(self) -> Properties:
        """The properties of the server's answer: reason string and user properties."""
        try:
            return self._properties_of_answer
        except AttributeError:  # It is left unset, for speed, where there are none.
            return NO_PROPERTIES
