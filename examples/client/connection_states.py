"""Watch the connection come and go.

python connection_states.py mqtt://localhost
"""

import asyncio
import sys

import noctule.client
from noctule.client import Client, Closed, Connected, Reconnect, Reconnecting


async def watch(client: Client) -> None:
    async for state in client.states():
        match state:
            case Connected(granted=granted):
                print("connected, session present:", granted.session_present)
            case Reconnecting(attempt=attempt):
                print("lost; attempt", attempt)
            case Closed(error=error):
                print("closed:", error)


async def main(url: str) -> None:
    patience = Reconnect(first_delay=0.2, max_delay=30)
    async with noctule.client.connect(url, reconnect=patience) as client:
        watching = asyncio.create_task(watch(client))
        await client.publish("example/states", "here", qos=1)
    await watching


asyncio.run(main(sys.argv[1]))
