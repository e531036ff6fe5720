"""Ask, and be answered, over MQTT 5.0.

python request_response.py mqtt://localhost
"""

import asyncio
import sys

import noctule


async def main(url: str) -> None:
    server = noctule.connect(url)

    @server.respond("example/service/{operation}")
    def calculate(message: noctule.Message, operation: str) -> str:
        numbers = [int(number) for number in message.text.split()]
        return str(sum(numbers) if operation == "add" else max(numbers))

    async with server, noctule.connect(url) as client:
        answer = await client.request("example/service/add", "17 25", timeout=5)
        print("17 + 25 =", answer.text)
        try:
            await client.request("example/nobody/here", timeout=0.2)
        except TimeoutError:
            print("nobody answered")


asyncio.run(main(sys.argv[1]))
