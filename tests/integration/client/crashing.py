"""A program that is killed: publishes with an outbox and says what it may rely on.

    python crashing.py URL OUTBOX RUN COUNT

Prints the payload of each message once it is in the outbox.
"""

from __future__ import annotations

import asyncio
import sys

from noctule.client import Reconnect, connect


async def main(url: str, outbox: str, run: str, count: int) -> None:
    async with connect(
        url, outbox=outbox, reconnect=Reconnect(first_delay=0.01), close_timeout=30
    ) as client:
        for number in range(count):
            payload = f"{run}:{number}"
            await client.enqueue(sys.argv[5], payload, qos=1 + number % 2)
            print(payload, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
