"""A broker in your program: it starts, says where it listens, and stops at Ctrl-C.

python examples/broker/embedded.py [PORT]
"""

import asyncio
import sys
from contextlib import suppress

from noctule import Broker


async def main(port: int) -> None:
    async with Broker(listeners=[f"mqtt://127.0.0.1:{port}"]) as broker:
        print(f"listening on port {broker.port}", flush=True)
        await broker.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
