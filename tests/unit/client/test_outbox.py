"""The outbox on disk."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

import noctule.client as noctule
from noctule.client import OutboxError, Reconnect, connect
from noctule.client.outbox import SqliteOutbox
from noctule.protocol import Properties, PropertyId
from noctule.protocol.packets import Connect, Publish, Pubrec, Pubrel
from tests.unit.client.scripted import Peer, scripted

FAST = Reconnect(first_delay=0.01, max_delay=0.02)


async def resumed(peer: Peer) -> None:
    await peer.accept(session_present=True)
    await peer.serve()


async def test_messages_published_offline_are_sent_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    async with connect(
        "mqtt://127.0.0.1:1", require_connection=False, outbox=path, close_timeout=0
    ) as client:
        for i in range(5):
            await client.enqueue("a", str(i), qos=1 + i % 2, correlation_data=b"\xff")
        assert client.outbox_size == 5
        client_id = client.client_id
    async with scripted() as server:
        async with connect(server.url, outbox=path) as client:
            assert client.client_id == client_id
        sent = [p for p in server.peers[0].seen if isinstance(p, Publish)]
    assert [p.payload for p in sent] == [b"%d" % i for i in range(5)]
    assert not any(p.dup for p in sent)
    assert sent[0].properties == Properties([(PropertyId.CORRELATION_DATA, b"\xff")])
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM message").fetchone() == (0,)


async def test_messages_in_flight_go_on_in_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "outbox"

    async def halfway(peer: Peer) -> None:
        await peer.accept()
        while True:
            packet = await peer.read()
            if isinstance(packet, Publish) and packet.payload == b"received":
                peer.send(Pubrec(packet.packet_identifier))
            if isinstance(packet, Pubrel):
                break
        await asyncio.sleep(5)

    async with scripted(halfway, resumed) as server:
        async with connect(server.url, outbox=path, close_timeout=0.1) as client:
            await client.enqueue("a", "once", qos=1)
            await client.enqueue("a", "received", qos=2)
            await client.enqueue("a", "twice", qos=2)
            async with asyncio.timeout(30):
                while not any(isinstance(p, Pubrel) for p in server.peers[0].seen):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        async with connect(server.url, outbox=path):
            pass
        first, *again = server.peers[1].seen
    assert isinstance(first, Connect)
    assert not first.clean_start
    assert [(p.payload, p.dup) for p in again if isinstance(p, Publish)] == [
        (b"once", True),
        (b"twice", True),
    ]
    assert [p.packet_identifier for p in again if isinstance(p, Pubrel)] == [2, 3]


async def test_release_waits_for_the_disk(tmp_path: Path) -> None:
    """Whatever the server has seen PUBREL for is known to be received after a crash."""
    path = tmp_path / "outbox"
    states: list[tuple[int, int | None]] = []

    async def look(peer: Peer) -> None:
        await peer.accept()
        while True:
            packet = await peer.read()
            if isinstance(packet, Pubrel):
                states.extend(snapshot(path))
            peer.answer(packet)

    async with scripted(look) as server, connect(server.url, outbox=path) as client:
        await client.publish("a", qos=2)
    assert states == [(1, 0)]


def snapshot(path: Path) -> list[tuple[int, int | None]]:
    """What is on disk: a copy, because the file belongs to the client."""
    for suffix in ("", "-wal"):
        source = Path(f"{path}{suffix}")
        if source.exists():
            Path(f"{path}.copy{suffix}").write_bytes(source.read_bytes())
    with sqlite3.connect(f"{path}.copy") as database:
        return list(database.execute("SELECT packet_identifier, received FROM message"))


async def test_outbox_belongs_to_one_client(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    async with scripted() as server:
        async with connect(server.url, outbox=path, client_id="one"):
            with pytest.raises(OutboxError):
                await connect(server.url, outbox=path, client_id="one").open()
        with pytest.raises(OutboxError, match="belongs"):
            await connect(server.url, outbox=path, client_id="two").open()


async def test_file_that_is_no_outbox_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(OutboxError):
        await connect(outbox=path).open()
    with pytest.raises(OutboxError):
        await connect(outbox=tmp_path / "missing" / "outbox").open()


async def test_outbox_goes_on_over_reconnects(tmp_path: Path) -> None:
    async def cut(peer: Peer) -> None:
        await peer.accept()
        for _ in range(5):
            await peer.read()
        peer.abort()

    async with (
        scripted(cut, resumed) as server,
        connect(server.url, outbox=tmp_path / "outbox", reconnect=FAST) as client,
    ):
        receipts = [client.publish_nowait("a", str(i), qos=2) for i in range(50)]
        for receipt in receipts:
            await receipt
        async with client.subscribe("b"):
            assert client.outbox_size == 0


async def test_disk_that_fails_ends_the_client_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = SqliteOutbox._connect

    def small(outbox: SqliteOutbox) -> sqlite3.Connection:
        database = plain(outbox)
        database.execute("PRAGMA max_page_count = 12")
        return database

    monkeypatch.setattr(SqliteOutbox, "_connect", small)
    async with scripted() as server:
        with pytest.raises(OutboxError, match="full"):
            async with connect(server.url, outbox=tmp_path / "outbox") as client:
                # Nobody awaits these: the error must come out all the same.
                client.publish_nowait("a", bytes(100_000), qos=1)
                await asyncio.sleep(30)
        with pytest.raises(noctule.ClientClosedError):
            await client.publish("a", qos=1)
