"""A will: what the server says when a client is gone.

python last_words.py mqtt://localhost
"""

import asyncio
import sys

import noctule


async def main(url: str) -> None:
    device = noctule.connect(
        url, will=noctule.Will(topic="example/device/online", payload="no", qos=1, retain=True)
    )
    async with (
        noctule.connect(url) as watcher,
        watcher.subscribe("example/device/online", qos=1) as messages,
    ):
        async with device:
            await device.publish("example/device/online", "yes", qos=1, retain=True)
            print("online:", (await messages.next(timeout=5)).text)
            # A program that leaves in good order says so itself: the will is for accidents.
            await device.publish("example/device/online", "no", qos=1, retain=True)
        print("online:", (await messages.next(timeout=5)).text)
        await watcher.publish("example/device/online", retain=True, qos=1)  # Cleared.


asyncio.run(main(sys.argv[1]))
