"""Rules that live elsewhere: read, watched, and never open when they fail."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import sqlalchemy
from argon2 import PasswordHasher

from noctule.access import (
    Access,
    AclFile,
    BackEndError,
    Function,
    Identity,
    Rule,
    RuleSet,
)
from noctule.access.http_service import HttpRules
from noctule.access.sql import SqlRules, SqlUsers
from noctule.broker import Accept, Client, EngineRule
from tests.unit.access.test_authenticators import REQUEST

CHEAP = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)


class Sessions:
    """A broker as far as access control sees it."""

    def __init__(self, *clients: str) -> None:
        self.permissions: dict[str, list[EngineRule] | None] = {}
        self.disconnected: list[str] = []
        self._clients = clients

    async def clients(self) -> list[Client]:
        return [
            Client(name, name, True, 5, "192.0.2.1", 1, 0, 0, 0)
            for name in self._clients
            if name not in self.disconnected
        ]

    def set_permissions(self, client: str, rules: Sequence[EngineRule] | None) -> None:
        self.permissions[client] = None if rules is None else list(rules)

    async def disconnect(self, client: str, reason_code: int = 0x98) -> None:
        self.disconnected.append(client)


class Shelf:
    """A source that says what it is told to."""

    name = "the shelf"

    def __init__(self, found: RuleSet | Exception) -> None:
        self.found = found
        self.changed = asyncio.Event()

    async def load(self) -> RuleSet:
        self.changed.clear()
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    async def wait(self) -> None:
        await self.changed.wait()

    async def close(self) -> None: ...


def filters(rules: Sequence[EngineRule] | None) -> list[str] | None:
    return None if rules is None else [rule["filter"] for rule in rules]


async def permissions(access: Access) -> list[str] | None:
    answer = await access.start(REQUEST)
    assert isinstance(answer, Accept)
    assert callable(answer.rules)
    return filters(answer.rules())


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_source_that_never_answered_lets_nobody_in() -> None:
    shelf = Shelf(BackEndError("away"))
    access = Access(links=[Function(lambda _: True)], sources=[shelf])
    with pytest.raises(BackEndError):
        await access.start(REQUEST)
    sessions = Sessions("old")
    await access.attach(sessions)
    assert sessions.permissions == {"old": []}
    shelf.found = RuleSet((Rule(filter="a"),))
    assert await permissions(access) == ["a"]
    await access.detach()


async def test_source_without_rules_allows_nothing() -> None:
    assert await permissions(Access(links=[Function(lambda _: True)])) == ["$SYS/#", "#"]
    access = Access(links=[Function(lambda _: True)], sources=[Shelf(RuleSet())])
    assert await permissions(access) == []


async def test_change_holds_at_once_and_a_failure_leaves_what_was(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shelf = Shelf(RuleSet((Rule(filter="a"),)))
    access = Access(
        links=[Function(lambda _: True)], rules=[{"filter": "configured"}], sources=[shelf]
    )
    sessions = Sessions("x", "y")
    await access.attach(sessions)
    await eventually(lambda: filters(sessions.permissions.get("x")) == ["configured", "a"])
    shelf.found = BackEndError("a database failed")
    shelf.changed.set()
    await eventually(lambda: "a database failed" in caplog.text)
    assert await permissions(access) == ["configured", "a"]
    shelf.found = RuleSet((Rule(groups=("g",), filter="b"),), {"g": frozenset("x")}, frozenset("y"))
    await access.refresh()
    assert filters(sessions.permissions["x"]) == ["configured", "b"]
    assert filters(sessions.permissions["y"]) == ["configured"]
    assert sessions.disconnected == ["y"]
    await access.detach()


async def test_rule_that_cannot_be_bound_closes_the_session_it_is_about() -> None:
    access = Access(
        links=[Function(lambda request: Identity(request.user, claims={"tenant": "%c"}))],
        rules=[{"filter": "a"}],
    )
    sessions = Sessions("sly", "other")
    answer = await access.start(replace(REQUEST, client="sly", user="sly"))
    assert isinstance(answer, Accept)
    assert callable(answer.rules)
    assert filters(answer.rules()) == ["a"]
    await access.attach(sessions)
    await access.update([{"permission": "deny", "filter": "%{tenant}/#"}, {"filter": "b"}])
    assert {name: filters(rules) for name, rules in sessions.permissions.items()} == {
        "sly": [],
        "other": ["b"],
    }
    await access.detach()


async def test_acl_file_is_read_again_and_an_empty_one_allows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("noctule.access.sources.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("noctule.access.sources.RETRY_SECONDS", 0.01)
    file = tmp_path / "acl"
    file.write_text("pattern readwrite a/#\n")
    access = Access(links=[Function(lambda _: True)], sources=[AclFile(file)])
    sessions = Sessions("c")
    await access.attach(sessions)
    await eventually(lambda: filters(sessions.permissions.get("c")) == ["a/#"])
    file.write_text("pattern readwrite bbb/#\n")
    await eventually(lambda: filters(sessions.permissions["c"]) == ["bbb/#"])
    file.write_text("pattern nonsense\nwhat\n")
    with caplog.at_level(logging.ERROR):
        await eventually(lambda: "line 2" in caplog.text)
    assert filters(sessions.permissions["c"]) == ["bbb/#"]
    file.write_text("")
    await access.refresh()
    assert filters(sessions.permissions["c"]) == []
    await access.detach()


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'access.sqlite'}"
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        for statement in (
            "CREATE TABLE users (name TEXT COLLATE NOCASE, password_hash, groups)",
            "CREATE TABLE acl (position INTEGER, permission, actions, filter, maximum_qos, "
            "retain, users, groups, note)",
            "INSERT INTO acl VALUES (2, NULL, '[\"publish\"]', 'a/%u', 1, 0, NULL, 'staff', 'x')",
            "INSERT INTO acl VALUES (1, 'deny', NULL, 'b/#', NULL, NULL, '[\"al\", \"bo\"]', "
            "NULL, NULL)",
        ):
            connection.execute(sqlalchemy.text(statement))
        connection.execute(
            sqlalchemy.text("INSERT INTO users VALUES ('alice', :hash, '[\"night shift\"]')"),
            {"hash": CHEAP.hash("a")},
        )
        connection.execute(sqlalchemy.text("INSERT INTO users VALUES ('blank', NULL, NULL)"))
    engine.dispose()
    return url


async def test_sql_rules(database: str) -> None:
    source = SqlRules(database, "SELECT * FROM acl ORDER BY position")
    assert (await source.load()).rules == (
        Rule(permission="deny", filter="b/#", users=("al", "bo")),
        Rule(actions=("publish",), filter="a/%u", maximum_qos=1, retain=False, groups=("staff",)),
    )
    await source.close()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM nowhere",
        "SELECT 'a/#/b' AS filter",
        "SELECT 'allow' AS permission",
        "SELECT 'a' AS filter, 7 AS maximum_qos",
        "SELECT 'a' AS filter, '[x' AS users",
        "SELECT 'a' AS filter, 'eat' AS actions",
    ],
)
async def test_rows_that_are_no_rules_are_an_error(database: str, query: str) -> None:
    source = SqlRules(database, query)
    with pytest.raises(BackEndError):
        await source.load()
    await source.close()


async def test_sql_users_are_who_they_are_to_the_letter(database: str) -> None:
    users = SqlUsers(database)
    assert await users.identify(REQUEST) == Identity("alice", frozenset({"night shift"}))
    # The column says that ALICE is alice; a rule about alice would not know her.
    assert await users.identify(replace(REQUEST, user="ALICE")) is None
    # A hash that is not there is no password that is right, empty or not.
    for password in (b"", b"None", None):
        assert await users.identify(replace(REQUEST, user="blank", password=password)) not in (
            None,
            Identity("blank"),
        )
    await users.close()


def test_database_of_a_wrong_url_says_nothing_of_its_password() -> None:
    with pytest.raises(BackEndError) as caught:
        SqlUsers("postgres//user:s3cret@host")
    assert "s3cret" not in str(caught.value)


async def test_http_rules() -> None:
    answers = [
        httpx.Response(200, json={"rules": [{"filter": "a"}], "groups": {"g": ["al"]}}),
        httpx.Response(200, json={"rules": [{"filter": "a/#/b"}]}),
        httpx.Response(200, json={"rules": "all"}),
        httpx.Response(200, json={}),
        httpx.Response(200, text="no JSON"),
        httpx.Response(503, json={"rules": []}),
    ]
    transport = httpx.MockTransport(lambda _: answers.pop(0))
    source = HttpRules("http://x/", transport=transport)
    assert await source.load() == RuleSet((Rule(filter="a"),), {"g": frozenset({"al"})})
    while answers:
        with pytest.raises(BackEndError):
            await source.load()
    await source.close()


async def test_clients_that_went_are_forgotten_and_those_that_come_are_not() -> None:
    access = Access(
        links=[Function(lambda request: Identity(request.user, groups=frozenset({"g"})))],
        rules=[{"groups": ["g"], "filter": "a"}],
    )
    sessions = Sessions("stays")
    await access.attach(sessions)
    for name in ("stays", *(f"went{n}" for n in range(1100))):
        answer = await access.start(replace(REQUEST, client=name, user=name))
        assert isinstance(answer, Accept)
        assert callable(answer.rules)
        answer.rules()
    await eventually(lambda: len(access._known) < 1000)
    await access.update([{"groups": ["g"], "filter": "b"}])
    # What came with its proof is still known, so the rule is still about it.
    assert filters(sessions.permissions["stays"]) == ["b"]
    await access.detach()


async def test_another_access_control_brings_its_sources_or_changes_nothing() -> None:
    first, second = Shelf(RuleSet((Rule(filter="a"),))), Shelf(BackEndError("away"))
    access = Access(links=[Function(lambda _: True)], sources=[first])
    sessions = Sessions("c")
    await access.attach(sessions)
    await eventually(lambda: filters(sessions.permissions.get("c")) == ["a"])
    other = Access(links=[Function(lambda _: True)], sources=[second])
    with pytest.raises(BackEndError):
        await access.replace(other)
    assert await permissions(access) == ["a"]
    second.found = RuleSet((Rule(filter="b"),))
    await access.replace(other)
    assert filters(sessions.permissions["c"]) == ["b"]
    second.found = RuleSet((Rule(filter="bb"),))
    second.changed.set()
    await eventually(lambda: filters(sessions.permissions["c"]) == ["bb"])
    first.found = RuleSet((Rule(filter="aa"),))
    first.changed.set()
    await access.refresh()
    assert filters(sessions.permissions["c"]) == ["bb"]
    await access.detach()
