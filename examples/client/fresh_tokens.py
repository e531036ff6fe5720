"""Credentials that change: a callback is asked before every connection.

python fresh_tokens.py mqtt://localhost
"""

import asyncio
import sys

import noctule.client
from noctule.client import Credentials


async def token() -> Credentials:
    await asyncio.sleep(0)  # Here a program would ask its identity provider.
    print("asked for a token")
    return Credentials("device-7", "token of the hour")


async def main(url: str) -> None:
    async with noctule.client.connect(url, credentials=token) as client:
        await client.publish("example/tokens", "let in", qos=1)


asyncio.run(main(sys.argv[1]))
