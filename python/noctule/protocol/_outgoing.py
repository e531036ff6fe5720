"""Messages on their way to the server: quotas, identifiers, what is in flight.

MQTT 5.0 §4.3 (quality of service), §4.4 (sending again), §4.9 (flow control).
"""

from __future__ import annotations

from collections import deque
from struct import Struct

from noctule.protocol._encoding import PublishEncoder
from noctule.protocol._tables import ReasonCode
from noctule.protocol.errors import DeliveryUnknownError, NoctuleError, ProtocolError
from noctule.protocol.events import Event, MessageReceived
from noctule.protocol.message import Delivery
from noctule.protocol.options import Granted
from noctule.protocol.packets import Version
from noctule.protocol.properties import Properties

PUBREL = Struct(">HH")
_NOT_FOUND = int(ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)


class Outgoing:
    """The sending half of a session; settled deliveries go to `events`.

    `in_flight` holds deliveries by packet identifier in the order they were sent, `received`
    the reason codes of their PUBRECs, `released` the identifiers whose PUBREL has been sent.
    `pending` are deliveries that wait for a connection or for the server's quota, and
    `to_resend` identifiers of an earlier connection that wait for it.
    """

    def __init__(
        self, out: list[bytes], events: list[Event], hold_releases: bool, resends_unknown: bool
    ) -> None:
        self.encoder = PublishEncoder(out)
        self.in_flight: dict[int, Delivery] = {}
        self.received: dict[int, ReasonCode] = {}
        self.released: set[int] = set()
        self.pending: deque[Delivery] = deque()
        self.is_open = False
        self._out = out
        self._events = events
        self._hold_releases = hold_releases
        self._resends_unknown = resends_unknown
        self._version = Version.V5
        self._quota = 0
        self.to_resend: deque[int] = deque()
        self._requests: set[int] = set()
        self._reserved: set[int] = set()
        self._last_identifier = 0

    # --- The connection ---------------------------------------------------------------

    def open(self, version: Version, granted: Granted, use_aliases: bool) -> None:
        """The server has accepted, and nothing goes out before `resume`."""
        self.encoder.open(version, granted, use_aliases)
        self._version = version
        self._quota = granted.receive_maximum
        if granted.session_present:
            self.to_resend = deque(self.in_flight)
        else:
            self.forget_session()

    def resume(self) -> None:
        """What is in flight goes out again, then what waits.

        PUBLISH and PUBREL packets of a session that goes on are sent again with their
        identifiers, in their order [MQTT-4.4.0-1] [MQTT-4.6.0-1].
        """
        self.is_open = True
        self._resend()
        self.send_pending()

    def close(self) -> None:
        self.encoder.forget_aliases()
        self.is_open = False
        self._requests.clear()
        self.to_resend.clear()

    def forget_session(self) -> None:
        """The server knows nothing of what is in flight any more [MQTT-3.2.2-5].

        QoS 1 messages are published anew. QoS 2 messages that the server took over with
        PUBREC have arrived; of those without PUBREC nobody can tell.
        """
        again = []
        for identifier, delivery in list(self.in_flight.items()):
            delivery.dup = False
            if delivery.qos == 1:
                again.append(delivery)
            elif identifier in self.received:
                self._reserved.discard(identifier)
                self._settle(delivery, self.received[identifier])
            elif self._resends_unknown:
                again.append(delivery)
            else:
                self.fail(delivery, DeliveryUnknownError(f"{delivery.topic!r}: session lost"))
        self.in_flight.clear()
        self.received.clear()
        self.released.clear()
        self.pending.extendleft(reversed(again))

    @property
    def is_special(self) -> bool:
        """Whether the end of a delivery has more consequences than leaving `in_flight`."""
        return bool(self.to_resend or self._reserved)

    # --- Publishing -------------------------------------------------------------------

    def publish(self, delivery: Delivery) -> None:
        """Sends `delivery` now, or as soon as connection, quota and those before it allow."""
        qos = delivery.qos
        in_flight = self.in_flight
        is_free = not self.pending and len(in_flight) < self._quota
        if not self.is_open or not (is_free or qos == 0):
            self.encoder.check(delivery)
            self.pending.append(delivery)
        elif qos == 1 and not (
            delivery.properties or delivery.retain or delivery.packet_identifier
        ):
            # For speed (`bench/client`) what `_transmit` does, without its calls.
            identifier = self._last_identifier + 1
            if identifier > 0xFFFF or identifier in in_flight or identifier in self._requests:
                identifier = self.free_identifier()
            self.encoder.encode_at_least_once(delivery.topic, delivery.payload, identifier)
            self._last_identifier = delivery.packet_identifier = identifier
            in_flight[identifier] = delivery
        else:
            self._transmit(delivery)

    def send_pending(self) -> None:
        """Sends what waits, as far as the quota goes; what cannot be sent fails."""
        pending = self.pending
        while self.is_open and pending and len(self.in_flight) < self._quota:
            delivery = pending.popleft()
            try:
                self._transmit(delivery)
            except NoctuleError as error:
                self.fail(delivery, error)
            else:
                if delivery.qos == 0:
                    self._events.append(delivery)

    def _transmit(self, delivery: Delivery) -> None:
        qos = delivery.qos
        if qos == 0:
            self.encoder.encode(delivery, 0)
            delivery.reason_code = ReasonCode.SUCCESS
            return
        identifier = delivery.packet_identifier or self.free_identifier()
        self.encoder.encode(delivery, identifier)
        delivery.packet_identifier = identifier
        self.in_flight[identifier] = delivery

    def _resend(self) -> None:
        while (
            self.is_open
            and self.to_resend
            and len(self.in_flight) - len(self.to_resend) < self._quota
        ):
            identifier = self.to_resend.popleft()
            delivery = self.in_flight.get(identifier)
            if delivery is None:
                continue
            if identifier in self.released:
                self._send_pubrel(identifier)
            elif identifier not in self.received:
                delivery.dup = True  # [MQTT-3.3.1-1]
                try:
                    self.encoder.encode(delivery, identifier)
                except NoctuleError as error:  # The server offers less than it did before.
                    del self.in_flight[identifier]
                    self.fail(delivery, error)

    def fail(self, delivery: Delivery, error: Exception) -> None:
        delivery.error = error
        self._reserved.discard(delivery.packet_identifier)
        self._events.append(delivery)

    def _settle(self, delivery: Delivery, reason_code: ReasonCode) -> None:
        delivery.reason_code = reason_code
        self._events.append(delivery)

    # --- Packet identifiers -----------------------------------------------------------

    def free_identifier(self) -> int:
        """A packet identifier that is not in use [MQTT-2.2.1-3]."""
        candidate = self._last_identifier
        for _ in range(0xFFFF):
            candidate = candidate % 0xFFFF + 1
            if (
                candidate not in self.in_flight
                and candidate not in self._requests
                and candidate not in self._reserved
            ):
                self._last_identifier = candidate
                return candidate
        raise NoctuleError("all 65,535 packet identifiers are in use")

    def reserve(self, identifier: int | None = None) -> int:
        """An identifier for a delivery that is yet to be published, taken until it is over."""
        if identifier is None:
            identifier = self.free_identifier()
        self._reserved.add(identifier)
        return identifier

    def request_identifier(self) -> int:
        """A packet identifier for SUBSCRIBE or UNSUBSCRIBE, taken until `answered`."""
        identifier = self.free_identifier()
        self._requests.add(identifier)
        return identifier

    def answered(self, identifier: int) -> None:
        """SUBACK or UNSUBACK has come; ProtocolError if nothing was asked."""
        if identifier not in self._requests:
            raise ProtocolError(f"an answer to request {identifier}, which is not open")
        self._requests.remove(identifier)

    # --- Acknowledgements -------------------------------------------------------------

    def handle_puback(
        self, identifier: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        """The end of a QoS 1 message; an error settles it as well [MQTT-4.4.0-2]."""
        delivery = self.in_flight.get(identifier)
        if delivery is None:
            return
        if delivery.qos != 1:
            raise ProtocolError(f"PUBACK for QoS 2 message {identifier}")
        self._finish(identifier, delivery, reason_code, properties)

    def handle_pubrec(
        self, identifier: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        """The server has the QoS 2 message, or refuses it with a code of 0x80 and above."""
        delivery = self.in_flight.get(identifier)
        if delivery is None:
            self._send_pubrel(identifier, _NOT_FOUND)
            return
        if delivery.qos != 2:
            raise ProtocolError(f"PUBREC for QoS 1 message {identifier}")
        if reason_code >= 0x80:
            self._finish(identifier, delivery, reason_code, properties)
            return
        is_first = identifier not in self.received
        self.received.setdefault(identifier, reason_code)
        if properties:
            delivery._properties_of_answer = properties
        if not self._hold_releases or identifier in self.released:
            self.release(identifier)
        elif is_first:
            self._events.append(MessageReceived(delivery))

    def release(self, identifier: int) -> None:
        """Sends PUBREL; the PUBLISH is never sent again [MQTT-4.3.3-6]."""
        if identifier not in self.in_flight:
            return
        self.released.add(identifier)
        if self.is_open:
            self._send_pubrel(identifier)

    def handle_pubcomp(self, identifier: int, properties: Properties) -> None:
        """The end of a QoS 2 message; its reason code is that of PUBREC.

        PUBCOMP's 0x92 "packet identifier not found" is no failure: the server has forgotten the
        identifier because the exchange was over on its side.
        """
        delivery = self.in_flight.get(identifier)
        if delivery is None:
            return
        if delivery.qos != 2:
            raise ProtocolError(f"PUBCOMP for QoS 1 message {identifier}")
        if identifier not in self.released:
            raise ProtocolError(f"PUBCOMP for message {identifier} before its PUBREL")
        self._finish(identifier, delivery, self.received[identifier], properties)

    def _finish(
        self,
        identifier: int,
        delivery: Delivery,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        del self.in_flight[identifier]
        self._reserved.discard(identifier)
        if delivery.qos == 2:
            self.received.pop(identifier, None)
            self.released.discard(identifier)
        if properties:
            delivery._properties_of_answer = properties
        self._settle(delivery, reason_code)
        if self.to_resend:
            self._resend()

    def _send_pubrel(self, identifier: int, reason_code: int = 0) -> None:
        if reason_code and self._version >= Version.V5:
            self._out.append(b"\x62\x03" + identifier.to_bytes(2, "big") + bytes((reason_code,)))
        else:
            self._out.append(PUBREL.pack(0x6202, identifier))
