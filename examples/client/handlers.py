"""Handlers, with names for the wildcards of their filters.

python handlers.py mqtt://localhost
"""

import asyncio
import sys

import noctule


async def main(url: str) -> None:
    client = noctule.connect(url)
    done = asyncio.Event()

    @client.on("example/plant/{line}/temp", qos=1)
    async def temperature(message: noctule.Message, line: str) -> None:
        print(f"line {line}: {message.text} °C")
        await client.publish(f"example/log/plant/{line}", "measured", qos=1)

    @client.on("example/log/{source...}", qos=1)
    def log(message: noctule.Message, source: str) -> None:
        print(f"{source}: {message.text}")
        done.set()

    async with client:
        await client.publish("example/plant/7/temp", "21", qos=1)
        await done.wait()


asyncio.run(main(sys.argv[1]))
