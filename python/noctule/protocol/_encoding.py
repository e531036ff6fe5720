"""PUBLISH into bytes, as quickly as Python can, for one connection at a time."""

from __future__ import annotations

from noctule.protocol._tables import PropertyId, PropertySection
from noctule.protocol._wire import TWO_BYTES, encode_string, encode_variable
from noctule.protocol.errors import InvalidArgumentError, NotOfferedError, PacketTooLargeError
from noctule.protocol.message import Delivery
from noctule.protocol.options import MAX_PACKET_BYTES, Granted
from noctule.protocol.packets import Version
from noctule.protocol.properties import NO_PROPERTIES, Properties, encode_properties
from noctule.protocol.topics import check_topic_name

MAX_CACHED_TOPICS = 4096
ALIAS_FORM_BYTES = 6
"""An empty topic name (2) and a property section with nothing but the alias (4)."""

# The first two bytes of QoS 0 and QoS 1 PUBLISH packets of less than 128 bytes, by length.
_SHORT_AT_MOST_ONCE = tuple(bytes((0x30, length)) for length in range(0x80))
_SHORT_AT_LEAST_ONCE = tuple(bytes((0x32, length)) for length in range(0x80))

_two_bytes = TWO_BYTES.pack


class PublishEncoder:
    """Writes PUBLISH packets to `out` and counts their bytes in `unsent_bytes`.

    Topic names are checked and encoded once and then kept. In 5.0 a topic that is used a
    second time gets an alias, as long as the server has some left, MQTT 5.0 §3.3.2.3.4.
    """

    def __init__(self, out: list[bytes]) -> None:
        self.out = out
        self.unsent_bytes = 0
        self._version = Version.V5
        self._maximum_packet_size = MAX_PACKET_BYTES
        self._short_lengths = 0x80
        self._no_properties = b"\0"
        self._maximum_qos = 2
        self._retain_available = True
        self._alias_maximum = 0
        self._next_alias = 1
        self._aliases: dict[str, int] = {}
        self._names: dict[str, bytes] = {}
        # What stays the same for a topic until the connection ends: its name or alias in
        # two pieces, between which a packet identifier goes, and in one.
        self._pieces: dict[str, tuple[bytes, bytes]] = {}
        self._headers: dict[str, bytes] = {}
        self._acknowledged: dict[str, tuple[bytes, bytes, int]] = {}

    def open(self, version: Version, granted: Granted, use_aliases: bool) -> None:
        """A connection begins, with these limits and no aliases."""
        self.forget_aliases()
        self._version = version
        self._maximum_packet_size = granted.maximum_packet_size
        self._short_lengths = min(0x80, granted.maximum_packet_size - 1)
        self._no_properties = b"\0" if version >= Version.V5 else b""
        self._maximum_qos = granted.maximum_qos
        self._retain_available = granted.retain_available
        self._alias_maximum = granted.topic_alias_maximum if use_aliases else 0
        self._next_alias = 1

    def forget_aliases(self) -> None:
        """Mappings end with the connection [MQTT-3.3.2-7]."""
        self._aliases.clear()
        self._pieces.clear()
        self._headers.clear()
        self._acknowledged.clear()

    def check(self, delivery: Delivery) -> None:
        """InvalidArgumentError for what can never be sent, whatever the server offers."""
        if delivery.qos not in (0, 1, 2):
            raise InvalidArgumentError(f"QoS {delivery.qos}; it can be 0, 1 or 2")
        self._name(delivery.topic)
        if delivery.properties:
            self._section(delivery.properties, None)

    def encode_at_most_once(self, topic: str, payload: bytes) -> None:
        """QoS 0 without RETAIN and properties. Kept short for speed, see `bench/client`."""
        header = self._headers.get(topic)
        if header is None:
            header = self._header(topic)
        length = len(header) + len(payload)
        if length < self._short_lengths:
            self.out.extend((_SHORT_AT_MOST_ONCE[length], header, payload))
        else:
            self.out.extend((self._prefix(0x30, length, topic), header, payload))
        self.unsent_bytes += length

    def encode_at_least_once(self, topic: str, payload: bytes, identifier: int) -> None:
        """QoS 1 without DUP, RETAIN and properties. Kept short for speed as well."""
        pieces = self._acknowledged.get(topic)
        if pieces is None:
            pieces = self._acknowledged_pieces(topic)
        name, properties, length = pieces
        length += len(payload)
        if length < self._short_lengths:
            prefix = _SHORT_AT_LEAST_ONCE[length]
        else:
            prefix = self._prefix(0x32, length, topic)
        self.out.extend((prefix, name, _two_bytes(identifier), properties, payload))
        self.unsent_bytes += length

    def encode(self, delivery: Delivery, identifier: int) -> None:
        """Any PUBLISH. NotOfferedError and PacketTooLargeError leave nothing behind."""
        qos = delivery.qos
        if qos not in (0, 1, 2):
            raise InvalidArgumentError(f"QoS {qos}; it can be 0, 1 or 2")
        if qos > self._maximum_qos:
            raise NotOfferedError(
                f"QoS {qos}: the server offers {self._maximum_qos} at most [MQTT-3.2.2-11]"
            )
        if delivery.retain and not self._retain_available:
            raise NotOfferedError("the server keeps no retained messages [MQTT-3.2.2-14]")
        topic = delivery.topic
        name, alias = self._name_and_alias(topic)
        body = (
            name,
            TWO_BYTES.pack(identifier) if qos else b"",
            self._section(delivery.properties, alias) if self._version >= Version.V5 else b"",
            delivery.payload,
        )
        length = sum(map(len, body))
        first = 0x30 | delivery.dup << 3 | qos << 1 | delivery.retain
        self.out.extend((self._prefix(first, length, topic), *body))
        self.unsent_bytes += length

    def _prefix(self, first: int, length: int, topic: str) -> bytes:
        prefix = bytes((first,)) + encode_variable(length)
        if length + len(prefix) > self._maximum_packet_size:
            self._withdraw_alias(topic)
            raise PacketTooLargeError(
                f"the packet has {length + len(prefix)} bytes; "
                f"the server takes {self._maximum_packet_size} [MQTT-3.2.2-15]"
            )
        return prefix

    def _header(self, topic: str) -> bytes:
        name, properties = self._pieces.get(topic) or self._both_pieces(topic)
        header = name + properties
        if topic in self._pieces:
            self._headers[topic] = header
        return header

    def _both_pieces(self, topic: str) -> tuple[bytes, bytes]:
        is_final = self._is_final(topic)
        name, alias = self._name_and_alias(topic)
        properties = self._no_properties if alias is None else self._section(NO_PROPERTIES, alias)
        if is_final:
            if len(self._pieces) >= MAX_CACHED_TOPICS:
                self._pieces.clear()
                self._headers.clear()
                self._acknowledged.clear()
            self._pieces[topic] = name, properties
        return name, properties

    def _acknowledged_pieces(self, topic: str) -> tuple[bytes, bytes, int]:
        """Name, properties, and the length of both with a packet identifier."""
        if self._maximum_qos < 1:
            raise NotOfferedError("the server offers QoS 0 alone [MQTT-3.2.2-11]")
        name, properties = self._pieces.get(topic) or self._both_pieces(topic)
        pieces = name, properties, len(name) + 2 + len(properties)
        if topic in self._pieces:
            self._acknowledged[topic] = pieces
        return pieces

    def _is_final(self, topic: str) -> bool:
        """Whether the topic's form will not change any more on this connection."""
        return topic in self._aliases or self._next_alias > self._alias_maximum

    def _name_and_alias(self, topic: str) -> tuple[bytes, int | None]:
        """The topic name to write, empty where the alias says it all, and the alias."""
        is_used_before = topic in self._names
        name = self._name(topic)
        alias = self._aliases.get(topic)
        if alias is not None:
            return b"\0\0", alias
        if (
            not is_used_before
            or len(name) < ALIAS_FORM_BYTES
            or self._next_alias > self._alias_maximum
        ):
            return name, None
        alias = self._aliases[topic] = self._next_alias
        self._next_alias += 1
        return name, alias

    def _withdraw_alias(self, topic: str) -> None:
        """The packet that would have introduced the alias is not sent."""
        self._aliases.pop(topic, None)
        self._pieces.pop(topic, None)
        self._headers.pop(topic, None)
        self._acknowledged.pop(topic, None)

    def _name(self, topic: str) -> bytes:
        name = self._names.get(topic)
        if name is None:
            check_topic_name(topic)
            name = encode_string(topic)
            if len(self._names) >= MAX_CACHED_TOPICS:
                self._names.clear()
            self._names[topic] = name
        return name

    def _section(self, properties: Properties, alias: int | None) -> bytes:
        response_topic = properties.string(PropertyId.RESPONSE_TOPIC)
        if response_topic is not None:
            check_topic_name(response_topic)
        if alias is not None:
            properties = Properties((*properties, (PropertyId.TOPIC_ALIAS, alias)))
        return encode_properties(PropertySection.PUBLISH, properties)
