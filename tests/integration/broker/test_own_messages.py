"""What a program does with the messages of the broker it embeds."""

import asyncio
from pathlib import Path

import aiomqtt
import pytest

from noctule.broker import Broker, TappedMessage

WAIT_SECONDS = 30.0


def new_broker(data_dir: Path | None = None) -> Broker:
    return Broker(listeners=["mqtt://127.0.0.1:0"], data_dir=data_dir)


async def next_of(messages: object) -> TappedMessage:
    async with asyncio.timeout(WAIT_SECONDS):
        return await anext(messages)  # type: ignore[call-overload,no-any-return]


async def test_subscription_gets_what_clients_and_the_broker_publish() -> None:
    async with new_broker() as broker:
        async with (
            broker.subscribe("a/#", qos=1) as messages,
            aiomqtt.Client("127.0.0.1", broker.port) as client,
        ):
            await client.publish("b", b"not this")
            await client.publish("a/1", b"x", qos=1)
            got = await next_of(messages)
            assert (got.topic, got.payload, got.qos) == ("a/1", b"x", 1)
            await broker.publish(
                "a/2", b"y", content_type="text/plain", user_properties=[("k", "v")]
            )
            got = await next_of(messages)
            assert (got.content_type, got.user_properties) == ("text/plain", [("k", "v")])
            for number in range(2000):
                await client.publish("a/n", str(number).encode(), qos=0)
            numbers = [int((await next_of(messages)).payload) for _ in range(2000)]
            assert numbers == list(range(2000))
        assert broker.statistics()["subscriptions"] in (0, 1)


async def test_subscription_ends_with_the_broker() -> None:
    broker = new_broker()
    await broker.start()
    messages = broker.subscribe("#")
    await messages.open()
    waiting = asyncio.create_task(anext(messages, None))
    await broker.stop()
    async with asyncio.timeout(WAIT_SECONDS):
        assert await waiting is None


async def test_retained_messages_are_read_set_and_cleared_and_outlast_a_restart(
    tmp_path: Path,
) -> None:
    async with new_broker(tmp_path) as broker:
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            await client.publish("a/client", b"c", qos=1, retain=True)
        for number in range(600):
            await broker.retained.set(f"n/{number:03}", b"x", content_type="t")
        await broker.retained.set("a/broker", b"b", qos=1)
        async with broker.subscribe("flush") as flush:
            await broker.publish("flush", b"")
            await next_of(flush)
        assert await topics(broker, "a/+") == ["a/broker", "a/client"]
        assert len(await topics(broker, "n/#")) == 600
        got = broker.retained.get("n/007")
        assert got is not None
        assert (got.payload, got.content_type, got.retain) == (b"x", "t", True)
        await broker.retained.clear("a/client")
        with pytest.raises(ValueError, match="clear"):
            await broker.retained.set("a", b"")
        with pytest.raises(ValueError, match="topic"):
            await broker.retained.set("$SYS/x", b"1")
    async with new_broker(tmp_path) as broker:
        assert await topics(broker, "a/+") == ["a/broker"]
        assert len(await topics(broker, "n/#")) == 600


async def topics(broker: Broker, topic_filter: str) -> list[str]:
    return [each.topic async for each in broker.retained.messages(topic_filter)]
