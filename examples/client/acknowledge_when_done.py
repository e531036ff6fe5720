"""Acknowledge a message when its work is done, not before.

Until then the server keeps it, and sends it again if this program should end.

    python acknowledge_when_done.py mqtt://localhost
"""

import asyncio
import sys

import noctule


async def store(message: noctule.Message) -> None:
    await asyncio.sleep(0.01)
    print("stored", message.text)


async def main(url: str) -> None:
    async with (
        noctule.connect(url) as client,
        client.subscribe("example/jobs", qos=1, manual_acknowledgement=True) as messages,
    ):
        for job in range(3):
            await client.publish("example/jobs", f"job {job}", qos=1)
        for _ in range(3):
            message = await messages.next(timeout=5)
            await store(message)
            messages.acknowledge(message)


asyncio.run(main(sys.argv[1]))
