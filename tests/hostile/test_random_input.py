"""Group F of the catalogue: mutated packets. The four conditions are the oracle.

NOCTULE_SEED repeats a run. What ever crashed or hung a broker is kept in KEPT and sent first.
"""

import contextlib
import os
import socket
from itertools import islice

import pytest

from tests.conformance import wire
from tests.hostile.mutations import Mutation, mutations
from tests.hostile.siege import size

hostile = pytest.mark.hostile

SEED = int(os.environ.get("NOCTULE_SEED", "20261126"))
PACKETS = size(4_000, 100_000)
# Mutated packets that did harm once.
KEPT: tuple[Mutation, ...] = ()


@hostile("F1")
@pytest.mark.broker(limits={"max_session_expiry_seconds": 1, "max_retained_messages": 100})
@pytest.mark.timeout(size(120, 3_600))
def test_mutated_packets(siege):
    """Each is answered or not, and the connection ends with its last byte."""
    accepted = 0
    for number, mutation in enumerate([*KEPT, *islice(mutations(SEED), PACKETS)]):
        try:
            accepted += play(siege.broker.address, mutation)
        except TimeoutError:
            pytest.fail(f"NOCTULE_SEED={SEED}, number {number} hangs, add it to KEPT: {mutation}")
        assert siege.broker.alive(), f"NOCTULE_SEED={SEED}, add {number} to KEPT: {mutation}"
    # With CONNECT before them; a reset may take the CONNACK along.
    assert accepted > PACKETS * 0.5


def play(address, mutation):
    """Send it whole, end the sending side, and read until the broker closes.

    Returns whether a CONNECT was accepted.
    """
    data = mutation.data
    if mutation.behind_connect:
        data = wire.connect(mutation.version, "mutant") + data
    with socket.create_connection(address, timeout=5) as connection:
        answer = exchange(connection, data)
    return answer[:1] == b"\x20" and answer[3:4] == b"\x00"


def exchange(connection, data):
    """What comes back, or as much of it as a reset leaves."""
    answer = b""
    # A broker that has closed already resets what is still sent to it.
    with contextlib.suppress(ConnectionError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while received := connection.recv(65_536):
            answer += received
    return answer


def test_mutations_are_the_same_for_the_same_seed():
    assert [*islice(mutations(1), 100)] == [*islice(mutations(1), 100)]
    assert [*islice(mutations(1), 100)] != [*islice(mutations(2), 100)]
