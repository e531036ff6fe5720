"""Users, groups and rules that are edited at run time and outlive it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from pydantic import ValidationError

from noctule.access import (
    DENIED,
    Access,
    BackEndError,
    Directory,
    DirectoryError,
    Identity,
    Rule,
    User,
)
from tests.unit.access.test_authenticators import REQUEST
from tests.unit.access.test_sources import Sessions, eventually, filters

CHEAP = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[Directory]:
    directory = opened(tmp_path)
    yield directory
    await directory.close()


def opened(folder: Path) -> Directory:
    directory = Directory(folder / "access.sqlite")
    directory._hasher = CHEAP
    return directory


async def test_user_comes_in_with_the_password_of_today(directory: Directory) -> None:
    assert await directory.identify(REQUEST) is None
    await directory.add_user("alice", "a", groups=["staff"])
    assert await directory.identify(REQUEST) == Identity("alice")
    assert await directory.identify(replace(REQUEST, password=b"")) == DENIED
    assert await directory.identify(replace(REQUEST, user=None)) is None
    await directory.set_password("alice", "b")
    assert await directory.identify(REQUEST) == DENIED
    await directory.set_password("alice", "a")
    await directory.set_enabled("alice", False)
    assert await directory.identify(REQUEST) == DENIED
    await directory.set_enabled("alice", True)
    await directory.set_password("alice", None)
    assert await directory.identify(replace(REQUEST, password=None)) == DENIED
    await directory.remove_user("alice")
    assert await directory.identify(REQUEST) is None


async def test_what_was_edited_outlives_the_process(directory: Directory, tmp_path: Path) -> None:
    await directory.add_user("alice", "a", groups=["staff"])
    await directory.add_user("bob")
    await directory.add_to_group("night", "bob")
    await directory.add_to_group("day", "bob")
    await directory.remove_from_group("day", "bob")
    rules = (Rule(permission="deny", filter="b"), Rule(filter="a/%u", groups=("staff",)))
    await directory.set_rules([{"filter": "other"}])
    await directory.set_rules(rules)
    await directory.close()
    later = opened(tmp_path)
    assert await later.users() == [
        User("alice", frozenset({"staff"})),
        User("bob", frozenset({"night"}), has_password=False),
    ]
    assert await later.rules() == rules
    assert (await later.load()).groups == {"staff": {"alice"}, "night": {"bob"}}
    await later.close()
    assert (tmp_path / "access.sqlite").stat().st_mode & 0o077 == 0


async def test_changes_that_cannot_be_made_are_refused(directory: Directory) -> None:
    await directory.add_user("alice", "a")
    for change in (
        directory.add_user("alice", "b"),
        directory.add_user("", "b"),
        directory.set_password("bob", "b"),
        directory.set_enabled("bob", True),
        directory.remove_user("bob"),
        directory.add_to_group("g", "bob"),
        directory.remove_from_group("g", "alice"),
    ):
        with pytest.raises(DirectoryError):
            await change
    with pytest.raises(ValidationError):
        await directory.set_rules([{"filter": "a/#/b"}])
    assert await directory.identify(REQUEST) == Identity("alice")


async def test_change_holds_for_clients_that_are_there(
    directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noctule.access.directory.LOOK_SECONDS", 0.01)
    for name in ("alice", "bob", "carol", "dave"):
        await directory.add_user(name, "a")
    access = Access(links=[directory], sources=[directory])
    sessions = Sessions("alice", "bob", "carol", "dave")
    await access.attach(sessions)
    await eventually(lambda: filters(sessions.permissions.get("alice")) == [])
    await directory.set_rules([{"filter": "a", "groups": ["g"]}])
    await directory.add_to_group("g", "alice")
    await eventually(lambda: filters(sessions.permissions["alice"]) == ["a"])
    assert filters(sessions.permissions["bob"]) == []
    assert sessions.disconnected == []
    await directory.remove_user("bob")
    await directory.set_enabled("carol", False)
    await eventually(lambda: sessions.disconnected == ["bob", "carol"])
    # By another process.
    with closing(sqlite3.connect(tmp_path / "access.sqlite")) as other, other:
        other.execute("UPDATE users SET password_hash = 'x' WHERE name = 'dave'")
        other.execute("DELETE FROM members")
    await eventually(lambda: sessions.disconnected[2:] == ["dave"])
    await eventually(lambda: filters(sessions.permissions["alice"]) == [])
    await access.detach()


async def test_damaged_directory_opens_nothing(directory: Directory, tmp_path: Path) -> None:
    await directory.add_user("alice", "a")
    with closing(sqlite3.connect(tmp_path / "access.sqlite")) as other, other:
        other.execute("UPDATE users SET password_hash = 'x'")
        other.execute("INSERT INTO rules (rule) VALUES ('{\"filter\": 7}')")
    with pytest.raises(BackEndError):
        await directory.identify(REQUEST)
    with pytest.raises(BackEndError):
        await directory.load()
    with pytest.raises(BackEndError):
        await directory.rules()
    (tmp_path / "none.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(BackEndError):
        Directory(tmp_path / "none.sqlite")


async def test_many_changes_at_a_time_are_all_kept(directory: Directory) -> None:
    await asyncio.gather(*(directory.add_user(f"u{n}") for n in range(50)))
    assert len(await directory.users()) == 50
