"""The access matrix on a live broker: what clients are told and sent, against the oracle.

Each row is an action of one client under one set of rules: a PUBLISH at some QoS, retained or
not; a SUBSCRIBE, shared or not; a will; a delivery, retained or live, by a shared subscription
or not; each before and after the rules have changed under the session.
"""

import asyncio
import random
import struct
from typing import Any

import pytest

from noctule.access import Access, Function, Identity
from noctule.broker import AuthenticationRequest, Broker
from tests.integration.broker.wire import frame, split, text
from tests.unit.access import oracle
from tests.unit.access.test_matrix import PEOPLE, some_filter, some_rule

CONNACK, PUBLISH, PUBACK, PUBREC, PUBCOMP, SUBACK, UNSUBACK = 2, 3, 4, 5, 7, 9, 11
NOT_AUTHORIZED = 0x87
NO_RETAINED = 0x20
NAMES = ("a", "b", "x", "+")
IDENTITIES = [(client, user) for client, user in PEOPLE if client and user != ""] + [("c", "")]
OPERATORS = frozenset({"operators"})
TOPICS = [topic for topic in oracle.WORLD if not topic.startswith("$") and topic.count("/") < 3]
# What the frame of the test needs: subscriptions of everything, and to see the end.
FRAME: list[dict[str, Any]] = [
    {"actions": ["subscribe"]},
    {"actions": ["receive"], "filter": "end"},
]
EVERYTHING: dict[str, Any] = {
    "permission": "allow",
    "actions": ["publish", "subscribe", "receive"],
    "filter": "#",
    **{key: [] for key in ("users", "groups", "clients", "addresses", "listeners")},
}
END: dict[str, Any] = {"actions": ["receive"], "filter": "end"}
PUBLISHES, SUBSCRIPTIONS, WILLS = 24, 14, 3
WORLDS = 12
ROWS_A_WORLD = 1_250


class Person:
    """A 5.0 client that says raw things and remembers what it was sent."""

    def __init__(self, number: int, client: str, user: str | None) -> None:
        self.client, self.user, self.number = client, user, number
        self.groups = OPERATORS if number % 2 else frozenset()
        self.is_sharing = number % 3 == 0
        self.everything = f"$share/{number}/#" if self.is_sharing else "#"
        self.who = (client, user, self.groups, "127.0.0.1", 0)
        self.received: set[tuple[bytes, str]] = set()
        self._unread = bytearray()

    async def connect(self, port: int, will: tuple[str, int, bool] | None = None) -> int:
        """The reason code of CONNACK."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        flags, rest = 0x02, text(self.client)
        if will is not None:
            topic, qos, retain = will
            flags |= 0x04 | qos << 3 | retain << 5
            rest += b"\0" + text(topic) + struct.pack("!H", 1) + b"w"
        if self.user is not None:
            flags |= 0x80
            rest += text(self.user)
        self.say(frame(0x10, text("MQTT") + struct.pack("!BBHB", 5, flags, 0, 0) + rest))
        return (await self.answers({CONNACK}, 1))[0][1]

    def say(self, packet: bytes) -> None:
        self._writer.write(packet)

    async def answers(self, kinds: set[int], count: int) -> list[bytes]:
        """The bodies of that many packets of the kinds, in order; deliveries are remembered."""
        found: list[bytes] = []
        async with asyncio.timeout(20):
            while len(found) < count:
                found += [body for kind, body in await self.some() if kind in kinds]
        return found

    async def until(self, tag: bytes, topics: set[str]) -> None:
        """Wait for these deliveries."""
        async with asyncio.timeout(20):
            while not {(tag, topic) for topic in topics} <= self.received:
                await self.some()

    async def some(self) -> list[tuple[int, bytes]]:
        data = await self._reader.read(1 << 16)
        assert data, "the broker closed the connection"
        self._unread += data
        packets = list(split(self._unread))
        if packets:
            del self._unread[: packets[-1][3]]
        for kind, flags, body, _ in packets:
            if kind == PUBLISH:
                self._take(flags, body)
        return [(kind, body) for kind, _, body, _ in packets]

    def _take(self, flags: int, body: bytes) -> None:
        assert flags & 0x06 == 0, "subscribed at QoS 0"
        (length,) = struct.unpack_from("!H", body)
        # The properties: none, or a subscription's nothing.
        self.received.add((body[3 + length :], body[2 : 2 + length].decode()))

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


def named(request: AuthenticationRequest) -> Identity:
    number = [client for client, _ in IDENTITIES].index(request.client)
    return Identity(request.user, groups=OPERATORS if number % 2 else frozenset())


def publish(topic: str, qos: int, retain: bool, identifier: int) -> bytes:
    head = text(topic) + struct.pack("!H", identifier)
    return frame(0x30 | qos << 1 | retain, head + b"\0p")


def subscribe(topic_filter: str, options: int, identifier: int) -> bytes:
    return frame(0x82, struct.pack("!HB", identifier, 0) + text(topic_filter) + bytes([options]))


class World:
    """A broker, its people, and rules that change."""

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)
        self.rules: list[dict[str, Any]] = []
        self.rows = 0
        self.verdicts = {True: 0, False: 0}
        self.people = [Person(number, *each) for number, each in enumerate(IDENTITIES)]

    def some_rules(self) -> list[dict[str, Any]]:
        rules = [some_rule(self.choose) for _ in range(self.choose.randint(4, 8))]
        for rule in rules:
            # Everybody comes from the same address to the same listener: few rules ask.
            if self.choose.random() < 0.8:
                rule.update(addresses=[], listeners=[])
        return [*rules, {**EVERYTHING, "maximum_qos": 1, "retain": False}]

    def expected(
        self, person: Person, action: str, topic: str, qos: int = 0, retain: bool = False
    ) -> bool:
        self.rows += 1
        # $-topics are the broker's own, whatever rules say.
        own = action == "publish" and topic.startswith("$")
        answer = not own and oracle.allowed(self.rules, person.who, action, topic, qos, retain)
        self.verdicts[answer] += 1
        return answer

    def receives(self, person: Person) -> set[str]:
        return {topic for topic in TOPICS if self.expected(person, "receive", topic)}

    async def check_requests(self, person: Person) -> None:
        """What a client is told of its PUBLISHes and SUBSCRIBEs."""
        choose = self.choose
        asked = [
            (choose.choice(oracle.WORLD), choose.randint(1, 2), choose.random() < 0.3)
            for _ in range(PUBLISHES)
        ]
        for identifier, (topic, qos, retain) in enumerate(asked, 1):
            person.say(publish(topic, qos, retain, identifier))
        bodies = await person.answers({PUBACK, PUBREC}, PUBLISHES)
        told = {int.from_bytes(body[:2]): body[2] if len(body) > 2 else 0 for body in bodies}
        for identifier, (topic, qos, retain) in enumerate(asked, 1):
            allowed = self.expected(person, "publish", topic, qos, retain)
            self.agree(told[identifier], allowed, person, ("publish", topic, qos, retain))
            if qos == 2 and allowed:  # or the identifier would not be free again
                person.say(frame(0x62, struct.pack("!H", identifier)))
        twos = sum(
            asked[identifier - 1][1] == 2 and code < 0x80 for identifier, code in told.items()
        )
        await person.answers({PUBCOMP}, twos)
        for number in range(SUBSCRIPTIONS):
            wanted, qos = some_filter(choose, NAMES), choose.randint(0, 2)
            # The subscription of everything that is there is left alone.
            is_shared = wanted == "#" or choose.random() < 0.4
            shared = f"$share/g/{wanted}" if is_shared else wanted
            person.say(subscribe(shared, qos | NO_RETAINED, 100 + number))
            (body,) = await person.answers({SUBACK}, 1)
            allowed = self.expected(person, "subscribe", wanted, qos)
            self.agree(body[-1], allowed, person, ("subscribe", shared, qos))
            if allowed:  # so that deliveries are those of one subscription
                gone = struct.pack("!HB", 100 + number, 0) + text(shared)
                person.say(frame(0xA2, gone))
                await person.answers({UNSUBACK}, 1)

    def agree(self, code: int, allowed: bool, person: Person, asked: object) -> None:
        right = code < 0x80 if allowed else code == NOT_AUTHORIZED
        assert right, (hex(code), allowed, person.who, asked, self.rules)


@pytest.mark.parametrize("seed", range(WORLDS))
async def test_broker_and_oracle_agree(seed: int) -> None:
    world = World(seed)
    access = Access(links=[Function(named)], rules=[{}])
    options: dict[str, Any] = {"listeners": ["mqtt://127.0.0.1:0"], "durability": "memory"}
    async with Broker(authenticator=access, **options) as broker:
        for topic in TOPICS:
            await broker.publish(topic, b"retained", retain=True)
        world.rules = world.some_rules()
        await access.update([*FRAME, *world.rules])
        retained = {}
        for person in world.people:
            assert await person.connect(broker.port) == 0
            person.say(subscribe(person.everything, 0, 1))
            assert (await person.answers({SUBACK}, 1))[0][-1] == 0
            # A shared subscription is sent no retained messages [MQTT-4.8.2].
            retained[person] = set() if person.is_sharing else world.receives(person)
            await person.until(b"retained", retained[person])
        live = {}
        for tag in (b"before", b"after"):
            await access.update([END, *world.rules])
            for topic in TOPICS:
                await broker.publish(topic, tag)
            for person in world.people:
                live[tag, person] = world.receives(person)
                await person.until(tag, live[tag, person])
                await world.check_requests(person)
            if tag == b"before":
                world.rules = world.some_rules()
        await broker.publish("end", b"end")
        for person in world.people:
            await person.until(b"end", {"end"})
            for tag in (b"retained", b"before", b"after"):
                sent = {topic for each, topic in person.received if each == tag}
                wanted = retained[person] if tag == b"retained" else live[tag, person]
                assert sent == wanted, (tag, person.who, world.rules)
            await person.close()
        for person in world.people:
            for _ in range(WILLS):
                topic = world.choose.choice(oracle.WORLD)
                qos, retain = world.choose.randint(0, 2), world.choose.random() < 0.5
                allowed = world.expected(person, "publish", topic, qos, retain)
                code = await person.connect(broker.port, (topic, qos, retain))
                world.agree(code, allowed, person, ("will", topic, qos, retain))
                await person.close()
    assert world.rows >= ROWS_A_WORLD, world.rows
    assert min(world.verdicts.values()) > world.rows // 10, world.verdicts
