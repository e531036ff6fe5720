"""Fixtures for pytest: ``pytest_plugins = ["noctule.testing.plugin"]``.

mqtt_broker    a `LocalBroker` of the test's own, empty, on a free port of 127.0.0.1
"""

from collections.abc import Iterator

import pytest

from noctule.testing.local_broker import LocalBroker

__all__ = ["mqtt_broker"]


@pytest.fixture
def mqtt_broker() -> Iterator[LocalBroker]:
    """A broker that runs for the time of the test; in plain and in coroutine tests."""
    with LocalBroker() as broker:
        yield broker
