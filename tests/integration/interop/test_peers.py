"""Other people's client libraries exchange messages through the broker.

Each at every version it speaks and at each QoS, in both directions: what it publishes reaches
paho-mqtt, and what paho-mqtt publishes reaches it.
"""

from collections.abc import Callable
from uuid import uuid4

import pytest

from tests.integration.interop.conftest import VERSIONS, PeerStarter
from tests.integration.interop.peer import Message, Peer, Will

pytestmark = pytest.mark.interop

SPOKEN = [(name, version) for name, versions in VERSIONS.items() for version in versions]
QOS = (0, 1, 2)


@pytest.fixture
def topic() -> str:
    """A topic name of the test's own."""
    return f"interop/{uuid4().hex}"


@pytest.fixture(scope="module")
def counterpart(start_peer: PeerStarter, broker_port: int) -> Peer:
    """paho-mqtt with MQTT 3.1.1, who is at the other end of each exchange."""
    peer = start_peer("paho")
    peer.connect(broker_port, "3.1.1", f"counterpart-{uuid4().hex[:12]}")
    return peer


@pytest.fixture(scope="module", params=SPOKEN, ids=lambda spoken: f"{spoken[0]}-{spoken[1]}")
def spoken(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A client library and a version of MQTT."""
    chosen: tuple[str, str] = request.param
    return chosen


@pytest.fixture(scope="module")
def peer(spoken: tuple[str, str], start_peer: PeerStarter, broker_port: int) -> Peer:
    """The library, connected."""
    name, version = spoken
    started = start_peer(name)
    started.connect(broker_port, version, short_name())
    return started


@pytest.fixture
def connected(
    spoken: tuple[str, str], start_peer: PeerStarter, broker_port: int
) -> Callable[..., tuple[Peer, bool | None]]:
    """Starts one more process of the library and connects it."""
    name, version = spoken

    def start(client: str, **options: object) -> tuple[Peer, bool | None]:
        started = start_peer(name)
        return started, started.connect(broker_port, version, client, **options)  # type: ignore[arg-type]

    return start


def short_name() -> str:
    """A client identifier of the 23 characters that every server takes [MQTT-3.1.3-5]."""
    return f"peer{uuid4().hex[:19]}"


@pytest.mark.parametrize("qos", QOS)
def test_peer_receives_what_paho_publishes(
    peer: Peer, counterpart: Peer, topic: str, qos: int
) -> None:
    peer.subscribe(topic, qos)
    counterpart.publish(topic, f"to the peer at {qos}: ü", qos)
    assert peer.message() == Message(topic, f"to the peer at {qos}: ü", qos, retain=False)
    assert not peer.has_message()


@pytest.mark.parametrize("qos", QOS)
def test_paho_receives_what_peer_publishes(
    peer: Peer, counterpart: Peer, topic: str, qos: int
) -> None:
    counterpart.subscribe(topic, qos)
    peer.publish(topic, f"from the peer at {qos}", qos)
    assert counterpart.message() == Message(topic, f"from the peer at {qos}", qos, retain=False)
    assert not counterpart.has_message()


@pytest.mark.parametrize("qos", QOS)
def test_delivery_is_at_the_lower_of_both_qos(
    peer: Peer, counterpart: Peer, topic: str, qos: int
) -> None:
    peer.subscribe(topic, qos)
    counterpart.publish(topic, "as well as may be", 2)
    assert peer.message() == Message(topic, "as well as may be", qos, retain=False)


def test_peer_receives_through_wildcards(peer: Peer, counterpart: Peer, topic: str) -> None:
    peer.subscribe(f"{topic}/+/temperature", 1)
    counterpart.publish(f"{topic}/kitchen/humidity", "40", 1)
    counterpart.publish(f"{topic}/kitchen/temperature", "21", 1)
    assert peer.message() == Message(f"{topic}/kitchen/temperature", "21", 1, retain=False)


@pytest.mark.parametrize("qos", QOS)
def test_peer_receives_retained_message(
    peer: Peer, counterpart: Peer, topic: str, qos: int
) -> None:
    counterpart.publish(topic, "kept", qos, retain=True)
    await_published(counterpart, topic)
    peer.subscribe(topic, qos)
    assert peer.message() == Message(topic, "kept", qos, retain=True)


def test_peer_sets_and_clears_retained_message(peer: Peer, counterpart: Peer, topic: str) -> None:
    peer.publish(f"{topic}/cleared", "for a while", 1, retain=True)
    peer.publish(f"{topic}/kept", "to stay", 1, retain=True)
    peer.publish(f"{topic}/cleared", "", 1, retain=True)
    counterpart.subscribe(f"{topic}/#", 1)
    assert counterpart.message() == Message(f"{topic}/kept", "to stay", 1, retain=True)
    counterpart.publish(f"{topic}/end", "no other came", 1)
    assert counterpart.message().topic == f"{topic}/end"


@pytest.mark.parametrize("qos", QOS)
def test_will_fires_when_peer_is_killed(
    connected: Callable[..., tuple[Peer, bool | None]], counterpart: Peer, topic: str, qos: int
) -> None:
    counterpart.subscribe(topic, 2)
    doomed, _ = connected(short_name(), will=Will(topic, "gone", qos, retain=False))
    doomed.kill()
    assert counterpart.message() == Message(topic, "gone", qos, retain=False)


def test_will_does_not_fire_when_peer_says_goodbye(
    connected: Callable[..., tuple[Peer, bool | None]], counterpart: Peer, topic: str
) -> None:
    counterpart.subscribe(topic, 2)
    polite, _ = connected(short_name(), will=Will(topic, "gone", 1, retain=False))
    polite.disconnect()
    polite.kill()
    counterpart.publish(topic, "still quiet", 1)
    assert counterpart.message().payload == "still quiet"


def test_session_is_resumed_with_what_came_meanwhile(
    connected: Callable[..., tuple[Peer, bool | None]],
    counterpart: Peer,
    spoken: tuple[str, str],
    topic: str,
) -> None:
    _, version = spoken
    client = short_name()
    first, present = connected(client, clean=False)
    assert not present
    first.subscribe(f"{topic}/#", 2)
    first.kill()
    for qos in (1, 2):
        counterpart.publish(f"{topic}/{qos}", f"while away, {qos}", qos)

    second, present = connected(client, clean=False)
    if version != "3.1":  # CONNACK of 3.1 does not say
        assert present in (True, None)
    received = [second.message(), second.message()]
    assert received == [
        Message(f"{topic}/{qos}", f"while away, {qos}", qos, retain=False) for qos in (1, 2)
    ]


def test_clean_session_forgets(
    connected: Callable[..., tuple[Peer, bool | None]], counterpart: Peer, topic: str
) -> None:
    client = short_name()
    first, _ = connected(client, clean=False)
    first.subscribe(topic, 1)
    first.disconnect()
    second, present = connected(client, clean=True)
    assert not present
    counterpart.publish(topic, "nobody listens", 1)
    second.subscribe(f"{topic}/after", 1)
    counterpart.publish(f"{topic}/after", "somebody does", 1)
    assert second.message().payload == "somebody does"


def await_published(publisher: Peer, topic: str) -> None:
    """Have the broker answer once more, so that what was sent at QoS 0 has been handled."""
    publisher.publish(f"{topic}/handled", "", 1)
