"""A client's session as a state machine: bytes and time go in, bytes and events come out.

    session = ClientSession(SessionOptions(client_identifier="example"))
    session.connect(now)
    transport.write(session.data_to_send(now))
    ...
    session.receive_data(data, now)
    for event in session.events(): ...
    transport.write(session.data_to_send(now))

Nothing here opens a socket or reads a clock. `now` is in seconds and only ever grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import Enum, auto

from noctule.protocol._incoming import Incoming
from noctule.protocol._outgoing import Outgoing
from noctule.protocol._tables import REASON_CODES, PacketType, PropertyId, ReasonCode, ReturnCode
from noctule.protocol.decoder import check_from_server
from noctule.protocol.encoder import encode_packet
from noctule.protocol.errors import (
    InvalidArgumentError,
    NotConnectedError,
    NotOfferedError,
    PacketTooLargeError,
    ProtocolError,
)
from noctule.protocol.events import (
    AuthenticationContinued,
    Connected,
    Disconnected,
    Event,
    Reauthenticated,
    Refused,
    Subscribed,
    Unsubscribed,
)
from noctule.protocol.message import Delivery
from noctule.protocol.options import Granted, SessionOptions
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
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Unsuback,
    Unsubscribe,
    Version,
)
from noctule.protocol.properties import NO_PROPERTIES, Properties, PropertyValue
from noctule.protocol.state import SessionState

__all__ = ["ClientSession", "Phase"]

UNACCEPTABLE_VERSION = b"\x20\x02\x00\x01"
"""How servers before 5.0 say that they do not know 5.0: their CONNACK, not ours."""

PING_ANSWER_SECONDS = 10.0
"""The longest wait for PINGRESP; shorter where the keep alive is."""


class Phase(Enum):
    """Where a session stands. The transport is needed from CONNECTING to ENDING."""

    OFFLINE = auto()
    CONNECTING = auto()
    CONNECTED = auto()
    ENDING = auto()
    """Nothing more is sent or read; the transport is to be closed when all is written."""


class ClientSession:
    """What a client is to its server, over as many connections as it takes.

    The program's calls raise InvalidArgumentError, NotOfferedError and NotConnectedError;
    what the server does wrong becomes a `Disconnected` event, after the DISCONNECT that
    tells it so.
    """

    def __init__(self, options: SessionOptions, state: SessionState | None = None) -> None:
        self.options = options
        self.phase = Phase.OFFLINE
        self.granted = Granted(client_identifier=options.client_identifier)
        self.client_identifier = options.client_identifier
        self._out: list[bytes] = []
        self._events: list[Event] = []
        self._outgoing = Outgoing(
            self._out, self._events, options.hold_releases, options.resend_unknown
        )
        self._incoming = Incoming(self._out, self._events, self._outgoing, self._handle_packet)
        self._was_connected = False
        self._is_established = False
        self._clean_start = True
        self._last_sent = self._last_received = 0.0
        self._ping_sent: float | None = None
        self._is_receiving = True
        self._is_reauthenticating = False
        # What is called for every message goes straight to the half that does it:
        # `publish(delivery)` sends it now or when connection and quota allow; it becomes an
        # event when it is settled, but for QoS 0 sent at once. It raises InvalidArgumentError
        # or NotOfferedError, and then nothing is kept. `publish_at_most_once(topic, payload)`
        # is the quickest way, while connected. `acknowledge(message)` and its kin are PUBACK
        # and PUBREC.
        self.publish_at_most_once = self._outgoing.encoder.encode_at_most_once
        self.publish = self._outgoing.publish
        self.acknowledge = self._incoming.acknowledge
        self.acknowledge_all = self._incoming.acknowledge_all
        if state is not None:
            self._restore(state)

    # --- The connection ---------------------------------------------------------------

    def connect(
        self,
        now: float,
        *,
        user_name: str | None = None,
        password: bytes | None = None,
        authentication_data: bytes | None = None,
    ) -> None:
        """Begins a connection with CONNECT; the transport has to be open and unused.

        The first one cleans the server's session where `clean_start` says so, and later
        ones go on with it. Raises InvalidArgumentError for what CONNECT cannot hold.
        """
        if self.phase is not Phase.OFFLINE:
            raise InvalidArgumentError(f"connect while {self.phase.name}")
        options = self.options
        self._clean_start = self._begins_clean()
        connect = Connect(
            version=options.version,
            client_identifier=self.client_identifier,
            clean_start=self._clean_start,
            keep_alive=options.keep_alive,
            user_name=user_name,
            password=password,
            will=options.will,
            properties=self._connect_properties(authentication_data),
        )
        encoded = encode_packet(options.version, connect)
        self._incoming.open(
            options.version,
            options.maximum_packet_size,
            options.topic_alias_maximum,
            self._most_unacknowledged(),
        )
        self._out.append(encoded)
        self._last_sent = self._last_received = now
        self._ping_sent = None
        self._is_receiving = True
        self._is_reauthenticating = False
        self.phase = Phase.CONNECTING

    def _begins_clean(self) -> bool:
        options = self.options
        if options.version < Version.V5:
            persists = options.expiry_asked > 0 and bool(self.client_identifier)
            return not persists or (options.clean_start and not self._was_connected)
        if self._is_established:
            return False
        return options.clean_start or self._was_connected

    def _most_unacknowledged(self) -> int:
        """Before 5.0 a server cannot be told, and only runs out of packet identifiers."""
        options = self.options
        if options.version < Version.V5:
            return 0xFFFF
        return options.receive_maximum + options.receive_excess

    def _connect_properties(self, authentication_data: bytes | None) -> Properties:
        """Those that say something other than their absence would, MQTT 5.0 §3.1.2.11."""
        options = self.options
        if options.version < Version.V5:
            return NO_PROPERTIES
        pairs: list[tuple[PropertyId, PropertyValue | None]] = [
            (PropertyId.SESSION_EXPIRY_INTERVAL, options.expiry_asked or None),
            (
                PropertyId.RECEIVE_MAXIMUM,
                options.receive_maximum if options.receive_maximum != 0xFFFF else None,
            ),
            (PropertyId.MAXIMUM_PACKET_SIZE, options.maximum_packet_size),
            (PropertyId.TOPIC_ALIAS_MAXIMUM, options.topic_alias_maximum or None),
            (PropertyId.REQUEST_RESPONSE_INFORMATION, options.request_response_information or None),
            (
                PropertyId.REQUEST_PROBLEM_INFORMATION,
                None if options.request_problem_information else 0,
            ),
            (PropertyId.AUTHENTICATION_METHOD, options.authentication_method),
            (PropertyId.AUTHENTICATION_DATA, authentication_data),
        ]
        given = [(name, int(v) if isinstance(v, bool) else v) for name, v in pairs if v is not None]
        given += [(PropertyId.USER_PROPERTY, pair) for pair in options.user_properties]
        return Properties(given)

    def disconnect(
        self,
        now: float,
        reason_code: ReasonCode = ReasonCode.NORMAL_DISCONNECTION,
        *,
        session_expiry_interval: int | None = None,
        reason_string: str | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> None:
        """DISCONNECT, after which nothing is sent [MQTT-3.14.4-1]. OFFLINE: nothing at all.

        With 0x00 the server drops the will; 0x04 has it published. A session expiry
        interval replaces that of CONNECT, and cannot be set where that was 0.
        """
        if self.phase not in (Phase.CONNECTING, Phase.CONNECTED):
            return
        pairs: list[tuple[PropertyId, PropertyValue]] = []
        if session_expiry_interval is not None:
            if session_expiry_interval and not self.options.expiry_asked:
                raise InvalidArgumentError("a session without expiry interval cannot get one now")
            pairs.append((PropertyId.SESSION_EXPIRY_INTERVAL, session_expiry_interval))
        if reason_string is not None:
            pairs.append((PropertyId.REASON_STRING, reason_string))
        pairs += [(PropertyId.USER_PROPERTY, pair) for pair in user_properties]
        packet = Disconnect(reason_code, Properties(pairs))
        self._out.append(self._fitted(packet))
        self._last_sent = now
        self.phase = Phase.ENDING

    def connection_lost(self) -> None:
        """The transport is closed, by whomever. The session lives on, if it was to."""
        self.phase = Phase.OFFLINE
        self._out.clear()
        self._outgoing.close()
        self._incoming.close()
        self._outgoing.encoder.unsent_bytes = 0

    # --- Bytes and time ---------------------------------------------------------------

    def receive_data(self, data: bytes, now: float) -> None:
        """Takes what the transport has read, in pieces of any size."""
        self._last_received = now
        if self.phase is Phase.CONNECTED:
            self._ping_sent = None
        elif self.phase is Phase.CONNECTING and data == UNACCEPTABLE_VERSION:
            self._events.append(Refused(ReturnCode.UNACCEPTABLE_PROTOCOL_VERSION))
            self.phase = Phase.ENDING
            return
        elif self.phase is not Phase.CONNECTING:
            return
        try:
            self._incoming.receive(data)
        except ProtocolError as error:
            self._end_by(error)
            return
        if self._outgoing.pending:
            self._outgoing.send_pending()

    def data_to_send(self, now: float) -> bytes:
        """Takes the bytes that are to be written, all at once."""
        out = self._out
        if not out:
            return b""
        data = b"".join(out)
        out.clear()
        self._outgoing.encoder.unsent_bytes = 0
        self._last_sent = now
        return data

    @property
    def has_data_to_send(self) -> bool:
        """Whether `data_to_send` would return anything."""
        return bool(self._out)

    @property
    def unsent_bytes(self) -> int:
        """About how many bytes `data_to_send` would return; exact enough for back-pressure."""
        return self._outgoing.encoder.unsent_bytes

    def events(self) -> list[Event]:
        """Takes what has happened since the last call, in its order."""
        taken = self._events[:]
        self._events.clear()
        return taken

    def receiving_paused(self, is_paused: bool, now: float) -> None:
        """The program has stopped reading from the transport, or goes on.

        Meanwhile no answer can come, so that its lack means nothing.
        """
        self._is_receiving = not is_paused
        if self._ping_sent is not None:
            self._ping_sent = now

    def next_timeout(self, now: float) -> float | None:
        """When to call `handle_timeout`, at or after `now`; None: no need to."""
        keep_alive = self.granted.keep_alive
        if self.phase is not Phase.CONNECTED or not keep_alive:
            return None
        if self._ping_sent is None:
            return max(now, self._last_sent + keep_alive)
        if not self._is_receiving:
            return max(now, self._last_sent + keep_alive)
        return max(now, self._ping_sent + min(keep_alive, PING_ANSWER_SECONDS))

    def handle_timeout(self, now: float) -> None:
        """Pings an idle server [MQTT-3.1.2-20]; gives up one that does not answer."""
        keep_alive = self.granted.keep_alive
        if self.phase is not Phase.CONNECTED or not keep_alive:
            return
        if self._ping_sent is not None and self._is_receiving:
            if now < self._ping_sent + min(keep_alive, PING_ANSWER_SECONDS):
                return
            self._end_by(ProtocolError("no PINGRESP", ReasonCode.KEEP_ALIVE_TIMEOUT))
            return
        if now >= self._last_sent + keep_alive:
            self.ping(now)

    def ping(self, now: float) -> None:
        """PINGREQ; NotConnectedError while there is no connection."""
        self._need_connection("ping")
        self._out.append(encode_packet(self.options.version, Pingreq()))
        self._last_sent = now
        if self._ping_sent is None:
            self._ping_sent = now

    # --- Publishing -------------------------------------------------------------------

    def resume(self) -> None:
        """Answers `Connected`, with `hold_messages`: messages may go out.

        Those in flight go out again, and then those that wait.
        """
        if self.phase is Phase.CONNECTED:
            self._outgoing.resume()

    def check(self, delivery: Delivery) -> None:
        """InvalidArgumentError for what can never be sent, whatever the server offers."""
        self._outgoing.encoder.check(delivery)

    def fail(self, delivery: Delivery, error: Exception) -> None:
        """Ends a delivery that cannot be published."""
        self._outgoing.fail(delivery, error)

    def reserve_identifier(self) -> int:
        """A packet identifier for a delivery to come, so that it can be written down first.

        To be set as `packet_identifier` before `publish`; it is free again when the delivery
        is settled.
        """
        return self._outgoing.reserve()

    def received_code(self, delivery: Delivery) -> ReasonCode:
        """The reason code of the PUBREC that has come for `delivery`."""
        return self._outgoing.received[delivery.packet_identifier]

    def release(self, delivery: Delivery) -> None:
        """Answers `MessageReceived`: PUBREL may go out."""
        self._outgoing.release(delivery.packet_identifier)

    @property
    def in_flight(self) -> int:
        """How many QoS 1 and 2 messages have been sent and are not settled."""
        return len(self._outgoing.in_flight)

    @property
    def pending(self) -> int:
        """How many messages wait for the connection or for the server's quota."""
        return len(self._outgoing.pending)

    @property
    def unacknowledged(self) -> int:
        """How many messages that came in wait for `acknowledge`."""
        return self._incoming.unacknowledged

    def withdraw(self, delivery: Delivery) -> bool:
        """Takes a delivery back that has not been sent; False if it is too late for that."""
        try:
            self._outgoing.pending.remove(delivery)
        except ValueError:
            return False
        return True

    # --- Subscribing ------------------------------------------------------------------

    def subscribe(
        self,
        requests: Iterable[SubscriptionRequest],
        *,
        subscription_identifier: int | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> int:
        """SUBSCRIBE; returns the packet identifier that `Subscribed` will have."""
        self._need_connection("subscribe")
        wanted = tuple(requests)
        for request in wanted:
            self._check_subscription(request)
        pairs: list[tuple[PropertyId, PropertyValue]] = []
        if subscription_identifier is not None:
            if not self.granted.subscription_identifier_available:
                raise NotOfferedError("the server has no subscription identifiers")
            pairs.append((PropertyId.SUBSCRIPTION_IDENTIFIER, subscription_identifier))
        pairs += [(PropertyId.USER_PROPERTY, pair) for pair in user_properties]
        return self._request(
            Subscribe(self._outgoing.request_identifier(), wanted, Properties(pairs))
        )

    def unsubscribe(
        self, topic_filters: Iterable[str], *, user_properties: Iterable[tuple[str, str]] = ()
    ) -> int:
        """UNSUBSCRIBE; returns the packet identifier that `Unsubscribed` will have."""
        self._need_connection("unsubscribe")
        properties = Properties((PropertyId.USER_PROPERTY, pair) for pair in user_properties)
        identifier = self._outgoing.request_identifier()
        return self._request(Unsubscribe(identifier, tuple(topic_filters), properties))

    def _request(self, packet: Subscribe | Unsubscribe) -> int:
        try:
            encoded = encode_packet(self.options.version, packet)
            self._check_size(encoded)
        except InvalidArgumentError:
            self._outgoing.answered(packet.packet_identifier)
            raise
        self._out.append(encoded)
        return packet.packet_identifier

    def _check_subscription(self, request: SubscriptionRequest) -> None:
        if self.options.version < Version.V5:
            return
        topic_filter = request.topic_filter
        is_shared = topic_filter.startswith("$share/")
        if is_shared and not self.granted.shared_subscription_available:
            raise NotOfferedError("the server has no shared subscriptions")
        has_wildcards = "+" in topic_filter or "#" in topic_filter
        if has_wildcards and not self.granted.wildcard_subscription_available:
            raise NotOfferedError("the server has no subscriptions with wildcards")

    # --- Authentication ---------------------------------------------------------------

    def authenticate(self, data: bytes | None) -> None:
        """AUTH 0x18, the answer to `AuthenticationContinued` [MQTT-4.12.0-3]."""
        if self.phase not in (Phase.CONNECTING, Phase.CONNECTED):
            raise NotConnectedError("authenticate: there is no connection")
        self._send_auth(ReasonCode.CONTINUE_AUTHENTICATION, data)

    def reauthenticate(self, data: bytes | None) -> None:
        """AUTH 0x19, with the method of CONNECT [MQTT-4.12.1-1]."""
        self._need_connection("reauthenticate")
        self._is_reauthenticating = True
        self._send_auth(ReasonCode.RE_AUTHENTICATE, data)

    def _send_auth(self, reason_code: ReasonCode, data: bytes | None) -> None:
        method = self.options.authentication_method
        if method is None:
            raise InvalidArgumentError("AUTH without an authentication method [MQTT-4.12.0-7]")
        pairs: list[tuple[PropertyId, PropertyValue]] = [(PropertyId.AUTHENTICATION_METHOD, method)]
        if data is not None:
            pairs.append((PropertyId.AUTHENTICATION_DATA, data))
        encoded = encode_packet(self.options.version, Auth(reason_code, Properties(pairs)))
        self._check_size(encoded)
        self._out.append(encoded)

    # --- State ------------------------------------------------------------------------

    def state(self) -> SessionState:
        """What has to be kept so that another `ClientSession` can go on with the session."""
        return SessionState(
            client_identifier=self.client_identifier,
            is_established=self._is_established,
            in_flight=tuple(self._outgoing.in_flight.values()),
            received=dict(self._outgoing.received),
            released=frozenset(self._outgoing.released),
            pending=tuple(self._outgoing.pending),
            unreleased=frozenset(self._incoming.unreleased),
        )

    def _restore(self, state: SessionState) -> None:
        self.client_identifier = state.client_identifier or self.client_identifier
        self._is_established = state.is_established
        self._outgoing.in_flight.update((d.packet_identifier, d) for d in state.in_flight)
        self._outgoing.received.update(state.received)
        self._outgoing.released.update(state.released)
        self._outgoing.pending.extend(state.pending)
        for delivery in (*state.in_flight, *state.pending):
            if delivery.packet_identifier:
                self._outgoing.reserve(delivery.packet_identifier)
        self._incoming.unreleased.update(state.unreleased)

    # --- Packets from the server ------------------------------------------------------

    def _handle_packet(self, packet: Packet) -> None:
        check_from_server(self.options.version, packet)
        if self.phase is not Phase.CONNECTED and not isinstance(
            packet, Connack | Auth | Disconnect
        ):
            if self.phase is Phase.CONNECTING:
                raise ProtocolError(f"{type(packet).__name__.upper()} before CONNACK")
            return
        match packet:
            case Puback(identifier, reason_code, properties):
                self._outgoing.handle_puback(identifier, reason_code, properties)
            case Pubrec(identifier, reason_code, properties):
                self._outgoing.handle_pubrec(identifier, reason_code, properties)
            case Pubrel(identifier):
                self._incoming.handle_pubrel(identifier)
            case Pubcomp(identifier, _, properties):
                self._outgoing.handle_pubcomp(identifier, properties)
            case Suback(identifier, reason_codes, properties):
                self._outgoing.answered(identifier)
                self._events.append(Subscribed(identifier, reason_codes, properties))
            case Unsuback(identifier, reason_codes, properties):
                self._outgoing.answered(identifier)
                self._events.append(Unsubscribed(identifier, reason_codes, properties))
            case Connack():
                self._handle_connack(packet)
            case Disconnect(reason_code, properties):
                self._events.append(Disconnected(reason_code, properties))
                self._end()
            case Auth():
                self._handle_auth(packet)
            case Pingresp():
                pass  # Any packet shows that the server is there.

    def _handle_connack(self, connack: Connack) -> None:
        if self.phase is not Phase.CONNECTING:
            raise ProtocolError("a second CONNACK [MQTT-3.2.0-2]")
        if connack.reason_code:
            kind = ReasonCode if self.options.version >= Version.V5 else ReturnCode
            self._events.append(Refused(kind(connack.reason_code), connack.properties))
            self._end()
            return
        self._check_session_present(connack)
        self._check_method(connack.properties)
        granted = self.granted = Granted.of(
            replace(self.options, client_identifier=self.client_identifier), connack
        )
        self.client_identifier = granted.client_identifier
        self.phase = Phase.CONNECTED
        self._was_connected = True
        self._is_established = (
            granted.session_expiry_interval > 0
            if self.options.version >= Version.V5
            else not self._clean_start
        )
        self._incoming.accept()
        self._incoming.largest_answer = granted.maximum_packet_size
        self._events.append(Connected(granted, connack.properties))
        if not granted.session_present:
            self._incoming.forget_session()
        self._outgoing.open(self.options.version, granted, self.options.use_topic_aliases)
        if not self.options.hold_messages:
            self.resume()

    def _check_session_present(self, connack: Connack) -> None:
        """[MQTT-3.2.2-2] [MQTT-3.2.2-4]"""
        if not connack.session_present:
            return
        if self._clean_start:
            raise ProtocolError("session present after a clean start")
        if not self._is_established and not self.options.adopt_session:
            raise ProtocolError("the server has a session that the client does not know")

    def _check_method(self, properties: Properties) -> None:
        """[MQTT-4.12.0-5] [MQTT-4.12.0-6]"""
        if properties.string(PropertyId.AUTHENTICATION_METHOD) != (
            self.options.authentication_method
        ):
            raise ProtocolError("another authentication method than that of CONNECT")

    def _handle_auth(self, auth: Auth) -> None:
        if self.options.authentication_method is None:
            raise ProtocolError("AUTH where CONNECT named no method [MQTT-4.12.0-6]")
        self._check_method(auth.properties)
        data = auth.properties.binary(PropertyId.AUTHENTICATION_DATA)
        if auth.reason_code == ReasonCode.CONTINUE_AUTHENTICATION:
            self._events.append(AuthenticationContinued(data, auth.properties))
        elif self._is_reauthenticating:
            self._is_reauthenticating = False
            self._events.append(Reauthenticated(data, auth.properties))
        else:
            raise ProtocolError("AUTH 0x00 that nobody asked for")

    # --- Ends and limits --------------------------------------------------------------

    def _end_by(self, error: ProtocolError) -> None:
        """Tells the server what it did wrong, in 5.0, and ends the connection."""
        code = error.reason_code
        if PacketType.DISCONNECT not in REASON_CODES[code]:
            code = ReasonCode.PROTOCOL_ERROR
        self._events.append(Disconnected(code, error=error))
        if self.options.version >= Version.V5 and self.phase is Phase.CONNECTED:
            reason = Properties([(PropertyId.REASON_STRING, str(error))])
            self._out.append(self._fitted(Disconnect(code, reason)))
        self._end()

    def _end(self) -> None:
        self.phase = Phase.ENDING
        self._incoming.stop()
        self._outgoing.close()

    def _fitted(self, packet: Disconnect) -> bytes:
        """Without what is for people where that makes it too large [MQTT-3.14.2-3]."""
        encoded = encode_packet(self.options.version, packet)
        if len(encoded) <= self.granted.maximum_packet_size:
            return encoded
        kept = Properties(
            pair for pair in packet.properties if pair[0] is PropertyId.SESSION_EXPIRY_INTERVAL
        )
        return encode_packet(self.options.version, replace(packet, properties=kept))

    def _check_size(self, encoded: bytes) -> None:
        if len(encoded) > self.granted.maximum_packet_size:
            raise PacketTooLargeError(
                f"the packet has {len(encoded)} bytes; "
                f"the server takes {self.granted.maximum_packet_size} [MQTT-3.2.2-15]"
            )

    def _need_connection(self, what: str) -> None:
        if self.phase is not Phase.CONNECTED:
            raise NotConnectedError(f"{what}: there is no connection")
