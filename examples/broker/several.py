"""Two brokers in one process, each with limits of its own: one for devices, one for services."""

import asyncio

from noctule import Broker
from noctule.broker import Limits

DEVICES = Limits(max_packet_bytes=4096, max_subscriptions_per_session=10)


async def main() -> None:
    async with (
        Broker(listeners=["mqtt://127.0.0.1:0"], workers=1, limits=DEVICES) as devices,
        Broker(listeners=["mqtt://127.0.0.1:0"], workers=1) as services,
    ):
        print(f"devices on port {devices.port}, services on port {services.port}", flush=True)
        for name, broker in (("devices", devices), ("services", services)):
            limit = broker.options.limits.max_packet_bytes
            print(f"{name}: packets of up to {limit:,} bytes", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
