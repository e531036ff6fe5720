"""What a client asks for, and what a server grants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from noctule.protocol._tables import PropertyId
from noctule.protocol._wire import MAX_VARIABLE_BYTE_INTEGER
from noctule.protocol.packets import Connack, Version, WillPacket

__all__ = ["Granted", "SessionOptions"]

MAX_PACKET_BYTES = MAX_VARIABLE_BYTE_INTEGER + 5
DEFAULT_SESSION_EXPIRY_SECONDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """What the client asks for in CONNECT, and how it bends the specification.

    `keep_alive`: seconds, 0 to 65,535; 0 is none.
    `session_expiry_interval`: seconds that the server keeps the session after the
    connection; None is 300 in 5.0, and a clean session before.
    `clean_start`: of the first connection; later ones continue their session.
    `receive_maximum`: QoS 1 and 2 messages that may come in before the first of them is
    acknowledged, 1 to 65,535. `send_maximum`: the same for those going out, where the server
    does not say less.
    `maximum_packet_size`: bytes of the largest packet taken; None is no limit.
    `topic_alias_maximum`: aliases that the server may use, 0 to 65,535.

    `use_topic_aliases`: whether topics that are used often go out as aliases.
    `adopt_session`: whether a session that the server has and the client does not know is
    taken up. [MQTT-3.2.2-4] wants the connection closed; with clean_start=False the program
    may well mean to go on with the session of its last run.
    `receive_excess`: messages beyond the receive maximum that are taken all the same.
    Mosquitto 2.0.11 loses count of those that had to wait, and to leave it for that would be
    to be sent them again. A server that is even less exact gets a DISCONNECT.
    `hold_messages`: upon `Connected` messages wait until `resume` is called, so that a program
    that publishes to its own subscriptions can subscribe first.
    `hold_releases`: PUBREL waits until `release` is called, so that a program can write down
    first that the server has the message.
    `resend_unknown`: whether QoS 2 messages are sent anew when the server has lost the
    session and nobody can tell whether they arrived; else they end with DeliveryUnknownError.
    """

    version: Version = Version.V5
    client_identifier: str = ""
    clean_start: bool = True
    keep_alive: int = 60
    session_expiry_interval: int | None = None
    receive_maximum: int = 1024
    send_maximum: int = 1024
    maximum_packet_size: int | None = None
    topic_alias_maximum: int = 64
    request_response_information: bool = False
    request_problem_information: bool = True
    user_properties: tuple[tuple[str, str], ...] = ()
    will: WillPacket | None = None
    authentication_method: str | None = None
    use_topic_aliases: bool = True
    adopt_session: bool = False
    receive_excess: int = 0
    hold_messages: bool = False
    hold_releases: bool = False
    resend_unknown: bool = False

    @property
    def expiry_asked(self) -> int:
        """Seconds that the session is asked to live on; before 5.0 0 is a clean session."""
        if self.session_expiry_interval is not None:
            return self.session_expiry_interval
        return DEFAULT_SESSION_EXPIRY_SECONDS if self.version >= Version.V5 else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What holds on this connection after CONNACK, in the words of MQTT 5.0 §3.2.2.3.

    Before 5.0, servers grant everything that exists and cannot say more.
    """

    session_present: bool = False
    client_identifier: str = ""
    keep_alive: int = 60
    session_expiry_interval: int = 0
    receive_maximum: int = 0xFFFF
    maximum_packet_size: int = MAX_PACKET_BYTES
    topic_alias_maximum: int = 0
    maximum_qos: int = 2
    retain_available: bool = True
    wildcard_subscription_available: bool = True
    subscription_identifier_available: bool = True
    shared_subscription_available: bool = True
    response_information: str | None = None

    @classmethod
    def of(cls, options: SessionOptions, connack: Connack) -> Self:
        """Reads CONNACK against what was asked for."""
        if options.version < Version.V5:
            return cls(
                session_present=connack.session_present,
                client_identifier=options.client_identifier,
                keep_alive=options.keep_alive,
                session_expiry_interval=options.expiry_asked,
                receive_maximum=options.send_maximum,
                subscription_identifier_available=False,
                shared_subscription_available=False,
            )
        properties = connack.properties

        def number(identifier: PropertyId, default: int) -> int:
            value = properties.integer(identifier)
            return default if value is None else value

        assigned = properties.string(PropertyId.ASSIGNED_CLIENT_IDENTIFIER)
        return cls(
            session_present=connack.session_present,
            client_identifier=assigned or options.client_identifier,
            keep_alive=number(PropertyId.SERVER_KEEP_ALIVE, options.keep_alive),
            session_expiry_interval=number(
                PropertyId.SESSION_EXPIRY_INTERVAL, options.expiry_asked
            ),
            receive_maximum=min(number(PropertyId.RECEIVE_MAXIMUM, 0xFFFF), options.send_maximum),
            maximum_packet_size=number(PropertyId.MAXIMUM_PACKET_SIZE, MAX_PACKET_BYTES),
            topic_alias_maximum=number(PropertyId.TOPIC_ALIAS_MAXIMUM, 0),
            maximum_qos=number(PropertyId.MAXIMUM_QOS, 2),
            retain_available=bool(number(PropertyId.RETAIN_AVAILABLE, 1)),
            wildcard_subscription_available=bool(
                number(PropertyId.WILDCARD_SUBSCRIPTION_AVAILABLE, 1)
            ),
            subscription_identifier_available=bool(
                number(PropertyId.SUBSCRIPTION_IDENTIFIER_AVAILABLE, 1)
            ),
            shared_subscription_available=bool(number(PropertyId.SHARED_SUBSCRIPTION_AVAILABLE, 1)),
            response_information=properties.string(PropertyId.RESPONSE_INFORMATION),
        )
