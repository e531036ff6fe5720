"""Several workers share one stream of messages.

python share_the_work.py mqtt://localhost
"""

import asyncio
import sys
from collections import Counter

import noctule

done: Counter[str] = Counter()


async def work(url: str, name: str) -> None:
    async with (
        noctule.connect(url) as client,
        client.subscribe("$share/workers/example/work", qos=1) as messages,
    ):
        started.release()
        async for _ in messages:
            done[name] += 1
            if done.total() == 20:
                finished.set()


async def main(url: str) -> None:
    workers = [asyncio.create_task(work(url, name)) for name in ("ann", "ben")]
    for _ in workers:
        await started.acquire()
    async with noctule.connect(url) as client:
        for number in range(20):
            await client.publish("example/work", str(number), qos=1)
    await finished.wait()
    for worker in workers:
        worker.cancel()
    print("both worked:", len(done) == 2)


started = asyncio.Semaphore(0)
finished = asyncio.Event()
asyncio.run(main(sys.argv[1]))
