"""Subscribe, and iterate over the messages.

python subscribe.py mqtt://localhost
"""

import asyncio
import sys

import noctule


async def main(url: str) -> None:
    async with (
        noctule.connect(url) as client,
        client.subscribe("example/subscribe/+/temperature", qos=1) as messages,
    ):
        for room, degrees in (("kitchen", 21), ("cellar", 12)):
            await client.publish(f"example/subscribe/{room}/temperature", str(degrees), qos=1)
        async for message in messages:
            room = message.topic.split("/")[2]
            print(f"{room}: {message.text} °C")
            if room == "cellar":
                break


asyncio.run(main(sys.argv[1]))
