"""Users, rules and messages in databases of others: SQLite, and servers where there are any.

NOCTULE_TEST_POSTGRESQL and NOCTULE_TEST_MYSQL hold the SQLAlchemy URLs of databases to try; what
the tests make there they remove again.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import sqlalchemy as sql
from argon2 import PasswordHasher

from noctule.access import Access
from noctule.broker import Broker
from noctule.config import Configuration, broker_of
from tests.integration.access.test_access import eventually, is_refused

CHEAP = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
EXAMPLE = Path(__file__).parents[3] / "examples" / "hooks" / "store_in_database.py"
SERVERS = ("POSTGRESQL", "MYSQL")
LARGE_BYTES = 100_000
LONG_TOPIC = "/".join(["level"] * 100)

tables = sql.MetaData()
users = sql.Table(
    "noctule_test_users",
    tables,
    sql.Column("name", sql.String(200), primary_key=True),
    sql.Column("password_hash", sql.String(200)),
    sql.Column("groups", sql.String(200)),
)
rules = sql.Table(
    "noctule_test_rules",
    tables,
    sql.Column("position", sql.Integer, primary_key=True, autoincrement=False),
    *(
        sql.Column(name, sql.String(200))
        for name in ("permission", "actions", "filter", "users", "groups")
    ),
    sql.Column("maximum_qos", sql.SmallInteger),
    sql.Column("retain", sql.Boolean),
)
ROWS: list[dict[str, object]] = [
    {"permission": "deny", "filter": "secrets/#"},
    {"actions": '["publish"]', "filter": "once/%u", "maximum_qos": 1, "retain": False},
    {"groups": "staff", "filter": "staff/#"},
    {"users": '["bob", "eve"]', "filter": "some/#"},
]


@pytest.fixture(params=["SQLITE", *SERVERS])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "SQLITE":
        return f"sqlite:///{tmp_path / 'database.sqlite'}"
    variable = f"NOCTULE_TEST_{request.param}"
    if variable not in os.environ:
        pytest.skip(f"{variable} does not name a database to try")
    return os.environ[variable]


@pytest.fixture
def database(url: str) -> Iterator[sql.Engine]:
    engine = sql.create_engine(url)
    tables.drop_all(engine)
    tables.create_all(engine)
    with engine.begin() as connection:
        for name, groups in (("alice", "staff night"), ("bob", '["day shift"]'), ("eve", None)):
            record = CHEAP.hash(name)
            connection.execute(
                users.insert().values(name=name, password_hash=record, groups=groups)
            )
        for number, row in enumerate(ROWS):
            connection.execute(rules.insert(), {"position": number, **row})
    yield engine
    tables.drop_all(engine)
    engine.dispose()


def broker_at(url: str) -> Broker:
    access = {
        "query": f"SELECT * FROM {users.name} WHERE name = :user",
        "rules_query": f"SELECT * FROM {rules.name} ORDER BY position",
        "url": url,
        "refresh_seconds": 3600.0,
    }
    return broker_of(
        Configuration.model_validate({"listeners": [{"port": 0}], "access": {"sql": access}})
    )


def client(broker: Broker, user: str) -> aiomqtt.Client:
    return aiomqtt.Client(
        "127.0.0.1",
        broker.port,
        identifier=user,
        username=user,
        password=user,
        protocol=aiomqtt.ProtocolVersion.V5,
    )


async def granted(client: aiomqtt.Client, *filters: str) -> list[bool]:
    codes = await client.subscribe([(each, 0) for each in filters])
    return [code.value < 0x80 for code in codes]  # type: ignore[union-attr]


async def test_users_and_rules_are_those_of_the_tables(url: str, database: sql.Engine) -> None:
    asked = ("secrets/x", "staff/x", "some/x", "once/bob")
    async with broker_at(url) as broker:
        access = broker.access
        assert isinstance(access, Access)
        async with client(broker, "alice") as alice, client(broker, "bob") as bob:
            assert await granted(alice, *asked) == [False, True, False, False]
            assert await granted(bob, *asked) == [False, False, True, False]
            # To some servers these are alice, and to rules they are not.
            for name in ("ALICE", "alice ", "álice", "' OR ''='", "nobody"):
                assert await is_refused(broker, username=name, password="alice"), name
            assert await is_refused(broker, username="alice", password="bob")
            with database.begin() as connection:
                of_staff = rules.c.groups == "staff"
                connection.execute(rules.update().where(of_staff).values(groups="day shift"))
                connection.execute(users.delete().where(users.c.name == "eve"))
            await access.refresh()
            assert await granted(alice, *asked) == [False, False, False, False]
            assert await granted(bob, *asked) == [False, True, True, False]
            assert await is_refused(broker, username="eve", password="eve")
        with pytest.raises(aiomqtt.MqttError):
            async with client(broker, "alice") as alice, asyncio.timeout(20):
                with database.begin() as connection:
                    word = {"password_hash": CHEAP.hash("another")}
                    is_alice = users.c.name == "alice"
                    connection.execute(users.update().where(is_alice).values(word))
                await access.refresh()
                await anext(alice.messages)
        with database.begin() as connection:
            tables.drop_all(connection)
        # Nobody is let in by a database that fails, and its rules of before hold.
        assert await is_refused(broker, username="bob", password="bob")


async def test_the_example_stores_every_message(url: str, tmp_path: Path) -> None:
    plugin: dict[str, Any] = {"module": str(EXAMPLE), "url": url, "filter": "#"}
    engine = sql.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sql.text("DROP TABLE IF EXISTS messages"))
    published = {
        "a": b"\x00\xff plain",
        "größe/€": b"",
        "large": b"\xa5" * LARGE_BYTES,
        LONG_TOPIC: b"long",
    }
    options: dict[str, Any] = {"listeners": ["mqtt://127.0.0.1:0"], "plugins": [plugin]}
    try:
        async with Broker(data_dir=tmp_path / "data", **options) as broker:
            async with aiomqtt.Client("127.0.0.1", broker.port) as client:
                for topic, payload in published.items():
                    await client.publish(topic, payload, qos=1)

            async def all_there() -> bool:
                with engine.begin() as connection:
                    if not sql.inspect(connection).has_table("messages"):
                        return False
                    rows = connection.execute(sql.text("SELECT topic, payload FROM messages"))
                    return {topic: bytes(payload) for topic, payload in rows} == published

            await eventually(all_there)
    finally:
        with engine.begin() as connection:
            connection.execute(sql.text("DROP TABLE IF EXISTS messages"))
        engine.dispose()
