"""Publish at each quality of service.

python publish.py mqtt://localhost
"""

import asyncio
import sys

import noctule


async def main(url: str) -> None:
    async with noctule.connect(url) as client:
        await client.publish("example/publish", "sent and forgotten")
        receipt = await client.publish("example/publish", "arrives", qos=1)
        print("the server answered:", receipt.reason_code.name)
        await client.publish("example/publish", b"\x01\x02", qos=2, content_type="application/x")


asyncio.run(main(sys.argv[1]))
