"""Brokers for the tests that need a running one."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.served_broker import ServedBroker

BrokerStarter = Callable[..., ServedBroker]


def pytest_configure() -> None:
    """A shell lets what it runs in the background ignore Ctrl-C, and all that this starts too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def broker_port() -> Iterator[int]:
    """The port of a broker that many tests share, so each uses topics and clients of its own.

    NOCTULE_TEST_PORT names one that runs already, of whatever make.
    """
    if "NOCTULE_TEST_PORT" in os.environ:
        yield int(os.environ["NOCTULE_TEST_PORT"])
        return
    with ServedBroker("--durability", "memory") as broker:
        yield broker.port


@pytest.fixture
def start_broker() -> Iterator[BrokerStarter]:
    """Starts `noctule serve` with the arguments given; all of them end with the test."""
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(ServedBroker(*arguments))
