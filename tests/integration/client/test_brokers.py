"""The client with real brokers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import noctule.client as noctule
from noctule.client import Version, Will, connect
from tests.integration.client.conftest import RunningBroker

VERSIONS = pytest.mark.parametrize("version", list(Version), ids=["3.1", "3.1.1", "5.0"])


@VERSIONS
async def test_messages_of_every_qos_come_back(
    broker: RunningBroker, topic: str, version: Version
) -> None:
    async with (
        connect(broker.url, version=version) as client,
        client.subscribe(f"{topic}/+", qos=2) as messages,
    ):
        for qos in (0, 1, 2):
            for size in (0, 1, 200, 100_000):
                await client.publish(f"{topic}/{qos}", bytes(size), qos=qos)
                message = await messages.next(30)
                assert (message.topic, message.qos) == (f"{topic}/{qos}", qos)
                assert len(message.payload) == size


@VERSIONS
async def test_many_messages_arrive_in_order(
    broker: RunningBroker, topic: str, version: Version
) -> None:
    async with (
        connect(broker.url, version=version) as client,
        client.subscribe(topic, qos=2, queue_limit=5_000) as messages,
    ):
        receipts = [await client.enqueue(topic, str(i), qos=1 + i % 2) for i in range(1_000)]
        for receipt in receipts:
            await receipt
        got = [int((await messages.next(30)).text) for _ in range(1_000)]
        assert [n for n in got if n % 2] == list(range(1, 1_000, 2))
        assert [n for n in got if not n % 2] == list(range(0, 1_000, 2))


async def test_properties_arrive(broker: RunningBroker, topic: str) -> None:
    async with connect(broker.url) as client, client.subscribe(topic, qos=1) as messages:
        await client.publish(
            topic,
            "text",
            qos=1,
            content_type="text/plain",
            payload_format_indicator=1,
            message_expiry_interval=60,
            response_topic="somewhere",
            correlation_data=b"\0\1",
            user_properties=[("a", "1"), ("a", "2")],
        )
        message = await messages.next(30)
        assert message.content_type == "text/plain"
        assert message.payload_format_indicator == 1
        assert message.message_expiry_interval is not None
        assert 58 <= message.message_expiry_interval <= 60
        assert message.response_topic == "somewhere"
        assert message.correlation_data == b"\0\1"
        assert message.user_properties == [("a", "1"), ("a", "2")]


async def test_several_subscriptions_share_filters_and_overlap(
    broker: RunningBroker, topic: str
) -> None:
    async with (
        connect(broker.url) as client,
        client.subscribe(f"{topic}/#", qos=1) as wide,
        client.subscribe(f"{topic}/a", qos=1) as one,
        client.subscribe(f"{topic}/a", qos=2) as other,
    ):
        await client.publish(f"{topic}/a", "x", qos=1)
        await client.publish(f"{topic}/b", "y", qos=1)
        assert (await one.next(30)).text == "x"
        assert (await other.next(30)).text == "x"
        assert [(await wide.next(30)).text for _ in range(2)] == ["x", "y"]


async def test_retained_messages_come_with_every_subscription(
    broker: RunningBroker, topic: str
) -> None:
    async with connect(broker.url) as client:
        await client.publish(topic, "kept", qos=1, retain=True)
        for handling in (0, 1):
            async with client.subscribe(topic, qos=1, retain_handling=handling) as messages:
                message = await messages.next(30)
                assert message.retain
                assert message.text == "kept"
        async with client.subscribe(topic, retain_handling=2) as messages:
            with pytest.raises(TimeoutError):
                await messages.next(0.1)
        await client.publish(topic, b"", qos=1, retain=True)


async def test_will_is_published_when_the_client_is_cut_off(
    broker: RunningBroker, topic: str
) -> None:
    async with connect(broker.url) as client, client.subscribe(topic, qos=1) as messages:
        dying = connect(broker.url, will=Will(topic=topic, payload="gone", qos=1), reconnect=None)
        await dying.open()
        connection = dying._supervisor.connection
        assert connection is not None
        connection.abort()
        assert (await messages.next(30)).text == "gone"
        await dying.close()


async def test_session_is_kept_for_the_next_run(broker: RunningBroker, topic: str) -> None:
    identity: dict[str, Any] = {
        "client_id": f"{topic}/sleeper".replace("/", "-"),
        "session_expiry_interval": 60,
    }
    async with connect(broker.url, **identity) as client:
        messages = client.subscribe(topic, qos=1, durable=True)
        await messages.open()
        await messages.close()
    async with connect(broker.url) as other:
        for text in ("one", "two"):
            await other.publish(topic, text, qos=1)
    async with connect(broker.url, clean_start=False, **identity) as client:
        assert client.granted.session_present
        await asyncio.sleep(0.05)
        async with client.subscribe(topic, qos=1) as messages:
            assert [(await messages.next(30)).text for _ in range(2)] == ["one", "two"]


async def test_request_is_answered(broker: RunningBroker, topic: str) -> None:
    async with connect(broker.url) as server, connect(broker.url) as client:

        @server.respond(f"{topic}/{{name}}")
        def greet(message: noctule.Message, name: str) -> str:
            return f"{message.text} {name}"

        while True:  # Until the responder is subscribed, nobody answers.
            try:
                answer = await client.request(f"{topic}/you", "hello", timeout=0.5)
            except TimeoutError:
                continue
            break
        assert answer.text == "hello you"
        answers = await asyncio.gather(*(client.request(f"{topic}/{i}", "hi") for i in range(20)))
        assert [answer.text for answer in answers] == [f"hi {i}" for i in range(20)]


async def test_shared_subscriptions_share(broker: RunningBroker, topic: str) -> None:
    async with (
        connect(broker.url) as one,
        connect(broker.url) as two,
        connect(broker.url) as publisher,
        one.subscribe(f"$share/g/{topic}", qos=1) as first,
        two.subscribe(f"$share/g/{topic}", qos=1) as second,
    ):
        for i in range(20):
            await publisher.publish(topic, str(i), qos=1)
        async with asyncio.timeout(30):
            while len(first) + len(second) < 20:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert len(first)
        assert len(second)


async def test_receive_maximum_is_kept_by_program_and_broker(
    broker: RunningBroker, topic: str
) -> None:
    async with (
        connect(broker.url, receive_maximum=5) as client,
        connect(broker.url) as other,
        client.subscribe(topic, qos=2, manual_acknowledgement=True) as messages,
    ):
        for i in range(20):
            await other.publish(topic, str(i), qos=1 + i % 2)
        async with asyncio.timeout(30):
            while len(messages) < 5:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert len(messages) == 5
        for i in range(20):
            message = await messages.next(30)
            assert message.text == str(i)
            messages.acknowledge(message)


async def test_stalled_consumer_leaves_memory_flat(broker: RunningBroker, topic: str) -> None:
    import tracemalloc

    async with (
        connect(broker.url) as client,
        connect(broker.url) as other,
        client.subscribe(topic, queue_limit=100) as messages,
    ):
        tracemalloc.start()
        try:
            for _ in range(20):
                for _ in range(2_000):
                    await other.publish(topic, bytes(64))
                await other.publish(f"{topic}/turn", qos=1)
            current, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(messages) < 10_000
        assert current < 30_000_000


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_other_event_loops(broker: RunningBroker, topic: str, loop: str) -> None:
    async def run() -> None:
        async with connect(broker.url) as client, client.subscribe(topic, qos=1) as messages:
            await client.publish(topic, "x", qos=2)
            assert (await messages.next(30)).text == "x"

    if loop == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
    else:
        asyncio.run(run())
