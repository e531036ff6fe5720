"""One measurement of one client, run in a process of its own.

    python programs.py CLIENT SCENARIO PORT COUNT

Prints CPU microseconds of this process for each of COUNT messages of 64 bytes. Scenarios:
publish-0, publish-1 (64 in flight), receive-0, receive-1. A receiving program subscribes to
"bench/#", prints "ready", and takes what comes until "bench/end": brokers may drop QoS 0
messages, so that it is the messages that came which are counted.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

PAYLOAD = b"x" * 64
WINDOW = 64
TOPIC = "bench/topic"
END = "bench/end"
ALL = "bench/#"


def ready() -> None:
    print("ready", flush=True)


class Meter:
    """CPU time of this process, from its making or from the first message."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.seen = 0
        self.start = time.process_time()

    def message(self, topic: str) -> bool:
        """Counts one; True at the last."""
        if not self.seen:
            self.start = time.process_time()
        self.seen += 1
        return topic == END

    def stop(self) -> float:
        """Microseconds for each message, sent or come in."""
        return (time.process_time() - self.start) / (self.seen or self.count) * 1e6


# --- noctule --------------------------------------------------------------------------


async def noctule_publish_0(port: int, count: int) -> float:
    from noctule.client import connect

    async with connect(f"mqtt://127.0.0.1:{port}") as client:
        meter = Meter(count)
        for _ in range(count):
            await client.publish(TOPIC, PAYLOAD)
        await client.publish(END, b"", qos=1)
        return meter.stop()


async def noctule_publish_1(port: int, count: int) -> float:
    from noctule.client import connect

    async with connect(f"mqtt://127.0.0.1:{port}") as client:
        meter = Meter(count)
        window = deque()
        for _ in range(count):
            if len(window) == WINDOW:
                await window.popleft()
            window.append(client.publish_nowait(TOPIC, PAYLOAD, qos=1))
        for receipt in window:
            await receipt
        return meter.stop()


async def noctule_receive(port: int, count: int, qos: int) -> float:
    from noctule.client import connect

    async with (
        connect(f"mqtt://127.0.0.1:{port}") as client,
        client.subscribe(ALL, qos=qos) as messages,
    ):
        ready()
        meter = Meter(count)
        async for message in messages:
            if meter.message(message.topic):
                break
        return meter.stop()


# --- paho-mqtt ------------------------------------------------------------------------


def paho_client(port: int) -> Any:
    import paho.mqtt.client as mqtt

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.max_inflight_messages_set(WINDOW)
    client.connect("127.0.0.1", port)
    return client


async def paho_publish_0(port: int, count: int) -> float:
    client = paho_client(port)
    client.loop_start()
    while not client.is_connected():
        await asyncio.sleep(0.01)
    meter = Meter(count)
    for _ in range(count):
        client.publish(TOPIC, PAYLOAD)
    client.publish(END, b"", qos=1).wait_for_publish()
    used = meter.stop()
    client.disconnect()
    client.loop_stop()
    return used


async def paho_publish_1(port: int, count: int) -> float:
    client = paho_client(port)
    client.loop_start()
    while not client.is_connected():
        await asyncio.sleep(0.01)
    meter = Meter(count)
    window = deque()
    for _ in range(count):
        if len(window) == WINDOW:
            window.popleft().wait_for_publish()
        window.append(client.publish(TOPIC, PAYLOAD, qos=1))
    for info in window:
        info.wait_for_publish()
    used = meter.stop()
    client.disconnect()
    client.loop_stop()
    return used


async def paho_receive(port: int, count: int, qos: int) -> float:
    client = paho_client(port)
    meter = Meter(count)
    client.on_connect = lambda c, *_: c.subscribe(ALL, qos)
    client.on_subscribe = lambda *_: ready()
    client.on_message = lambda c, _, m: c.disconnect() if meter.message(m.topic) else None
    client.loop_forever()
    return meter.stop()


# --- gmqtt ----------------------------------------------------------------------------


async def gmqtt_client(port: int, on_message: Callable[..., Any] | None = None) -> Any:
    from gmqtt import Client

    client = Client(f"bench-{time.time_ns()}")
    if on_message is not None:
        client.on_message = on_message
    await client.connect("127.0.0.1", port)
    return client


async def gmqtt_publish_0(port: int, count: int) -> float:
    client = await gmqtt_client(port)
    meter = Meter(count)
    for number in range(count):
        client.publish(TOPIC, PAYLOAD)
        if number % 500 == 0:  # It has no back-pressure: give it its turns.
            await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    used = meter.stop()
    await client.disconnect()
    return used


async def gmqtt_publish_1(port: int, count: int) -> float:
    client = await gmqtt_client(port)
    meter = Meter(count)
    acknowledged = 0
    changed = asyncio.Event()
    taken_off = client._persistent_storage.remove_message_by_mid

    def acknowledge(mid: int) -> None:
        nonlocal acknowledged
        taken_off(mid)
        acknowledged += 1
        changed.set()

    client._persistent_storage.remove_message_by_mid = acknowledge
    for number in range(count):
        while number - acknowledged >= WINDOW:
            changed.clear()
            await changed.wait()
        client.publish(TOPIC, PAYLOAD, qos=1)
    while acknowledged < count:
        changed.clear()
        await changed.wait()
    used = meter.stop()
    await client.disconnect()
    return used


async def gmqtt_receive(port: int, count: int, qos: int) -> float:
    meter = Meter(count)
    done = asyncio.Event()

    def on_message(_: Any, topic: str, *__: Any) -> int:
        if meter.message(topic):
            done.set()
        return 0

    client = await gmqtt_client(port, on_message)
    subscribed = asyncio.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.subscribe(ALL, qos=qos)
    await subscribed.wait()
    ready()
    await done.wait()
    used = meter.stop()
    await client.disconnect()
    return used


# --- aiomqtt --------------------------------------------------------------------------


async def aiomqtt_publish_0(port: int, count: int) -> float:
    import aiomqtt

    async with aiomqtt.Client("127.0.0.1", port) as client:
        meter = Meter(count)
        for _ in range(count):
            await client.publish(TOPIC, PAYLOAD)
        await client.publish(END, b"", qos=1)
        return meter.stop()


async def aiomqtt_publish_1(port: int, count: int) -> float:
    import aiomqtt

    async with aiomqtt.Client("127.0.0.1", port, max_inflight_messages=WINDOW) as client:
        client.pending_calls_threshold = WINDOW  # Else it logs a warning for each message.
        meter = Meter(count)

        async def worker() -> None:
            for _ in range(count // WINDOW):
                await client.publish(TOPIC, PAYLOAD, qos=1)

        await asyncio.gather(*(worker() for _ in range(WINDOW)))
        return meter.stop()


async def aiomqtt_receive(port: int, count: int, qos: int) -> float:
    import aiomqtt

    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(ALL, qos=qos)
        ready()
        meter = Meter(count)
        async for message in client.messages:
            if meter.message(str(message.topic)):
                break
        return meter.stop()


# --- amqtt ----------------------------------------------------------------------------


async def amqtt_client(port: int) -> Any:
    from amqtt.client import MQTTClient

    client = MQTTClient(config={"auto_reconnect": False})
    await client.connect(f"mqtt://127.0.0.1:{port}/")
    return client


async def amqtt_publish_0(port: int, count: int) -> float:
    client = await amqtt_client(port)
    meter = Meter(count)
    for _ in range(count):
        await client.publish(TOPIC, PAYLOAD, qos=0)
    used = meter.stop()
    await client.disconnect()
    return used


async def amqtt_publish_1(port: int, count: int) -> float:
    client = await amqtt_client(port)
    meter = Meter(count)

    async def worker() -> None:
        for _ in range(count // WINDOW):
            await client.publish(TOPIC, PAYLOAD, qos=1)

    await asyncio.gather(*(worker() for _ in range(WINDOW)))
    used = meter.stop()
    await client.disconnect()
    return used


async def amqtt_receive(port: int, count: int, qos: int) -> float:
    client = await amqtt_client(port)
    await client.subscribe([(ALL, qos)])
    ready()
    meter = Meter(count)
    while True:
        message = await client.deliver_message()
        if meter.message(message.topic):
            break
    used = meter.stop()
    await client.disconnect()
    return used


def program(client: str, scenario: str) -> Callable[[int, int], Coroutine[Any, Any, float]]:
    kind, qos = scenario.split("-")
    if kind == "feed":
        return lambda port, count: feed(port, count, int(qos))
    if kind == "publish":
        found: Callable[[int, int], Coroutine[Any, Any, float]] = globals()[
            f"{client}_publish_{qos}"
        ]
        return found
    receive = globals()[f"{client}_receive"]
    return lambda port, count: receive(port, count, int(qos))


async def feed(port: int, count: int, qos: int) -> float:
    """What the receivers get: `count` messages, and one at the end."""
    from noctule.client import connect

    async with connect(f"mqtt://127.0.0.1:{port}") as client:
        meter = Meter(count)
        for _ in range(count):
            await client.enqueue(TOPIC, PAYLOAD, qos=qos)
        await asyncio.sleep(0.2)
        await client.publish(END, b"", qos=1)
        return meter.stop()


if __name__ == "__main__":
    name, wanted, at, messages = sys.argv[1:]
    used = asyncio.run(program(name, wanted)(int(at), int(messages)))
    print(used, flush=True)
