"""A consumer that is too slow: keep the newest messages, and count the lost ones.

The default, overflow="block", would have the server wait instead.

    python slow_consumer.py mqtt://localhost
"""

import asyncio
import sys

import noctule


async def main(url: str) -> None:
    async with (
        noctule.connect(url) as client,
        client.subscribe("example/fast", queue_limit=10, overflow="drop-oldest") as messages,
    ):
        for number in range(1_000):
            await client.publish("example/fast", str(number))
        await client.publish("example/fast", "last", qos=1)
        newest: list[str] = []
        while "last" not in newest:
            newest = [message.text for message in await messages.take()]
        print("kept", len(newest), "and lost some:", messages.dropped > 0)


asyncio.run(main(sys.argv[1]))
