"""Fixtures of the hostile-client suite.

    siege     a running broker with a witness pair; behind the test the four conditions
              are checked: alive, bounded, alone, said once (siege.py)

Marker: `hostile(id, ...)` names the rows of the catalogue that a test plays.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.brokers import Brokers, NotOfferedError, Options
from tests.conformance.conftest import client_id, clients, pytest_generate_tests, topic
from tests.conformance.wire import Client
from tests.hostile.siege import Siege, besieged
from tests.hostile.witness import Witness

__all__ = ["client_id", "clients", "pytest_generate_tests", "topic"]

LIMITS = {"connect_timeout_seconds": 2}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "hostile(*ids): the rows of the catalogue that are played")
    config.addinivalue_line("markers", "broker(**options): start the broker with these options")
    config.addinivalue_line("markers", "versions(*levels): the protocol levels a test runs at")


@pytest.fixture(scope="session")
def brokers() -> Iterator[Brokers]:
    running = Brokers()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def witnesses() -> Iterator[dict[int, Witness]]:
    """The witness pair of each broker, by its process id."""
    found: dict[int, Witness] = {}
    yield found
    for witness in found.values():
        witness.stop()


@pytest.fixture
def siege(
    request: pytest.FixtureRequest,
    brokers: Brokers,
    witnesses: dict[int, Witness],
    clients: list[Client],
) -> Iterator[Siege]:
    marker = request.node.get_closest_marker("broker")
    options: dict[str, Any] = dict(marker.kwargs) if marker else {}
    options["limits"] = LIMITS | options.get("limits", {})
    try:
        broker = brokers.running(Options.of(**options))
    except NotOfferedError as reason:
        pytest.skip(str(reason))
    if broker.pid not in witnesses:
        witnesses[broker.pid] = Witness(broker.address, broker.pid)
    witness = witnesses[broker.pid]
    with besieged(broker, witness, clients) as siege:
        yield siege
