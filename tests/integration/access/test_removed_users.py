"""Who is taken out of a file or a database, or has another password there, does not stay."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

import noctule
from noctule.access import Access, Directory, Mechanism, PasswordChecker, PasswordFile
from noctule.access.sasl import Plain, Scram, ScramFile, scram_record
from noctule.access.sql import SqlUsers
from noctule.broker import Broker
from noctule.client import scram
from tests.conformance.wire import Client
from tests.integration.access.test_access import broker_with, eventually

CHEAP = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
NOT_AUTHORIZED = 0x87
USERS = ("alice", "bob", "carol")
RECORDS = {user: CHEAP.hash(user) for user in USERS}
# Alice is gone, and Bob has another password.
LATER = {"bob": CHEAP.hash("another"), "carol": RECORDS["carol"]}


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noctule.access.keepers.LOOK_SECONDS", 0.02)


def text_of(records: dict[str, str]) -> str:
    return "".join(f"{user}:{record}\n" for user, record in records.items())


class Guests:
    """Clients of all users, each with its name as client identifier and password."""

    def __init__(self, broker: Broker) -> None:
        self.clients = {user: Client(("127.0.0.1", broker.port), client_id=user) for user in USERS}
        self._here = set(USERS)

    def come(self, user: str) -> None:
        self.clients[user].connect(username=user, password=user.encode())

    async def are_sent_away(self, *users: str) -> None:
        """These are told so, and the others stay."""
        for user in users:
            await asyncio.to_thread(self.clients[user].expect_disconnect, NOT_AUTHORIZED)
        self._here -= set(users)
        for user in self._here:
            await asyncio.to_thread(self.clients[user].ping)

    def go(self) -> None:
        for client in self.clients.values():
            client.close()


@contextlib.asynccontextmanager
async def guests_of(access: Access) -> AsyncIterator[Guests]:
    async with broker_with(access) as broker:
        guests = Guests(broker)
        for user in USERS:
            await asyncio.to_thread(guests.come, user)
        try:
            yield guests
        finally:
            guests.go()


async def test_users_go_with_their_line_of_the_password_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "users"
    file.write_text(text_of(RECORDS))
    async with guests_of(Access(links=[PasswordFile(file)])) as guests:
        file.write_text("alice: no record\n")

        async def is_told() -> bool:
            return "the users read before stay in force" in caplog.text

        await eventually(is_told)
        await guests.are_sent_away()
        file.write_text(text_of(LATER))
        await guests.are_sent_away("alice", "bob")


async def test_users_go_with_their_row_once_somebody_looks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "users.sqlite"
    base = sqlite3.connect(file)
    base.execute("CREATE TABLE users (name TEXT, password_hash TEXT)")
    base.executemany("INSERT INTO users VALUES (?, ?)", RECORDS.items())
    base.commit()
    access = Access(links=[SqlUsers(f"sqlite:///{file}")])
    async with guests_of(access) as guests:
        # A database that cannot be asked says nothing of anybody.
        base.execute("ALTER TABLE users RENAME TO elsewhere")
        base.commit()
        await access.refresh()
        await guests.are_sent_away()
        assert "cannot say whether clients are still its users" in caplog.text
        base.execute("ALTER TABLE elsewhere RENAME TO users")
        base.execute("DELETE FROM users WHERE name = 'alice'")
        base.execute("UPDATE users SET password_hash = ? WHERE name = 'bob'", (LATER["bob"],))
        base.commit()
        await access.refresh()
        await guests.are_sent_away("alice", "bob")
    base.close()


async def test_users_go_with_the_link_that_let_them_in(tmp_path: Path) -> None:
    """As a reload does: the file is another, and whoever is in it as before stays."""
    for name, records in (("before", RECORDS), ("after", LATER)):
        (tmp_path / name).write_text(text_of(records))
    access = Access(links=[PasswordFile(tmp_path / "before")])
    async with guests_of(access) as guests:
        await access.replace(Access(links=[PasswordFile(tmp_path / "after")]))
        await guests.are_sent_away("alice", "bob")
        directory = Directory(tmp_path / "directory")
        await access.replace(Access(links=[directory], sources=[directory]))
        await guests.are_sent_away("carol")


async def test_nobody_stays_who_came_in_without_a_name_where_that_is_over() -> None:
    access = Access(allow_anonymous=True)
    async with broker_with(access) as broker:
        with Client(("127.0.0.1", broker.port), client_id="nobody") as client:
            await asyncio.to_thread(client.connect)
            await access.replace(Access(allow_anonymous=True, rules=[{}]))
            await asyncio.to_thread(client.ping)
            await access.replace(Access())
            await asyncio.to_thread(client.expect_disconnect, NOT_AUTHORIZED)


async def test_users_go_with_their_record_for_scram_and_for_plain(tmp_path: Path) -> None:
    """By whatever mechanism they came in."""
    scram_file, file = tmp_path / "scram", tmp_path / "users"
    method = "SCRAM-SHA-256"
    kept = scram_record(method, "alice", 4096)
    scram_file.write_text(text_of({"alice": kept, "bob": scram_record(method, "bob", 4096)}))
    file.write_text(text_of(RECORDS))
    link = PasswordFile(file)
    mechanisms: list[Mechanism] = [Scram(ScramFile(scram_file, method), method), Plain((link,))]
    broker = broker_with(Access(links=[link], mechanisms=mechanisms))
    left: asyncio.Queue[object] = asyncio.Queue()

    @broker.on_disconnected
    def tell(events: list[dict[str, object]]) -> None:
        for event in events:
            left.put_nowait((event["client"], event["reason_code"]))

    async def stay(user: str, here: asyncio.Event) -> None:
        url = f"mqtt://127.0.0.1:{broker.port}"
        given: dict[str, Any] = {"authentication": scram(user, user), "client_id": user}
        with contextlib.suppress(noctule.NoctuleError):
            async with noctule.connect(url, **given) as client:
                here.set()
                async for _ in client.states():  # until it is closed
                    pass

    async with broker:
        arrivals = {user: asyncio.Event() for user in ("alice", "bob")}
        staying = [asyncio.create_task(stay(*each)) for each in arrivals.items()]
        for arrived in arrivals.values():
            await arrived.wait()
        with Client(("127.0.0.1", broker.port), client_id="by plain") as client:
            properties: dict[str, Any] = {
                "authentication_method": "PLAIN",
                "authentication_data": b"\0carol\0carol",
            }
            await asyncio.to_thread(client.connect, **properties)
            scram_file.write_text(text_of({"alice": kept}))
            assert await asyncio.wait_for(left.get(), 20) == ("bob", NOT_AUTHORIZED)
            file.write_text(text_of({"alice": RECORDS["alice"]}))
            assert await asyncio.wait_for(left.get(), 20) == ("by plain", NOT_AUTHORIZED)
            assert [each.client for each in await broker.clients() if each.connected] == ["alice"]
    for task in staying:
        task.cancel()
    await asyncio.gather(*staying, return_exceptions=True)


async def test_operator_ends_all_connections_of_a_user() -> None:
    async with broker_with(None) as broker:
        clients = [Client(("127.0.0.1", broker.port), client_id=name) for name in "abc"]
        for client, user in zip(clients, ("bob", "bob", "carol"), strict=True):
            await asyncio.to_thread(client.connect, username=user)
        await broker.disconnect(user="bob")
        for client in clients[:2]:
            await asyncio.to_thread(client.expect_disconnect, 0x98)
        await asyncio.to_thread(clients[2].ping)
        for client in clients:
            client.close()
        wrongs: list[dict[str, Any]] = [{}, {"client": "c", "user": "carol"}]
        for wrong in wrongs:
            with pytest.raises(ValueError, match="one of"):
                await broker.disconnect(**wrong)


async def test_nobody_slips_in_who_is_being_asked_about_meanwhile(tmp_path: Path) -> None:
    """Found right by the file of before, and let in after the others have been looked at."""
    file = tmp_path / "users"
    file.write_text(text_of(RECORDS))
    checker = PasswordChecker(threads=1)
    verify, is_asked, go_on = checker._verify, threading.Event(), threading.Event()

    def slow(record: str, password: bytes) -> bool:
        is_asked.set()
        assert go_on.wait(20)
        return verify(record, password)

    checker._verify = slow  # type: ignore[method-assign]
    access = Access(links=[PasswordFile(file, checker)])
    async with broker_with(access) as broker:
        guests = Guests(broker)
        coming = asyncio.create_task(asyncio.to_thread(guests.come, "alice"))
        assert await asyncio.to_thread(is_asked.wait, 20)
        file.write_text(text_of(LATER))
        refreshing = asyncio.create_task(access.refresh())
        done, _ = await asyncio.wait([refreshing], timeout=0.2)
        assert not done
        go_on.set()
        await coming
        await refreshing
        await asyncio.to_thread(guests.clients["alice"].expect_disconnect, NOT_AUTHORIZED)
        guests.go()
