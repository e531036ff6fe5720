"""A broker that stores every message in a SQLite database; no client subscribes to `#`.

    python store_in_sqlite.py [database]

or as a plug-in of any broker, in its configuration:

    [[plugins]]
    module = "examples/hooks/store_in_sqlite.py"
    database = "messages.sqlite"
    filter = "sensors/#"

The tap has a name, so messages wait for it while the database is away, and a batch is let go
only once it is committed: each QoS 1 or 2 message is stored at least once.
"""

import asyncio
import sqlite3
import sys
import time
from typing import Any

from noctule import Broker
from noctule.broker import TappedMessage

SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    arrived REAL NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL, qos INT, retain INT
)
"""


def store(file: str, batch: list[TappedMessage]) -> None:
    """One transaction for each batch."""
    now = time.time()
    rows = [(now, each.topic, each.payload, each.qos, each.retain) for each in batch]
    database = sqlite3.connect(file)
    try:
        with database:
            database.execute(SCHEMA)
            database.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?)", rows)
    finally:
        database.close()


def setup(broker: Broker, options: dict[str, Any]) -> None:
    """Register the tap: the plug-in's beginning."""
    file = options.get("database", "messages.sqlite")

    @broker.tap(options.get("filter", "#"), batch=1000, linger=0.05, name="archive")
    async def archive(batch: list[TappedMessage]) -> None:
        await asyncio.to_thread(store, file, batch)


async def main(file: str) -> None:
    broker = Broker(listeners=["mqtt://127.0.0.1:0"])
    setup(broker, {"database": file})
    async with broker:
        print(broker.addresses[0], flush=True)
        await broker.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "messages.sqlite"))
