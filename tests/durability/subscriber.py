"""Subscribers: they keep count of what was delivered to them."""

from collections import Counter

from tests.conformance.wire import packets
from tests.conformance.wire.packets import Packet

from .peer import Peer

__all__ = ["Changer", "Subscriber"]


class Subscriber(Peer):
    """Subscribes to one filter on its first connection, and receives for ever."""

    def __init__(
        self, name: str, version: int, topic_filter: str, qos: int, **properties: int
    ) -> None:
        super().__init__(name, version, **properties)
        self.topic_filter = topic_filter
        self.qos = qos
        self.is_subscribed = False
        self.delivered: Counter[bytes] = Counter()
        self.in_order: list[bytes] = []
        """Payloads in the order in which each came first."""
        self.held: set[int] = set()
        """Packet identifiers of QoS 2 messages taken and not released [MQTT-4.3.3-10]."""
        self.has_pong = False

    def resume(self) -> None:
        """Subscribe, once."""
        if not self.is_subscribed:
            request = [(self.topic_filter, self.qos)]
            self.send(packets.subscribe(self.version, self.next_identifier(), request))

    def handle(self, packet: Packet) -> None:
        """Take messages, each once where its QoS is 2."""
        match packet.type:
            case "SUBACK":
                assert packet.codes == (self.qos,)
                self.is_subscribed = True
            case "PUBLISH":
                self._handle_publish(packet)
            case "PUBREL":
                self.held.discard(packet.packet_id)
                self.acknowledge("PUBCOMP", packet.packet_id)
            case "PINGRESP":
                self.has_pong = True
            case _:
                raise AssertionError(f"{self.name} got {packet}")

    def ping(self) -> None:
        """Ask for a sign that all the broker had to say before has come."""
        self.has_pong = False
        self.send(packets.PINGREQ)

    def _handle_publish(self, packet: Packet) -> None:
        if packet.qos < 2:
            self.take(packet)
            if packet.qos == 1:
                self.acknowledge("PUBACK", packet.packet_id)
            return
        if packet.packet_id not in self.held:
            self.held.add(packet.packet_id)
            self.take(packet)
        self.acknowledge("PUBREC", packet.packet_id)

    def take(self, packet: Packet) -> None:
        """A message is ours."""
        if packet.payload not in self.delivered:
            self.in_order.append(packet.payload)
        self.delivered[packet.payload] += 1


class Changer(Peer):
    """Subscribes to its filters and unsubscribes, without a pause."""

    def __init__(self, name: str, version: int, filters: int) -> None:
        super().__init__(name, version)
        self.filters = [f"change/{name}/{index}" for index in range(filters)]
        self.possible: dict[str, set[int | None]] = {each: {None} for each in self.filters}
        """QoS each filter may be granted at; None: not subscribed. One, unless a change is open."""
        self.open: dict[int, tuple[str, int | None]] = {}
        self.changes = 0
        self.is_ending = False
        self.probe = b""
        """Payload of the probes in hand."""
        self.probed: dict[str, int] = {}
        """QoS at which each probe came, by topic."""

    def resume(self) -> None:
        """What was not acknowledged may have happened or not; it is not asked for again."""
        self.open.clear()

    @property
    def end(self) -> str:
        """The topic whose probe comes behind all others."""
        return f"change/{self.name}/end"

    def learn(self) -> None:
        """Compare what was delivered with what may be subscribed to, which is known then."""
        for topic_filter, possible in self.possible.items():
            qos = self.probed.get(topic_filter)
            assert qos in possible, (
                f"{self.name} may have {topic_filter} at QoS {possible}, and has it at {qos}"
            )
            self.possible[topic_filter] = {qos}

    def act(self) -> None:
        """Change one filter at a time for each answer that is due."""
        while len(self.open) < 4 and not self.is_ending:
            topic_filter = self.filters[self.changes % len(self.filters)]
            qos = (None, 1, 2, 1, None, 2)[self.changes // len(self.filters) % 6]
            self.changes += 1
            packet_id = self.next_identifier(self.open)
            self.open[packet_id] = (topic_filter, qos)
            self.possible[topic_filter] = {*self.possible[topic_filter], qos}
            if qos is None:
                self.send(packets.unsubscribe(self.version, packet_id, [topic_filter]))
            else:
                self.send(packets.subscribe(self.version, packet_id, [(topic_filter, qos)]))

    def handle(self, packet: Packet) -> None:
        """An answer settles what its filter is."""
        match packet.type:
            case "SUBACK" | "UNSUBACK":
                topic_filter, qos = self.open.pop(packet.packet_id)
                open_now = {later for each, later in self.open.values() if each == topic_filter}
                self.possible[topic_filter] = {qos, *open_now}
            case "PUBLISH":
                if packet.payload == self.probe:
                    self.probed[packet.topic] = packet.qos
                if packet.qos == 1:
                    self.acknowledge("PUBACK", packet.packet_id)
                else:
                    self.acknowledge("PUBREC", packet.packet_id)
            case "PUBREL":
                self.acknowledge("PUBCOMP", packet.packet_id)
            case _:
                raise AssertionError(f"{self.name} got {packet}")
