"""Publish without a network, end, and let the next run send it.

python outbox_on_disk.py mqtt://localhost
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import noctule

NOWHERE = "mqtt://127.0.0.1:1"


async def first_run(outbox: Path) -> None:
    async with noctule.connect(NOWHERE, outbox=outbox, require_connection=False) as client:
        await client.enqueue("example/outbox", "written down while offline", qos=2)
        print("waiting in the outbox:", client.outbox_size)


async def second_run(url: str, outbox: Path) -> None:
    async with (
        noctule.connect(url) as witness,
        witness.subscribe("example/outbox", qos=2) as messages,
        noctule.connect(url, outbox=outbox),
    ):
        print("arrived:", (await messages.next(timeout=5)).text)


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(first_run(Path(folder, "outbox.db")))
    asyncio.run(second_run(sys.argv[1], Path(folder, "outbox.db")))
