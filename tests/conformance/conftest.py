"""Fixtures of the conformance suite.

    broker    the running server, with the options of the nearest `broker` marker
    connect   makes connected clients; all are closed at the end of the test
    dial      makes clients that have not sent CONNECT yet
    version   the protocol level; a test that asks for it runs at 3, 4 and 5
    topic     a topic name that no other test uses
    stopwatch starts one that a busy machine does not make late

Markers: `statement(list, id, ...)` names the normative statements a test is about (list
is MQTT311 or MQTT5); `broker(limits={...}, protocol={...}, ...)` asks for options;
`versions(...)` narrows the protocol levels.
"""

import itertools
import os
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conformance.brokers import Broker, Brokers, NotOfferedError, Options
from tests.conformance.wire import Client
from tests.stopwatch import Stopwatch

VERSION_NAMES = {3: "3.1", 4: "3.1.1", 5: "5.0"}
# The protocol level at which a test that runs at several speaks for each list.
LEVELS = {"MQTT311": 4, "MQTT5": 5}
DEFAULTS = {"system_topics_interval_seconds": 1}
_counter = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "statement(list, *ids): the normative statements tested")
    config.addinivalue_line("markers", "broker(**options): start the broker with these options")
    config.addinivalue_line("markers", "versions(*levels): the protocol levels a test runs at")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "version" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("versions")
        levels = marker.args if marker else (3, 4, 5)
        metafunc.parametrize("version", levels, ids=[VERSION_NAMES[level] for level in levels])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tell each test's statements in its report, where tools/conformance_matrix.py finds them."""
    for item in items:
        for marker in item.iter_markers("statement"):
            document, *identifiers = marker.args
            if level_of(item) in (None, LEVELS[document]):
                item.user_properties += [(document, identifier) for identifier in identifiers]


def level_of(item: pytest.Item) -> int | None:
    """The protocol level of a test that runs at several of them."""
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("version")


@pytest.fixture(scope="session")
def brokers() -> Iterator[Brokers]:
    running = Brokers()
    yield running
    running.stop()


@pytest.fixture
def broker(request: pytest.FixtureRequest, brokers: Brokers) -> Broker:
    marker = request.node.get_closest_marker("broker")
    try:
        return brokers.running(Options.of(**DEFAULTS | (marker.kwargs if marker else {})))
    except NotOfferedError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def clients() -> Iterator[list[Client]]:
    """All clients of a test, to be closed behind it."""
    opened: list[Client] = []
    yield opened
    for client in opened:
        client.close()


def dialler(broker: Broker, clients: list[Client]) -> Callable[..., Client]:
    """Makes clients of this broker with an open socket; CONNECT is up to the test."""

    def dial(version: int = 5, client_id: str | None = None, **options: Any) -> Client:
        name = unique() if client_id is None else client_id
        client = Client(broker.address, version, client_id=name, **options)
        clients.append(client)
        return client

    return dial


def connecter(broker: Broker, clients: list[Client]) -> Callable[..., Client]:
    """Makes clients of this broker that have had their CONNACK with code 0.

    persistent=True asks for a session that outlives the connection, in the way of the
    version in hand, and for going on with one that is there.
    """
    dial = dialler(broker, clients)

    def connect(
        version: int = 5, client_id: str | None = None, persistent: bool = False, **fields: Any
    ) -> Client:
        if persistent:
            fields.setdefault("clean", False)
            if version == 5:
                fields.setdefault("session_expiry_interval", 300)
        client = dial(version, client_id)
        client.connect(**fields)
        return client

    return connect


@pytest.fixture
def dial(broker: Broker, clients: list[Client]) -> Callable[..., Client]:
    return dialler(broker, clients)


@pytest.fixture
def connect(broker: Broker, clients: list[Client]) -> Callable[..., Client]:
    return connecter(broker, clients)


@pytest.fixture
def connect_to(brokers: Brokers, clients: list[Client]) -> Callable[..., Callable[..., Client]]:
    """Gives `connect` for a broker whose options are worked out in the test itself."""

    def connect_to(**options: Any) -> Callable[..., Client]:
        try:
            return connecter(brokers.running(Options.of(**DEFAULTS | options)), clients)
        except NotOfferedError as reason:
            pytest.skip(str(reason))

    return connect_to


@pytest.fixture
def stopwatch(broker: Broker) -> Callable[[], Stopwatch]:
    """Starts a stopwatch for what the broker may take no longer than so long."""
    return lambda: Stopwatch(broker.pid)


@pytest.fixture
def topic() -> str:
    return f"conformance/{unique()}"


@pytest.fixture
def client_id() -> str:
    return unique()


def unique() -> str:
    """A name that is used once: letters and digits, at most 23."""
    return f"c{os.getpid():x}x{next(_counter):x}x{uuid.uuid4().hex[:8]}"


@pytest.fixture
def elapse() -> Callable[[float], None]:
    """Lets real time pass, for rules about seconds; never used to wait for an event."""
    return time.sleep
