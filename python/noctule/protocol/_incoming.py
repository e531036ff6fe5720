"""Messages from the server: the quick way through the bytes, and acknowledgements.

MQTT 5.0 §4.3 (quality of service), §4.6 (order), §4.9 (flow control).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import repeat
from struct import Struct, iter_unpack, unpack
from typing import TypeAlias

from noctule.protocol._outgoing import Outgoing
from noctule.protocol._tables import REASON_CODES, PacketType, ReasonCode
from noctule.protocol.decoder import FixedHeader, decode_body, decode_fixed_header
from noctule.protocol.encoder import encode_packet
from noctule.protocol.errors import MalformedPacketError, ProtocolError
from noctule.protocol.events import Event
from noctule.protocol.message import Message, MessageHeader
from noctule.protocol.options import MAX_PACKET_BYTES
from noctule.protocol.packets import Packet, Puback, Pubcomp, Publish, Pubrec, Version
from noctule.protocol.properties import NO_PROPERTIES, Properties

MAX_CACHED_TOPICS = 4096
MAX_CACHED_SECTIONS = 1024
MAX_CACHED_SECTION_BYTES = 0x40
ACKNOWLEDGEMENT = Struct(">HH")

_Answers: TypeAlias = dict[int, tuple[ReasonCode, Properties]]
_new_message = tuple.__new__
_PUBACK_CODES = {
    int(code): code for code, packets in REASON_CODES.items() if PacketType.PUBACK in packets
}


class Incoming:
    """The receiving half of a session: `receive` reads packets, `acknowledge` answers.

    Messages go to `events`, every other packet to `handle_packet`.
    """

    def __init__(
        self,
        out: list[bytes],
        events: list[Event],
        outgoing: Outgoing,
        handle_packet: Callable[[Packet], None],
    ) -> None:
        self._out = out
        self._events = events
        self._outgoing = outgoing
        self._handle_packet = handle_packet
        self._version = Version.V5
        self._maximum_packet_size = MAX_PACKET_BYTES
        self._alias_maximum = 0
        self._most_unacknowledged = 0xFFFF
        # Messages that were sent again. Mosquitto sends all of a session at once, whatever
        # the receive maximum; to leave it for that would be to meet the same again.
        self._resent = 0
        # Bytes of a packet that is not whole yet, in pieces, and how many are needed for it.
        self._pieces: list[bytes] = []
        self._held = 0
        self._needed = 0
        self._topics: dict[bytes, str] = {}
        self._aliases: dict[int, str] = {}
        # Empty outside of an accepted connection, so that nothing goes the quick way then.
        self._plain_headers: list[MessageHeader | None] = [None] * 4
        self._is_accepted = False
        self._is_over = True
        self._headers: list[dict[bytes, MessageHeader]] = [{}, {}, {}, {}]
        # Identifiers in the order they came, by QoS, and answers that wait for earlier ones.
        self._order: tuple[deque[int], deque[int], deque[int]] = (deque(), deque(), deque())
        self._answers: tuple[_Answers, _Answers, _Answers] = ({}, {}, {})
        self._connection = 0
        self.largest_answer = MAX_PACKET_BYTES
        # QoS 2 identifiers whose PUBREC has been sent and whose PUBREL has not come.
        self.unreleased: set[int] = set()
        # What an earlier connection left without acknowledgement: identifier → its
        # connection, and its reason code if the program has acknowledged it meanwhile.
        self._left: dict[tuple[int, int], tuple[int, int | None]] = {}
        # The same, once the server has sent it again: identifier → that connection.
        self._redelivered: dict[tuple[int, int], int] = {}

    # --- The connection ---------------------------------------------------------------

    def open(
        self,
        version: Version,
        maximum_packet_size: int | None,
        alias_maximum: int,
        most_unacknowledged: int,
    ) -> None:
        """A connection begins: no bytes, no aliases, no message open on it."""
        self._version = version
        self._maximum_packet_size = maximum_packet_size or MAX_PACKET_BYTES
        self._alias_maximum = alias_maximum
        self._most_unacknowledged = most_unacknowledged
        self._resent = 0
        self._aliases.clear()
        self._pieces.clear()
        self._held = self._needed = 0
        self._is_over = False

    def accept(self) -> None:
        """CONNACK has come: from now on there are messages."""
        self._is_accepted = True
        self._plain_headers[:] = [
            MessageHeader(flags, NO_PROPERTIES, self._connection) for flags in range(4)
        ]

    def stop(self) -> None:
        """Nothing that comes on this connection counts any more."""
        self._is_accepted = False
        self._is_over = True
        self._plain_headers[:] = [None] * 4
        for headers in self._headers:
            headers.clear()

    def close(self) -> None:
        """The connection is gone. What is not acknowledged will be sent again."""
        self.stop()
        for qos in (1, 2):
            answers = self._answers[qos]
            for identifier in self._order[qos]:
                key = (qos, identifier)
                connection = self._redelivered.get(key, self._connection)
                answer = answers.get(identifier)
                self._left[key] = connection, None if answer is None else answer[0]
            self._order[qos].clear()
            answers.clear()
        self._redelivered.clear()
        self._connection += 1

    def forget_session(self) -> None:
        """The server has no state: identifiers mean new messages from here on."""
        self.unreleased.clear()
        self._left.clear()
        self._redelivered.clear()

    @property
    def unacknowledged(self) -> int:
        """How many QoS 1 and 2 messages of this connection wait for `acknowledge`."""
        return len(self._order[1]) + len(self._order[2])

    # --- Bytes ------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Takes bytes in any pieces and handles every packet that is whole.

        Raises ProtocolError, with the reason code to answer with, at the first that is
        against the rules.
        """
        if self._pieces:
            self._pieces.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        elif type(data) is not bytes:
            data = bytes(data)
        if not data:
            return
        offset = self._parse(data)
        if offset < len(data):
            self._keep(data[offset:])
        if self.unacknowledged > self._most_unacknowledged + self._resent:
            raise ProtocolError(
                "more messages than the receive maximum", ReasonCode.RECEIVE_MAXIMUM_EXCEEDED
            )

    def _keep(self, rest: bytes) -> None:
        header = decode_fixed_header(rest)
        self._held = len(rest)
        self._needed = self._held + 1
        if header is not None:
            if header.stop > self._maximum_packet_size:
                raise ProtocolError(f"a packet of {header.stop} bytes", ReasonCode.PACKET_TOO_LARGE)
            self._needed = header.stop
        self._pieces.append(rest)

    def _parse(self, data: bytes) -> int:
        """The loop that all bytes go through; returns the offset of the first not used.

        Written for speed (`bench/client`): no calls for what comes by the million, that is
        PUBACK, and PUBLISH with QoS 0 or 1, of a known topic and with no, or with known,
        properties. Whatever is out of the ordinary goes to `_handle`, which knows all rules.
        """
        topics = self._topics
        plain_headers = self._plain_headers
        headers = self._headers
        left = self._left
        append = self._events.append
        order = self._order[1].append
        is_v5 = self._version >= 5
        largest = self._maximum_packet_size
        offset = 0
        end = len(data)
        if data[0] == 0x40 and end > 3 and self._is_accepted:
            offset = self._parse_pubacks(data)
        known = ""
        while end - offset >= 2:
            first = data[offset]
            length = data[offset + 1]
            if length < 0x80:
                start = offset + 2
                stop = start + length
            else:
                fixed = decode_fixed_header(data, offset)
                if fixed is None:
                    break
                start = fixed.start
                stop = fixed.stop
            if stop - offset > largest:
                raise ProtocolError(
                    f"a packet of {stop - offset} bytes", ReasonCode.PACKET_TOO_LARGE
                )
            if stop > end:
                break
            if 0x30 <= first <= 0x33 and stop - start > 4:
                body = start + 2 + (data[start] << 8 | data[start + 1])
                topic = topics.get(data[start + 2 : body])
                header: MessageHeader | None = plain_headers[first & 3]
                identifier = 0
                if topic is not None and first > 0x31:
                    if body + 2 <= stop:
                        identifier = data[body] << 8 | data[body + 1]
                        body += 2
                    if not identifier:
                        topic = None
                if topic is not None and is_v5:
                    if body >= stop:
                        topic = None
                    elif length := data[body]:
                        # A section of 128 bytes or more has a longer length, so that no
                        # entry of the table begins like it.
                        name = body
                        body += length + 1
                        header = headers[first & 3].get(data[name:body])
                        if header is not None and header.topic_alias:
                            topic = self._resolve(topic, header.topic_alias)
                    else:
                        body += 1
                if topic and header is not None and body <= stop:
                    if identifier:
                        if left:
                            left.pop((1, identifier), None)
                        order(identifier)
                    append(_new_message(Message, (topic, data[body:stop], header, identifier)))
                    if topic is known and data.startswith(data[offset : start + 2], stop):
                        offset = self._parse_run(data, offset, start, body, stop)
                    else:
                        offset = stop
                    known = topic
                    continue
            self._handle(first, data, offset, start, stop)
            offset = stop
        return offset

    def _parse_run(self, data: bytes, offset: int, start: int, body: int, stop: int) -> int:
        """Messages that differ from the one at `offset` in payload and identifier alone.

        They often come in runs, say one sensor's; for speed taken apart by one format.
        Returns where the first other packet begins.
        """
        total = stop - offset
        name = start + 2 + (data[start] << 8 | data[start + 1])
        topic, _, header, _ = self._events[-1]  # type: ignore[misc]
        append = self._events.append
        count = (len(data) - stop) // total
        rest = memoryview(data)[stop : stop + count * total]
        if not header.qos:
            beginning = data[offset:body]
            for found, payload in iter_unpack(f"{body - offset}s{stop - body}s", rest):
                if found != beginning:
                    break
                append(_new_message(Message, (topic, payload, header, 0)))
                offset += total
        elif not self._left:
            order = self._order[1].append
            beginning = data[offset:name]
            section = data[name + 2 : body]
            form = f">{name - offset}sH{body - name - 2}s{stop - body}s"
            for found, identifier, properties, payload in iter_unpack(form, rest):
                if found != beginning or properties != section or not identifier:
                    break
                order(identifier)
                append(_new_message(Message, (topic, payload, header, identifier)))
                offset += total
        return offset + total

    def _parse_pubacks(self, data: bytes) -> int:
        """Data that is nothing but PUBACKs of one form, which is what a publisher gets most.

        For speed taken apart at once; returns how many bytes are done, 0 if it is not that.
        Servers of 5.0 add a reason code, say 0x10 "no matching subscribers".
        """
        outgoing = self._outgoing
        size = 2 + data[1]
        count = len(data) // size
        has_codes = size == 5 and self._version >= 5
        if not count or outgoing.is_special or not (size == 4 or has_codes):
            return 0
        fields = unpack(">" + ("HHB" if has_codes else "HH") * count, data[: count * size])
        step = 3 if has_codes else 2
        if fields[::step].count(fields[0]) != count:
            return 0
        codes = map(_PUBACK_CODES.get, fields[2::3]) if has_codes else repeat(ReasonCode.SUCCESS)
        in_flight = outgoing.in_flight
        append = self._events.append
        done = 0
        for identifier, code in zip(fields[1::step], codes, strict=False):
            delivery = in_flight.get(identifier)
            if delivery is None or delivery.qos != 1 or code is None:
                break
            del in_flight[identifier]
            delivery.reason_code = code
            append(delivery)
            done += size
        return done

    def _handle(self, first: int, data: bytes, offset: int, start: int, stop: int) -> None:
        """Any packet, by the full decoder."""
        if self._is_over:
            return
        kind = first >> 4
        if not 1 <= kind <= 15:
            raise MalformedPacketError(f"packet type {kind} is reserved")
        fixed = FixedHeader(first, start, stop)
        packet = decode_body(self._version, PacketType(kind), fixed, data)
        if isinstance(packet, Publish):
            if not self._is_accepted:
                raise ProtocolError("PUBLISH before CONNACK")
            self._remember(fixed, data, packet)
            self._handle_publish(first, packet)
        else:
            self._handle_packet(packet)

    # --- Messages ---------------------------------------------------------------------

    def _handle_publish(self, first: int, packet: Publish) -> None:
        header = MessageHeader(first & 15, packet.properties, self._connection)
        topic = packet.topic
        if header.topic_alias:
            topic = self._resolve(topic, header.topic_alias)
        identifier = packet.packet_identifier
        message = Message(topic, packet.payload, header, identifier)
        if packet.qos == 0:
            self._events.append(message)
        elif self._is_new(packet):
            self._order[packet.qos].append(identifier)
            self._events.append(message)

    def _remember(self, fixed: FixedHeader, data: bytes, packet: Publish) -> None:
        """Puts the topic and the properties into the tables of the quick way."""
        name = fixed.start + 2
        section = name + (data[name - 2] << 8 | data[name - 1])
        if len(self._topics) >= MAX_CACHED_TOPICS:
            self._topics.clear()
        self._topics[data[name:section]] = packet.topic
        if fixed.first > 0x33 or not packet.properties:
            return
        section += 2 * (packet.qos > 0)
        length = data[section]
        if length > MAX_CACHED_SECTION_BYTES:
            return
        headers = self._headers[fixed.first & 3]
        if len(headers) >= MAX_CACHED_SECTIONS:
            headers.clear()
        headers[data[section : section + length + 1]] = MessageHeader(
            fixed.first & 3, packet.properties, self._connection
        )

    def _resolve(self, topic: str, alias: int) -> str:
        """The topic that the alias stands for, or from now on stands for."""
        if alias > self._alias_maximum:
            raise ProtocolError(f"topic alias {alias}", ReasonCode.TOPIC_ALIAS_INVALID)
        if topic:
            self._aliases[alias] = topic
            return topic
        known = self._aliases.get(alias)
        if known is None:
            raise ProtocolError(f"topic alias {alias} stands for nothing")
        return known

    def _is_new(self, packet: Publish) -> bool:
        """Whether a QoS 1 or 2 message is to be delivered, or has been before.

        A QoS 2 identifier means the same message until its PUBREL [MQTT-4.3.3-10]. A
        message that the program has from an earlier connection and has not acknowledged
        is told by DUP.
        """
        qos, identifier = packet.qos, packet.packet_identifier
        self._resent += packet.dup
        if qos == 2 and identifier in self.unreleased:
            self._send(2, identifier, ReasonCode.SUCCESS, NO_PROPERTIES)
            return False
        if identifier in self._order[qos]:
            # Sent twice on one connection. At QoS 1 only a server that breaks the rules
            # does so; the program has it, and its answer will do for both.
            return False
        left = self._left.pop((qos, identifier), None)
        if left is None or not packet.dup:
            return True
        connection, reason_code = left
        self._order[qos].append(identifier)
        if reason_code is None:
            self._redelivered[qos, identifier] = connection
        else:
            self._answer(qos, identifier, reason_code, NO_PROPERTIES)
        return False

    # --- Acknowledgements -------------------------------------------------------------

    def acknowledge(
        self, message: Message, reason_code: int = 0, properties: Properties = NO_PROPERTIES
    ) -> None:
        """PUBACK or PUBREC for `message`, in the order of the PUBLISH packets.

        An answer that is given before earlier ones waits for them [MQTT-4.6.0-2]
        [MQTT-4.6.0-3]. QoS 0 and second acknowledgements do nothing. A message of an
        earlier connection is answered when the server sends it again.
        """
        identifier = message.packet_identifier
        if not identifier:
            return
        header = message.header
        qos = header.qos
        if header.connection == self._connection:
            self._answer(qos, identifier, reason_code, properties)
        elif self._redelivered.get((qos, identifier)) == header.connection:
            del self._redelivered[qos, identifier]
            self._answer(qos, identifier, reason_code, properties)
        elif self._left.get((qos, identifier)) == (header.connection, None):
            self._left[qos, identifier] = header.connection, reason_code

    def acknowledge_all(self, messages: Iterable[Message]) -> None:
        """`acknowledge` for many, with success. For speed (`bench/client`) in one loop."""
        order = self._order[1]
        answers = self._answers[1]
        append = self._out.append
        pack = ACKNOWLEDGEMENT.pack
        checked: MessageHeader | None = None
        for message in messages:
            # By name: a tuple with names is slow to take apart.
            header = message.header
            identifier = message.packet_identifier
            if header is not checked:
                if header.qos != 1 or header.connection != self._connection:
                    self.acknowledge(message)
                    continue
                checked = header
            if order and order[0] == identifier and not answers:
                order.popleft()
                append(pack(0x4002, identifier))
            else:
                self._answer(1, identifier, 0, NO_PROPERTIES)

    def _answer(self, qos: int, identifier: int, reason_code: int, properties: Properties) -> None:
        order = self._order[qos]
        answers = self._answers[qos]
        if not answers and order and order[0] == identifier and not reason_code and qos == 1:
            order.popleft()
            self._out.append(ACKNOWLEDGEMENT.pack(0x4002, identifier))
            return
        if identifier in answers or identifier not in order:
            return
        answers[identifier] = ReasonCode(reason_code), properties
        while order and order[0] in answers:
            first = order.popleft()
            self._send(qos, first, *answers.pop(first))

    def _send(
        self, qos: int, identifier: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        packet: Puback | Pubrec
        if qos == 1:
            packet = Puback(identifier, reason_code, properties)
        else:
            packet = Pubrec(identifier, reason_code, properties)
            if reason_code < 0x80:
                self.unreleased.add(identifier)
        self._out.append(self._fitted(packet))

    def _fitted(self, packet: Puback | Pubrec) -> bytes:
        """Without its properties where they would make it too large [MQTT-3.4.2-2]."""
        encoded = encode_packet(self._version, packet)
        if len(encoded) > self.largest_answer:
            return encode_packet(self._version, replace(packet, properties=NO_PROPERTIES))
        return encoded

    def handle_pubrel(self, identifier: int) -> None:
        """PUBCOMP, after which the identifier means a new message [MQTT-4.3.3-12]."""
        reason_code = ReasonCode.SUCCESS
        if identifier not in self.unreleased:
            reason_code = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
        self.unreleased.discard(identifier)
        self._out.append(encode_packet(self._version, Pubcomp(identifier, reason_code)))
