"""Print who comes, what each subscribes to, and who goes.

python examples/broker/watch_clients.py [PORT]
"""

import asyncio
import sys
from contextlib import suppress

from noctule import Broker


async def main(port: int) -> None:
    async with Broker(listeners=[f"mqtt://127.0.0.1:{port}"]) as broker:
        events = broker.events()
        print(f"listening on port {broker.port}", flush=True)
        async for batch in events:
            for event in batch:
                details = {k: v for k, v in event.items() if k not in ("kind", "client")}
                print(event["kind"], event.get("client", ""), details, flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
