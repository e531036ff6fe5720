"""Publish fast and safely: do not wait for each answer, but for all of them.

python many_in_flight.py mqtt://localhost
"""

import asyncio
import sys

import noctule


async def main(url: str) -> None:
    async with noctule.connect(url) as client:
        receipts = [await client.enqueue("example/many", str(i), qos=1) for i in range(10_000)]
        print("on their way:", client.outbox_size > 0)
        for receipt in receipts:
            await receipt
        print("acknowledged:", len(receipts))


asyncio.run(main(sys.argv[1]))
