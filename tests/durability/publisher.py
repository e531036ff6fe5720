"""Publishers: numbered messages and retained values, sent again until they are acknowledged."""

import random
from dataclasses import dataclass

from tests.conformance.wire import packets
from tests.conformance.wire.packets import Packet

from .peer import Peer

__all__ = ["Publisher", "RetainedPublisher"]

WINDOW = 20
"""Messages under way at a time; far below any receive maximum."""

GOOD = {"PUBACK": (0x00, 0x10), "PUBREC": (0x00, 0x10), "PUBCOMP": (0x00, 0x92)}
"""Reason codes of things that go well. 0x10: nobody subscribed. 0x92: a PUBREL that was sent
again is of an identifier that the first one released."""


@dataclass
class Sent:
    """A message under way. PUBREC has come if it is `released`."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    number: int
    released: bool = False


class Publisher(Peer):
    """Publishes `NAME QOS NUMBER`, numbered from 0, at QoS 1 and 2 in turn."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(name, version)
        self.sent = 0
        self.first = 0
        """The first number that has not been checked."""
        self.acknowledged: set[int] = set()
        """Numbers for which PUBACK or PUBREC has come: the broker has promised to deliver."""
        self.under_way: dict[int, Sent] = {}
        """By packet identifier, in the order of the first sending."""
        self.is_ending = False
        """Nothing new is sent any more."""

    def payload(self, number: int) -> bytes:
        """What message `number` says."""
        return f"{self.name} {1 + number % 2} {number}".encode()

    def message(self) -> Sent:
        """The next message."""
        topic, payload = "load/" + self.name, self.payload(self.sent)
        return Sent(topic, payload, 1 + self.sent % 2, retain=False, number=self.sent)

    def resume(self) -> None:
        """Send again what is not finished, in its order [MQTT-4.4.0-1]."""
        for packet_id, sent in self.under_way.items():
            if sent.released:
                self.acknowledge("PUBREL", packet_id)
            else:
                self._publish(packet_id, sent, dup=True)

    def act(self) -> None:
        """Send as much as the window allows."""
        while len(self.under_way) < WINDOW and not self.is_ending:
            sent = self.message()
            self.sent += 1
            packet_id = self.next_identifier(self.under_way)
            self.under_way[packet_id] = sent
            self._publish(packet_id, sent, dup=False)

    def _publish(self, packet_id: int, sent: Sent, *, dup: bool) -> None:
        self.send(
            packets.publish(
                self.version,
                sent.topic,
                sent.payload,
                qos=sent.qos,
                packet_id=packet_id,
                retain=sent.retain,
                dup=dup,
            )
        )

    def handle(self, packet: Packet) -> None:
        """Count what is acknowledged; every acknowledgement must be of something under way."""
        sent = self.under_way.get(packet.packet_id)
        assert sent is not None, f"{self.name} has nothing under way for {packet}"
        assert packet.code in GOOD[packet.type], f"{self.name} was refused: {packet}"
        match packet.type, sent.qos:
            case "PUBACK", 1:
                del self.under_way[packet.packet_id]
            case "PUBREC", 2:
                sent.released = True
                self.acknowledge("PUBREL", packet.packet_id)
            case "PUBCOMP", 2:
                assert sent.released, f"PUBCOMP without PUBREC: {packet}"
                del self.under_way[packet.packet_id]
            case _:
                raise AssertionError(f"{packet} for a message of QoS {sent.qos}")
        self.acknowledged.add(sent.number)

    def forget(self) -> None:
        """Begin the count anew, when all has been delivered and checked."""
        self.acknowledged.clear()
        self.first = self.sent

    @property
    def is_finished(self) -> bool:
        """Whether all that was sent has been acknowledged to its end."""
        return not self.under_way


class RetainedPublisher(Publisher):
    """Sets the retained messages of its topics to rising numbers, and clears one now and then.

    A topic has one QoS: a message of QoS 1 that is sent again may rightly replace one of QoS 2
    that came behind it and is not taken twice.
    """

    def __init__(self, name: str, version: int, topics: int, seed: int) -> None:
        super().__init__(name, version)
        self.random = random.Random(seed)
        self.topics = [f"retained/{name}/{index}" for index in range(topics)]
        self.values: dict[str, list[tuple[int, bytes]]] = {topic: [] for topic in self.topics}
        """Number and payload of all that was sent to each topic, in order."""

    def message(self) -> Sent:
        """The next value of some topic; an empty one clears it."""
        index = self.random.randrange(len(self.topics))
        topic = self.topics[index]
        cleared = self.random.random() < 0.2
        payload = b"" if cleared else str(self.sent).encode()
        self.values[topic].append((self.sent, payload))
        return Sent(topic, payload, 1 + index % 2, retain=True, number=self.sent)

    def allowed(self, topic: str) -> set[bytes]:
        """What may be retained now: the value acknowledged last, or one sent after it."""
        values = self.values[topic]
        known = [at for at, (number, _) in enumerate(values) if number in self.acknowledged]
        if not known:
            return {b"", *(payload for _, payload in values)}
        return {payload for _, payload in values[known[-1] :]}
