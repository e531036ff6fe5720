"""A broker with an authenticator of the tests' own; prints its address, serves until killed.

The method "riddle" wants b"first" in CONNECT and b"second" in the AUTH that follows.
"""

import asyncio
from typing import Any

from noctule import Broker
from noctule.broker import Accept, Challenge, Refuse

NOT_AUTHORIZED = 0x87


class Riddler:
    """Two questions; the wrong answer to either ends it."""

    method = "riddle"

    async def start(self, request: Any) -> Any:
        if request.data != b"first":
            return Refuse(NOT_AUTHORIZED)
        return Challenge(b"what comes second?")

    async def continue_(self, request: Any) -> Any:
        if request.data != b"second":
            return Refuse(NOT_AUTHORIZED)
        return Accept(b"welcome")


async def main() -> None:
    async with Broker(
        listeners=["mqtt://127.0.0.1:0"], durability="memory", authenticator=Riddler()
    ) as broker:
        print(f"mqtt://127.0.0.1:{broker.port}", flush=True)
        await broker.serve_forever()


asyncio.run(main())
