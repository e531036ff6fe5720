"""A broker that is killed again and again, and the clients that hold it to its word."""

import random
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tests.conformance.wire import Client, packets
from tests.served_broker import ServedBroker

from .peer import Address, Peer
from .publisher import Publisher, RetainedPublisher
from .session_ender import SessionEnder
from .subscriber import Changer, Subscriber

__all__ = ["Torture"]

LONGEST_LOAD_SECONDS = 0.3
SILENCE_SECONDS = 20.0
"""Without a packet to any client: the broker has no more to say, however slow the machine."""
CHECK_EVERY = 25
"""Kills after which everything is delivered and counted."""


class Torture:
    """Clients of both protocol versions, on a broker with its store in `directory`."""

    def __init__(self, directory: Path, durability: str, seed: int) -> None:
        self.arguments = ("--data-dir", str(directory), "--durability", durability)
        self.random = random.Random(seed)
        self.publishers = [Publisher("p5", 5), Publisher("p4", 4)]
        self.retained = [RetainedPublisher(f"r{version}", version, 6, seed) for version in (4, 5)]
        self.alone = [
            Subscriber("s5", 5, "load/#", 2, receive_maximum=10),
            Subscriber("s4", 4, "load/#", 2),
            Subscriber("q1", 5, "load/#", 1),
        ]
        self.group = [
            Subscriber(f"m{version}", version, "$share/g/load/#", 2) for version in (4, 5)
        ]
        self.changers = [Changer(f"c{version}", version, 8) for version in (4, 5)]
        self.ender = SessionEnder("ender")
        self.round = 0
        self.delivered = 0
        """Messages that were published and checked."""

    @property
    def peers(self) -> Sequence[Peer]:
        """Everyone but the ender, whose session comes and goes."""
        return [*self.publishers, *self.retained, *self.alone, *self.group, *self.changers]

    def run(self, kills: int) -> None:
        """Kill the broker so many times; raises AssertionError if it broke a promise."""
        try:
            self._run(kills)
        finally:
            self._disconnect()

    def _run(self, kills: int) -> None:
        with self._broker() as broker:
            self._set_up(("127.0.0.1", broker.port))
            broker.kill()
        for kill in range(1, kills + 1):
            self.round += 1
            with self._broker() as broker:
                address = ("127.0.0.1", broker.port)
                self._check(address)
                self._load_until_killed(broker, address)
            if kill % CHECK_EVERY == 0 or kill == kills:
                with self._broker() as broker:
                    self._settle(("127.0.0.1", broker.port))
                print(f"{kill} kills, {self.delivered} messages", flush=True)

    def _broker(self) -> ServedBroker:
        return ServedBroker(*self.arguments, "--workers", "2")

    def _set_up(self, address: Address) -> None:
        subscribers = [*self.alone, *self.group]
        for peer in self.peers:
            peer.connect(address)
        self._turn_until(lambda: all(each.is_subscribed for each in subscribers), subscribers)
        for changer in self.changers:
            assert changer.client is not None
            changer.client.subscribe(changer.end, qos=1)
        self._disconnect()

    def _load_until_killed(self, broker: ServedBroker, address: Address) -> None:
        awake = [peer for peer in self.peers if self.random.random() < 0.9]
        self.random.shuffle(awake)
        ends_at = self.random.random() * LONGEST_LOAD_SECONDS
        timer = threading.Timer(ends_at, self.end, [broker])
        timer.start()
        try:
            for peer in awake:
                peer.connect(address)
            turns = 0
            while any(peer.is_connected for peer in awake):
                self._turn(awake)
                turns += 1
                if turns == 5:
                    self.ender.end(address)
        finally:
            timer.join()
            broker.process.wait()
            self._disconnect()

    def end(self, broker: ServedBroker) -> None:
        """End the broker under load."""
        broker.process.kill()

    def _check(self, address: Address) -> None:
        """What must be right at any time, before anyone sends more."""
        self.ender.check(address)
        self._check_retained(address)
        self._check_subscriptions(address)

    def _check_retained(self, address: Address) -> None:
        with Client(address, client_id="reader") as reader:
            reader.connect()
            reader.subscribe("retained/#", qos=0)
            reader.send(packets.PINGREQ)
            found: dict[str, bytes] = {}
            while (packet := reader.receive()) is not None and packet.type == "PUBLISH":
                assert packet.retain
                found[packet.topic] = packet.payload
        for publisher in self.retained:
            for topic in publisher.topics:
                value, allowed = found.pop(topic, b""), publisher.allowed(topic)
                assert value in allowed, f"{topic} holds {value!r}, not one of {allowed}"
        assert not found, f"retained messages that nobody published: {found}"

    def _check_subscriptions(self, address: Address) -> None:
        """A message to every filter: those that come are those that are subscribed to."""
        is_connected = self.random.random() < 0.5
        with Client(address, client_id="prober") as prober:
            prober.connect()
            for changer in self.changers:
                changer.is_ending = True
                changer.probe, changer.probed = b"probe %d" % self.round, {}
                if is_connected:
                    changer.connect(address)
                for topic in [*changer.filters, changer.end]:
                    prober.publish(topic, changer.probe, qos=2)
        for changer in self.changers:
            if not is_connected:
                changer.connect(address)
        self._turn_until(self._are_probed, self.changers)
        for changer in self.changers:
            changer.learn()
            changer.lose()
            changer.is_ending = False

    def _are_probed(self) -> bool:
        return all(changer.end in changer.probed for changer in self.changers)

    def _settle(self, address: Address) -> None:
        """Everything is sent to its end and delivered; then it is counted."""
        publishers = [*self.publishers, *self.retained]
        subscribers = [*self.alone, *self.group]
        for publisher in publishers:
            publisher.is_ending = True
        for peer in [*publishers, *subscribers]:
            peer.connect(address)
        peers: list[Peer] = [*publishers, *subscribers]
        self._turn_until(lambda: all(each.is_finished for each in publishers), peers)
        expected = {
            publisher.payload(number)
            for publisher in self.publishers
            for number in range(publisher.first, publisher.sent)
        }
        for publisher in self.publishers:
            missed = set(range(publisher.first, publisher.sent)) - publisher.acknowledged
            assert not missed
        self._turn_until(lambda: self._have_all(expected), subscribers, may_be_late=True)
        for subscriber in subscribers:
            subscriber.ping()
        self._turn_until(lambda: all(each.has_pong for each in subscribers), subscribers)
        self._count(expected)
        self._check_retained(address)
        self.delivered += len(expected)
        for publisher in publishers:
            publisher.forget()
            publisher.is_ending = False
        self._disconnect()

    def _have_all(self, expected: set[bytes]) -> bool:
        together = self.group[0].delivered + self.group[1].delivered
        have_all = all(expected <= each.delivered.keys() for each in self.alone)
        is_quiet = not any(each.held for each in [*self.alone, *self.group])
        return have_all and expected <= together.keys() and is_quiet

    def _count(self, expected: set[bytes]) -> None:
        for subscriber in self.alone:
            check_deliveries(subscriber.name, subscriber.delivered, expected, subscriber.qos)
            check_order(subscriber.name, subscriber.in_order)
        together = sum((each.delivered for each in self.group), Counter[bytes]())
        check_deliveries("the group", together, expected, 2)
        for subscriber in [*self.alone, *self.group]:
            subscriber.delivered.clear()
            subscriber.in_order.clear()

    def _turn(self, peers: Iterable[Peer]) -> None:
        sockets = [peer.client.socket for peer in peers if peer.client is not None]
        select.select(sockets, [], [], 0.005)
        for peer in peers:
            peer.turn()

    def _turn_until(
        self, is_over: Callable[[], bool], peers: Sequence[Peer], *, may_be_late: bool = False
    ) -> None:
        heard, silent_since = -1, 0.0
        while not is_over():
            self._turn(peers)
            gone = [peer.name for peer in peers if not peer.is_connected]
            assert not gone, f"the broker ended the connections of {gone}"
            heard_by_now = sum(peer.heard for peer in peers)
            if heard_by_now != heard:
                heard, silent_since = heard_by_now, time.monotonic()
            elif time.monotonic() > silent_since + SILENCE_SECONDS:
                assert may_be_late, "the broker no longer answers"
                return

    def _disconnect(self) -> None:
        for peer in self.peers:
            peer.lose()


def check_deliveries(
    name: str, delivered: Counter[bytes], expected: set[bytes], granted: int
) -> None:
    """Acknowledged is delivered, and at QoS 2 once. The payload's second word is its QoS."""
    missing = sorted(expected - delivered.keys())
    assert not missing, f"{name} never got {len(missing)} acknowledged: {missing[:10]}"
    unknown = sorted(delivered.keys() - expected)
    assert not unknown, f"{name} got {len(unknown)} that nobody sent: {unknown[:10]}"
    twice = [each for each, count in delivered.items() if count > 1 and qos(each) == granted == 2]
    assert not twice, f"{name} got {len(twice)} of QoS 2 more than once: {sorted(twice)[:10]}"


def check_order(name: str, in_order: list[bytes]) -> None:
    """What one client publishes at one QoS comes first in the order of publishing (§4.6)."""
    last: dict[bytes, int] = {}
    for payload in in_order:
        stream, _, number = payload.rpartition(b" ")
        assert int(number) > last.get(stream, -1), f"{name} got {payload!r} after {last[stream]}"
        last[stream] = int(number)


def qos(payload: bytes) -> int:
    """The QoS at which a message was published."""
    return int(payload.split()[1])
