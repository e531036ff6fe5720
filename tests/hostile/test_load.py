"""Load that is held: what others feel before, during and after each attack, in figures.

The figures are the witness pair's delivery times in milliseconds (99th percentile and slowest).
They are printed, and written as a table to the file that NOCTULE_FIGURES names; `make hostile`
does so at full size.
"""

import contextlib
import os
import socket
import struct
import time
from pathlib import Path

import pytest

from tests.conformance import wire
from tests.hostile.siege import SOAK, size
from tests.hostile.witness import Witness

QUIET_SECONDS = 0.3 if not SOAK else 5
HEAD = (
    "| attack | size | seconds | p99 before | during | after | slowest during |\n"
    "| --- | --: | --: | --: | --: | --: | --: |\n"
)
RESET = struct.pack("ii", 1, 0)


def connection_flood(siege, count):
    """Connections that end by a reset at once."""
    for _ in range(count):
        connection = socket.create_connection(siege.broker.address)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.close()


def take_over_storm(siege, count):
    """One client identifier that takes itself over again and again."""
    last = None
    for _ in range(count):
        client = siege.dial(5, "storm")
        siege.clients.remove(client)
        client.connect(clean=False, session_expiry_interval=60)
        if last is not None:
            last.expect_disconnect(0x8E)
        last = client
    last.close()
    siege.connect(5, "storm").disconnect()


def subscribers_that_never_read(siege, count):
    """Each is subscribed to a busy topic and takes what its socket does."""
    for _ in range(count):
        client = siege.dial(4)
        client.connect()
        client.subscribe("busy")
    publish_for(siege, "busy", size(1, 10))


def zero_windows(siege, count):
    """The same with the smallest window there is, and large messages."""
    for _ in range(count):
        client = siege.dial(4, receive_buffer_bytes=1)
        client.connect()
        client.subscribe("busy")
    publish_for(siege, "busy", size(1, 10), b"z" * 20_000)


def publish_for(siege, topic, seconds, payload=b"b" * 500):
    """Publish as fast as the broker takes it."""
    publisher, end = siege.connect(), time.monotonic() + seconds
    while time.monotonic() < end:
        publisher.send(wire.publish(5, topic, payload) * 10)
        publisher.ping()


def subscription_bombs(siege, count):
    """As many filters as the broker takes, deep ones among them, and messages that match."""
    bombers = [siege.connect() for _ in range(size(4, 100))]
    for at in range(0, count, 100):
        bomber = bombers[at // 100 % len(bombers)]
        bomber.subscribe(*(f"{'+/' * (n % 128)}{at + n}/#" for n in range(100)))
    publisher = siege.connect()
    for _ in range(100):
        publisher.publish("a/" * 127 + "a")
    publisher.ping()


def retained_flood(siege, count):
    """Topics that are all new, at QoS 1, as many in flight as may be."""
    publisher = siege.connect()
    for clear in (False, True):
        for start in range(0, count, 500):
            for at in range(start, min(start + 500, count)):
                publisher.send_publish(f"flood/{at}", b"" if clear else b"r" * 64, 1, retain=True)
            for _ in range(start, min(start + 500, count)):
                assert publisher.expect("PUBACK").code in (0, 0x10)


def slow_loris(siege, count):
    """CONNECT a byte at a time, on all sockets in turn."""
    whole = wire.connect(4, "slow-loris" * 10)
    attackers = [siege.dial(4) for _ in range(count)]
    for byte in whole[:10]:
        for attacker in attackers:
            with contextlib.suppress(OSError):
                attacker.send(bytes([byte]))
        time.sleep(0.1 if SOAK else 0.02)


def half_open_sockets(siege, count):
    """Clients that are gone without a word; the keep alive finds out."""
    for _ in range(count):
        client = siege.connect(4, keep_alive=1)
        with contextlib.suppress(PermissionError):
            client.socket.setsockopt(socket.IPPROTO_TCP, 19, 1)  # TCP_REPAIR: no FIN, no RST
            client.close()
    time.sleep(2)


def aliases_and_properties(siege, count):
    """Aliases mapped anew in every packet to long topics, and packets full of properties."""
    publisher = siege.connect()
    alias_maximum = publisher.connack.properties.get("topic_alias_maximum", 0)
    for at in range(count):
        properties = {"topic_alias": 1 + at % alias_maximum}
        publisher.send(wire.publish(5, f"{at}/" + "long/" * 100, b"", properties=properties))
    publisher.ping()
    too_many = b"\x26\x00\x01a\x00\x01b" * 10_001
    for _ in range(count // 100):
        client = siege.connect()
        client.send(wire.publish(5, "p", b"", properties=too_many))
        client.expect_disconnect(0x97)
        client.close()


ATTACKS = [
    (connection_flood, 2_000, 50_000),
    (take_over_storm, 500, 10_000),
    (subscribers_that_never_read, 200, 1_000),
    (zero_windows, 100, 1_000),
    (subscription_bombs, 10_000, 1_000_000),
    (retained_flood, 5_000, 1_000_000),
    (slow_loris, 300, 2_000),
    (half_open_sockets, 100, 2_000),
    (aliases_and_properties, 5_000, 1_000_000),
]


@pytest.fixture(scope="module")
def figures():
    """Rows of the table, written down at the end."""
    rows = []
    yield rows
    table = HEAD + "".join(rows)
    print("\n" + table)
    if name := os.environ.get("NOCTULE_FIGURES"):
        Path(name).write_text(table, encoding="utf-8")


@pytest.mark.timeout(size(120, 3_600))
@pytest.mark.broker(limits={"max_connections": 100_000})
@pytest.mark.parametrize(
    ("attack", "quick", "full"), ATTACKS, ids=[attack.__name__ for attack, _, _ in ATTACKS]
)
def test_load_is_held(siege, attack, quick, full, figures):
    """The fixture checks the four conditions behind it; a witness of its own gives the figures."""
    count = size(quick, full)
    witness = Witness(siege.broker.address, siege.broker.pid, "load")
    try:
        time.sleep(QUIET_SECONDS)
        before, begin = witness.report(), time.monotonic()
        attack(siege, count)
        seconds, during = time.monotonic() - begin, witness.report()
        for client in siege.clients:
            client.close()
        time.sleep(QUIET_SECONDS)
        after = witness.report()
    finally:
        witness.stop()
    name = attack.__name__.replace("_", " ")
    figures.append(
        f"| {name} | {count:,} | {seconds:.1f} | {before.percentile_99:.1f} "
        f"| {during.percentile_99:.1f} | {after.percentile_99:.1f} | {during.slowest:.1f} |\n"
    )
    for report in (before, during, after):
        assert (report.lost, report.twice, report.disordered) == (0, 0, 0), report
