"""Let the server collect messages while this program is away.

python sleeping_session.py mqtt://localhost
"""

import asyncio
import sys
from uuid import uuid4

import noctule


async def main(url: str) -> None:
    name = f"sleeper-{uuid4().hex[:8]}"
    async with (
        noctule.connect(url, client_id=name, session_expiry_interval=3600) as client,
        client.subscribe("example/mail", qos=1, durable=True),
    ):
        pass  # With `durable` the server keeps the subscription.

    async with noctule.connect(url) as other:
        await other.publish("example/mail", "while you were away", qos=1)

    async with (
        noctule.connect(
            url, client_id=name, clean_start=False, session_expiry_interval=3600
        ) as client,
        client.subscribe("example/mail", qos=1) as messages,
    ):
        print((await messages.next(timeout=5)).text)


asyncio.run(main(sys.argv[1]))
