"""What a client is told once, at its making."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Literal, TypeAlias, TypedDict

from noctule.client.auth import Mechanism
from noctule.protocol._tables import PropertyId
from noctule.protocol.errors import InvalidArgumentError
from noctule.protocol.packets import Version, WillPacket
from noctule.protocol.properties import NO_PROPERTIES, Properties, PropertyValue

__all__ = [
    "ClientOptions",
    "ConnectArguments",
    "Credentials",
    "MessageProperties",
    "Payload",
    "Reconnect",
    "Tls",
    "Will",
    "message_properties",
    "payload_bytes",
]

Payload: TypeAlias = bytes | bytearray | memoryview | str
"""What can be published; text goes as UTF-8."""


class MessageProperties(TypedDict, total=False):
    """The properties that a message may have, MQTT 5.0 §3.3.2.3.

    `message_expiry_interval`: seconds. `payload_format_indicator`: 1 for UTF-8.
    `user_properties`: a mapping, or pairs where a name comes more than once.
    """

    message_expiry_interval: int
    content_type: str
    response_topic: str
    correlation_data: bytes
    payload_format_indicator: int
    user_properties: Mapping[str, str] | Iterable[tuple[str, str]]


_PROPERTY_IDS = {
    "payload_format_indicator": PropertyId.PAYLOAD_FORMAT_INDICATOR,
    "message_expiry_interval": PropertyId.MESSAGE_EXPIRY_INTERVAL,
    "content_type": PropertyId.CONTENT_TYPE,
    "response_topic": PropertyId.RESPONSE_TOPIC,
    "correlation_data": PropertyId.CORRELATION_DATA,
}


def message_properties(given: MessageProperties) -> Properties:
    """The property section of keyword arguments; InvalidArgumentError for unknown ones."""
    pairs: list[tuple[PropertyId, PropertyValue]] = []
    for name, value in given.items():
        if name == "user_properties":
            pairs += [(PropertyId.USER_PROPERTY, pair) for pair in user_pairs(value)]
        elif name not in _PROPERTY_IDS:
            raise InvalidArgumentError(f"messages have no property {name!r}")
        elif value is not None:
            pairs.append((_PROPERTY_IDS[name], value))  # type: ignore[arg-type]
    return Properties(pairs) if pairs else NO_PROPERTIES


def user_pairs(given: object) -> tuple[tuple[str, str], ...]:
    """User properties as pairs, out of a mapping or of pairs."""
    pairs: object = given.items() if isinstance(given, Mapping) else given
    if not isinstance(pairs, Iterable):
        raise InvalidArgumentError(f"user properties are a mapping or pairs, not {given!r}")
    return tuple((str(name), str(value)) for name, value in pairs)


def payload_bytes(payload: Payload) -> bytes:
    """The bytes to send; InvalidArgumentError for what is neither bytes nor text."""
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, bytearray | memoryview):
        return bytes(payload)
    raise InvalidArgumentError(f"a payload is bytes or str, not {type(payload).__name__}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the server publishes when the client is gone without a DISCONNECT, §3.1.2.5.

    `delay_interval`: seconds that the client may be away before; 5.0 alone.
    """

    topic: str
    payload: Payload = b""
    qos: int = 0
    retain: bool = False
    delay_interval: int = 0
    properties: MessageProperties = field(default_factory=MessageProperties)

    def packet(self, version: Version) -> WillPacket:
        """As it stands in CONNECT."""
        properties = NO_PROPERTIES
        if version >= Version.V5:
            pairs = list(message_properties(self.properties))
            if self.delay_interval:
                pairs.insert(0, (PropertyId.WILL_DELAY_INTERVAL, self.delay_interval))
            properties = Properties(pairs)
        return WillPacket(
            self.topic, payload_bytes(self.payload), self.qos, self.retain, properties
        )


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and a password, which may be a token."""

    user_name: str | None = None
    password: str | bytes | None = None

    @property
    def password_bytes(self) -> bytes | None:
        """The password as CONNECT holds it."""
        return self.password.encode() if isinstance(self.password, str) else self.password


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """How a lost connection is made again: at random within a span that doubles each time.

    The wait before attempt n is anything from 0 to `first_delay` · 2ⁿ seconds, but at most
    `max_delay`, so that many clients do not come back at once. `max_attempts` in a row may
    fail; None is no limit. A connection that stood for `stable_seconds` starts the count
    anew. `follow_references`: whether a server may send the client to another one.
    """

    first_delay: float = 0.5
    max_delay: float = 60.0
    max_attempts: int | None = None
    stable_seconds: float = 10.0
    follow_references: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Short-hands for a TLS context. Files are PEM.

    `ca`: certificates to trust, instead of the system's. `cert` and `key`: the client's own.
    `alpn`: protocols to offer. `check_hostname=False` still checks the certificate.
    """

    ca: str | PathLike[str] | None = None
    cert: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None
    key_password: str | None = None
    alpn: tuple[str, ...] = ()
    check_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """The context; InvalidArgumentError where a file cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key, self.key_password)
        except OSError as error:  # ssl.SSLError is one too.
            raise InvalidArgumentError(f"TLS files: {error}") from error
        if self.alpn:
            context.set_alpn_protocols(list(self.alpn))
        context.check_hostname = self.check_hostname
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """Everything `connect` can be told; see there."""

    client_id: str | None = None
    version: Version = Version.V5
    fall_back: bool = False
    user_name: str | None = None
    password: str | bytes | None = None
    credentials: Callable[[], Credentials | Awaitable[Credentials]] | None = None
    authentication: Callable[[], Mechanism] | None = None
    clean_start: bool = True
    session_expiry_interval: int | None = None
    keep_alive: int = 60
    will: Will | None = None
    receive_maximum: int = 1024
    send_maximum: int = 1024
    maximum_packet_size: int | None = None
    topic_alias_maximum: int = 64
    use_topic_aliases: bool = True
    request_response_information: bool = False
    request_problem_information: bool = True
    user_properties: Mapping[str, str] | Iterable[tuple[str, str]] = ()
    tls: ssl.SSLContext | Tls | None = None
    proxy: str | None = None
    websocket_headers: Mapping[str, str] | None = None
    connect_timeout: float = 10.0
    close_timeout: float = 5.0
    require_connection: bool = True
    reconnect: Reconnect | None = field(default_factory=Reconnect)
    outbox: str | PathLike[str] | None = None
    outbox_limit: int = 10_000
    resend_unknown: bool = False
    outbox_full: Literal["wait", "raise"] = "wait"
    on_handler_error: Literal["close", "log"] = "close"

    def __post_init__(self) -> None:
        if self.outbox_limit < 1:
            raise InvalidArgumentError("outbox_limit is at least 1 message")
        if self.outbox_full not in ("wait", "raise"):
            raise InvalidArgumentError(
                f"outbox_full is 'wait' or 'raise', not {self.outbox_full!r}"
            )
        if self.on_handler_error not in ("close", "log"):
            raise InvalidArgumentError(
                f"on_handler_error is 'close' or 'log', not {self.on_handler_error!r}"
            )
        if self.credentials is not None and self.user_name is not None:
            raise InvalidArgumentError("give user_name and password, or credentials, not both")
        if self.clean_start is False and not self.client_id:
            raise InvalidArgumentError("clean_start=False needs the client_id of the session")
        if self.authentication is not None and self.version < Version.V5:
            raise InvalidArgumentError("enhanced authentication came with 5.0")


class ConnectArguments(TypedDict, total=False):
    """The keyword arguments of `connect`: the fields of `ClientOptions`."""

    client_id: str | None
    version: Version
    fall_back: bool
    user_name: str | None
    password: str | bytes | None
    credentials: Callable[[], Credentials | Awaitable[Credentials]] | None
    authentication: Callable[[], Mechanism] | None
    clean_start: bool
    session_expiry_interval: int | None
    keep_alive: int
    will: Will | None
    receive_maximum: int
    send_maximum: int
    maximum_packet_size: int | None
    topic_alias_maximum: int
    use_topic_aliases: bool
    request_response_information: bool
    request_problem_information: bool
    user_properties: Mapping[str, str] | Iterable[tuple[str, str]]
    tls: ssl.SSLContext | Tls | None
    proxy: str | None
    websocket_headers: Mapping[str, str] | None
    connect_timeout: float
    close_timeout: float
    require_connection: bool
    reconnect: Reconnect | None
    outbox: str | PathLike[str] | None
    outbox_limit: int
    resend_unknown: bool
    outbox_full: Literal["wait", "raise"]
    on_handler_error: Literal["close", "log"]
