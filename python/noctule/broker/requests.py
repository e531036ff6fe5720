"""What a hook in the present tense is asked about.

A hook returns None to let it be as it is, a Refuse, or a changed request, made with
`dataclasses.replace(request, ...)`.
"""

from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "AccessRequest",
    "ConnectRequest",
    "PublishRequest",
    "RequestedSubscription",
    "SubscribeRequest",
    "WillTopic",
]


@dataclass(frozen=True, slots=True)
class WillTopic:
    """Where a client's will is to go."""

    topic: str
    qos: int
    retain: bool


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """A client that may come in as far as authentication goes.

    `keep_alive_seconds` and `session_expiry_seconds` may be lowered (a keep alive of 0 is none);
    what else is changed counts for nothing.
    """

    client: str
    """Client identifier; empty where the broker is to make one up."""
    user: str | None
    """Who it is: the authenticator's word where there is one, else the client's own."""
    address: str | None
    """Network address; None on a Unix socket."""
    port: int
    listener: int
    """Position of the listener in the options, from 0."""
    version: int
    """Protocol level: 3, 4 or 5."""
    clean_start: bool
    keep_alive_seconds: int
    session_expiry_seconds: int
    will: WillTopic | None


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """A message before it goes anywhere; all but the first three may be changed."""

    client: str
    user: str | None
    is_will: bool
    """Whether its client is gone."""
    topic: str
    """A changed topic is put to the access rules again; hooks do not see the message again."""
    payload: bytes = field(repr=False)
    qos: int
    """Another QoS is that of the message; the publisher is acknowledged at its own."""
    retain: bool
    message_expiry_seconds: int | None
    payload_is_text: bool
    """Payload format indicator (MQTT 5.0 §3.3.2.3.2)."""
    content_type: str | None
    response_topic: str | None
    correlation_data: bytes | None
    user_properties: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class RequestedSubscription:
    """One filter of a SUBSCRIBE."""

    filter: str
    """As the client wrote it, `$share/…` included; not to be changed."""
    qos: int
    """QoS asked for; a lower one grants less."""
    reason_code: int | None = None
    """0x80 or above refuses this filter alone."""


@dataclass(frozen=True, slots=True)
class SubscribeRequest:
    """A SUBSCRIBE before it takes effect; `subscriptions` may be changed, not their number."""

    client: str
    user: str | None
    subscriptions: tuple[RequestedSubscription, ...]


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """Something a client wants to do, which the rules allow."""

    client: str
    user: str | None
    action: Literal["publish", "subscribe"]
    topic: str
    """A topic name, or a filter where the action is to subscribe."""
    qos: int
    retain: bool
