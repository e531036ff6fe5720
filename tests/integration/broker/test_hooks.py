"""Hooks of an embedded broker, seen by clients that are not ours."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from noctule.broker import (
    Accept,
    AccessRequest,
    Answer,
    AuthenticationRequest,
    Broker,
    BrokerError,
    ConnectRequest,
    PublishRequest,
    Refuse,
    SubscribeRequest,
)

WAIT_SECONDS = 30.0


def new_broker(**options: object) -> Broker:
    return Broker(listeners=["mqtt://127.0.0.1:0"], durability="memory", **options)  # type: ignore[arg-type]


@asynccontextmanager
async def client(broker: Broker, name: str, **given: object) -> AsyncIterator[aiomqtt.Client]:
    given.setdefault("protocol", aiomqtt.ProtocolVersion.V5)
    connecting = aiomqtt.Client("127.0.0.1", broker.port, identifier=name, **given)  # type: ignore[arg-type]
    async with connecting as connected:
        yield connected


async def next_message(subscriber: aiomqtt.Client) -> aiomqtt.Message:
    async with asyncio.timeout(WAIT_SECONDS):
        return await anext(subscriber.messages)


async def test_hook_changes_every_part_of_a_message() -> None:
    broker = new_broker()

    @broker.on_publish("in/+")
    async def change(message: PublishRequest) -> PublishRequest:
        assert (message.client, message.payload, message.qos) == ("publisher", b"plain", 1)
        assert message.user_properties == [("a", "b")]
        return replace(
            message,
            topic="out/x",
            payload=b"changed",
            qos=0,
            retain=True,
            content_type="text/plain",
            user_properties=[*message.user_properties, ("seen", "yes")],
        )

    async with broker, client(broker, "publisher") as publisher, client(broker, "s") as subscriber:
        await subscriber.subscribe("#", qos=2)
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.UserProperty = [("a", "b")]
        await publisher.publish("in/1", b"plain", qos=1, properties=properties)
        got = await next_message(subscriber)
        assert (str(got.topic), got.payload, got.qos) == ("out/x", b"changed", 0)
        assert vars(got.properties)["ContentType"] == "text/plain"
        assert vars(got.properties)["UserProperty"] == [("a", "b"), ("seen", "yes")]
        async with client(broker, "late") as late:
            await late.subscribe("out/x")
            assert (await next_message(late)).payload == b"changed"


async def test_publisher_messages_stay_in_their_order_past_a_hook_of_some_of_them() -> None:
    broker = new_broker()
    seen: list[bytes] = []

    @broker.on_publish("hooked")
    async def slow_down(message: PublishRequest) -> None:
        seen.append(message.payload)
        await asyncio.sleep(0.001 * (int(message.payload) % 3))

    async with broker, client(broker, "p") as publisher, client(broker, "s") as subscriber:
        await subscriber.subscribe("#", qos=1)
        numbers = [str(number).encode() for number in range(60)]
        for number in numbers:
            topic = "hooked" if int(number) % 2 else "free"
            await publisher.publish(topic, number, qos=int(number) % 3)
        got = [(await next_message(subscriber)).payload for _ in numbers]
        assert got == numbers
        assert seen == [each for each in numbers if int(each) % 2]


async def test_slow_hook_holds_up_its_client_alone_and_is_given_up_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Of one worker, so that all of them are on the same.
    broker = new_broker(hook_timeout_seconds=0.3, workers=1)

    @broker.on_publish("slow")
    async def hang(message: PublishRequest) -> None:
        await asyncio.sleep(WAIT_SECONDS)

    async with (
        broker,
        client(broker, "slow") as slow,
        client(broker, "p") as quick,
        client(broker, "s") as subscriber,
    ):
        await subscriber.subscribe("#")
        await slow.publish("slow", b"never", qos=0)
        begun = time.monotonic()
        for number in range(100):
            await quick.publish("quick", str(number).encode(), qos=1)
        assert time.monotonic() - begun < WAIT_SECONDS / 2
        await slow.publish("slow", b"never", qos=1)
        await slow.publish("other", b"goes on", qos=1)
        got = [(await next_message(subscriber)).payload for _ in range(101)]
        assert b"never" not in got
        assert got[-1] == b"goes on"
        assert set(broker.hook_failures().values()) == {2}
    assert "gave no answer about PUBLISH of client 'slow' to 'slow'" in caplog.text


async def test_failing_hook_refuses_unless_it_may_fail_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = new_broker()

    @broker.on_publish("closed")
    async def fail(message: PublishRequest) -> None:
        raise RuntimeError("out of order")

    @broker.on_publish("open", fail_open=True)
    async def fail_open(message: PublishRequest) -> None:
        raise RuntimeError("out of order")

    @broker.on_publish("wrong")
    async def wrong(message: PublishRequest) -> PublishRequest:
        return replace(message, qos=7)

    async with broker, client(broker, "p") as publisher, client(broker, "s") as subscriber:
        await subscriber.subscribe("#")
        for topic in ("closed", "wrong"):
            await publisher.publish(topic, b"x", qos=1)
        await publisher.publish("open", b"y", qos=1)
        assert (await next_message(subscriber)).payload == b"y"
        assert broker.statistics()["hooks_asked"] == 3
        assert broker.statistics()["hooks_failed"] == 1
    assert "out of order" in caplog.text


async def test_connect_hook_refuses_and_lowers_what_is_granted() -> None:
    broker = new_broker()
    asked: list[ConnectRequest] = []

    @broker.on_connect
    async def door(request: ConnectRequest) -> ConnectRequest | Refuse:
        asked.append(request)
        if request.client.startswith("bad"):
            return Refuse(0x8A, "go away")
        return replace(request, keep_alive_seconds=30)

    async with broker:
        with pytest.raises(aiomqtt.MqttError):
            async with client(broker, "bad"):
                pass
        will = aiomqtt.Will("wills/good", b"x", qos=1)
        async with client(broker, "good", username="ann", will=will):
            assert [each.client for each in await broker.clients()] == ["good"]
    assert asked[1].user == "ann"
    assert asked[1].will is not None
    assert asked[1].will.topic == "wills/good"
    assert asked[1].address == "127.0.0.1"


async def test_subscribe_hook_grants_less_and_refuses_one_filter() -> None:
    broker = new_broker()

    @broker.on_subscribe
    async def limit(request: SubscribeRequest) -> SubscribeRequest:
        changed = [
            replace(each, reason_code=0x97)
            if each.filter == "#"
            else replace(each, qos=min(each.qos, 1))
            for each in request.subscriptions
        ]
        return replace(request, subscriptions=tuple(changed))

    async with broker, client(broker, "c") as one:
        codes = await one.subscribe([("#", 0), ("a", 2), ("b", 0)])
        assert [int(getattr(each, "value", -1)) for each in codes] == [0x97, 1, 0]


async def test_authorize_hook_is_asked_once_and_revoked_subscriptions_end() -> None:
    broker = new_broker()
    asked: list[AccessRequest] = []
    denied: set[str] = set()

    @broker.authorize
    async def allow(request: AccessRequest) -> bool:
        asked.append(request)
        return request.topic not in denied

    async with broker, client(broker, "p") as publisher, client(broker, "s") as subscriber:
        await subscriber.subscribe("a")
        for _ in range(20):
            await publisher.publish("a", b"x", qos=1)
            await next_message(subscriber)
        assert [(each.client, each.action, each.topic) for each in asked] == [
            ("s", "subscribe", "a"),
            ("p", "publish", "a"),
        ]
        denied.add("a")
        await publisher.publish("a", b"kept answer", qos=1)
        await next_message(subscriber)
        broker.reauthorize()
        # Asked again about the subscription, which ends, and about the message.
        async with asyncio.timeout(20):
            while broker.statistics()["subscriptions"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await publisher.publish("a", b"x", qos=1)
        denied.clear()
        await publisher.publish("b", b"x", qos=1)
        await subscriber.subscribe("b")
        await publisher.publish("b", b"y", qos=1)
        assert (await next_message(subscriber)).payload == b"y"
        assert broker.statistics()["subscriptions"] == 1


async def test_authorize_hook_speaks_about_wills() -> None:
    broker = new_broker()

    @broker.authorize
    async def allow(request: AccessRequest) -> bool:
        return request.topic != "forbidden"

    async with broker:
        with pytest.raises(aiomqtt.MqttError):
            async with client(broker, "mortal", will=aiomqtt.Will("forbidden", b"x")):
                pass
        async with client(broker, "mortal", will=aiomqtt.Will("fine", b"x")):
            pass


async def test_function_authenticates_before_anybody_else() -> None:
    broker = new_broker(authenticator="hooks")

    @broker.authenticate
    async def ask(request: AuthenticationRequest) -> Answer | None:
        return Accept(user="checked") if request.password == b"right" else None

    async with broker:
        async with client(broker, "c", username="u", password="right"):
            assert [each.user for each in await broker.clients()] == ["checked"]
        with pytest.raises(aiomqtt.MqttError):
            async with client(broker, "c", username="u", password="wrong"):
                pass


async def test_broker_that_waits_for_its_authenticating_function_lets_nobody_in() -> None:
    async with new_broker(authenticator="hooks") as broker:
        with pytest.raises(aiomqtt.MqttError):
            async with client(broker, "c"):
                pass


async def test_deliveries_and_subscriptions_are_told_in_batches() -> None:
    broker = new_broker()
    told: list[tuple[object, object]] = []
    done = asyncio.Event()

    @broker.on_subscribed
    def subscribed(events: list[dict[str, object]]) -> None:
        told.extend(("subscribed", each["filter"]) for each in events)

    @broker.on_delivered
    def delivered(events: list[dict[str, object]]) -> None:
        told.extend(("delivered", each["topic"]) for each in events)
        if len(told) == 3:
            done.set()

    async with broker, client(broker, "c") as one:
        await one.subscribe("a/#", qos=1)
        await one.publish("a/0", b"x", qos=0)
        await one.publish("a/1", b"x", qos=1)
        async with asyncio.timeout(WAIT_SECONDS):
            await done.wait()
    assert told == [("subscribed", "a/#"), ("delivered", "a/0"), ("delivered", "a/1")]


async def test_hooks_are_set_before_the_start(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    async with new_broker() as broker:
        with pytest.raises(BrokerError):
            broker.on_connected(print)
        with pytest.raises(ValueError, match="topic filter"):
            broker.on_publish("a#")
