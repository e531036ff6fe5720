"""The same without asyncio, and with threads.

python blocking.py mqtt://localhost
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import noctule.sync


def main(url: str) -> None:
    with (
        noctule.sync.connect(url) as client,
        client.subscribe("example/blocking", qos=1) as messages,
        ThreadPoolExecutor(4) as pool,
    ):

        def publish(number: int) -> None:
            client.publish("example/blocking", str(number), qos=1)

        list(pool.map(publish, range(10)))
        numbers = sorted(int(messages.next(timeout=5).text) for _ in range(10))
        print("got", numbers)


main(sys.argv[1])
