"""Memory stays flat when somebody does not keep up: NOCTULE_STALLED_MESSAGES pass.

`make client-memory` passes a million.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Literal

import pytest

from noctule.client import connect
from noctule.protocol import Version, encode_packet
from noctule.protocol.packets import Publish, Subscribe
from tests.unit.client.scripted import Peer, scripted

MESSAGES = int(os.environ.get("NOCTULE_STALLED_MESSAGES", "100000"))
BATCH = 1000
QUEUE_LIMIT = 1000
PAYLOAD = bytes(64)
GROWTH_BYTES = 16_000_000
"""A message that is kept takes over 300 bytes: this is half of what the default number would."""

STATM = Path("/proc/self/statm")
pytestmark = [
    pytest.mark.skipif(not STATM.exists(), reason="reads resident memory from /proc"),
    pytest.mark.timeout(60 + MESSAGES // 2000),
]


def resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Flood:
    """A server that sends all its messages to the first subscriber, as fast as TCP lets it."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, peer: Peer) -> None:
        await peer.accept()
        while not isinstance(packet := await peer.read(), Subscribe):
            peer.answer(packet)
        peer.answer(packet)
        batch = BATCH * encode_packet(Version.V5, Publish("a", PAYLOAD))
        while self.sent < MESSAGES:
            peer.send_bytes(batch)
            await peer.drain()
            self.sent += BATCH
        await peer.serve()


@pytest.mark.parametrize("overflow", ["drop-oldest", "drop-newest"])
async def test_stalled_consumer_that_drops(
    overflow: Literal["drop-oldest", "drop-newest"],
) -> None:
    async with (
        scripted(Flood()) as server,
        connect(server.url) as client,
        client.subscribe("a", queue_limit=QUEUE_LIMIT, overflow=overflow) as messages,
    ):
        before = resident_bytes()
        while messages.dropped < MESSAGES - QUEUE_LIMIT:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert resident_bytes() - before < GROWTH_BYTES
        assert messages.dropped == MESSAGES - QUEUE_LIMIT
        assert len(messages) == QUEUE_LIMIT


async def test_stalled_consumer_that_blocks_and_goes_on() -> None:
    flood = Flood()
    async with (
        scripted(flood) as server,
        connect(server.url) as client,
        client.subscribe("a", queue_limit=QUEUE_LIMIT) as messages,
    ):
        before = resident_bytes()
        sent = -1
        while flood.sent != sent:  # Until the server is stuck.
            sent = flood.sent
            await asyncio.sleep(0.2)
        assert sent < MESSAGES
        got = 0
        while got < MESSAGES:
            got += len(await messages.take(QUEUE_LIMIT))
        assert got == MESSAGES
        assert not messages.dropped
        assert resident_bytes() - before < GROWTH_BYTES


async def test_publisher_to_a_stalled_server() -> None:
    goes_on = asyncio.Event()
    size = MESSAGES * len(encode_packet(Version.V5, Publish("a", PAYLOAD)))

    async def stalled(peer: Peer) -> None:
        await peer.accept()
        peer.pause()
        await goes_on.wait()
        peer.resume()
        await peer.skip(size)
        await peer.serve()

    published = 0

    async def publish() -> None:
        nonlocal published
        for published in range(1, MESSAGES + 1):  # noqa: B007
            await client.publish("a", PAYLOAD)

    async with (
        scripted(stalled) as server,
        connect(server.url, use_topic_aliases=False) as client,
    ):
        before = resident_bytes()
        publishing = asyncio.create_task(publish())
        seen = -1
        while published != seen:  # Until the client is stuck.
            seen = published
            await asyncio.sleep(0.2)
        assert seen < MESSAGES
        assert resident_bytes() - before < GROWTH_BYTES
        goes_on.set()
        await publishing
        await client.publish("end", qos=1)
        [end] = [p for p in server.peers[0].seen if isinstance(p, Publish)]
        assert end.topic == "end"  # All that was before it has come, to the byte.
        assert resident_bytes() - before < GROWTH_BYTES
