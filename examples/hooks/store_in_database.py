"""A plug-in that stores every message in PostgreSQL, or any database that SQLAlchemy knows.

    [[plugins]]
    module = "examples/hooks/store_in_database.py"
    url = "postgresql+psycopg://noctule@localhost/messages"
    filter = "sensors/#"

Needs the packages `sqlalchemy` and, for PostgreSQL, `psycopg`. A batch is let go only once it is
committed, and comes again where that failed.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import sqlalchemy as sql
from sqlalchemy.dialects.mysql import LONGBLOB

from noctule import Broker
from noctule.broker import TappedMessage

messages = sql.Table(
    "messages",
    sql.MetaData(),
    sql.Column("arrived", sql.Double, nullable=False),
    sql.Column("topic", sql.Text, nullable=False),
    # A plain BLOB of MySQL holds 64 KiB.
    sql.Column(
        "payload", sql.LargeBinary().with_variant(LONGBLOB(), "mysql", "mariadb"), nullable=False
    ),
    sql.Column("qos", sql.SmallInteger),
    sql.Column("retain", sql.Boolean),
    # MySQL indexes the beginning of a text alone, and wants to be told of how much.
    sql.Index("messages_by_topic", "topic", mysql_length=200, mariadb_length=200),
)


def setup(broker: Broker, options: dict[str, Any]) -> AbstractAsyncContextManager[None]:
    """Register the tap; the database is let go of when the broker stops."""
    engine = sql.create_engine(options["url"], pool_pre_ping=True)

    def store(batch: list[TappedMessage]) -> None:
        now = time.time()
        rows = [
            {
                "arrived": now,
                "topic": each.topic,
                "payload": each.payload,
                "qos": each.qos,
                "retain": each.retain,
            }
            for each in batch
        ]
        with engine.begin() as connection:
            messages.metadata.create_all(connection)
            connection.execute(messages.insert(), rows)

    @broker.tap(options.get("filter", "#"), batch=1000, linger=0.05, name="database")
    async def archive(batch: list[TappedMessage]) -> None:
        await asyncio.to_thread(store, batch)

    @asynccontextmanager
    async def open_database() -> AsyncIterator[None]:
        yield
        engine.dispose()

    return open_database()
