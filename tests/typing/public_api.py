"""What a type checker makes of the public API; checked by mypy, never run."""

from dataclasses import replace
from typing import assert_type

import noctule
from noctule import Broker, BrokerOptions
from noctule.broker import (
    Ban,
    Client,
    Limits,
    Listener,
    PublishRequest,
    Refuse,
    Retained,
    Subscription,
    TappedMessage,
)


async def embed() -> None:
    async with Broker(listeners="mqtt://127.0.0.1:0", limits={"receive_maximum": 10}) as broker:
        assert_type(broker, Broker)
        assert_type(broker.port, int)
        assert_type(broker.ports, list[int])
        assert_type(broker.addresses, list[str])
        assert_type(broker.statistics(), dict[str, int | float])
        async for batch in broker.events():
            assert_type(batch, list[dict[str, object]])
        await broker.serve_forever()


def options() -> BrokerOptions:
    Broker(workers="2")  # type: ignore[arg-type]
    Broker(wrokers=2)  # type: ignore[call-arg]
    assert_type(noctule.__version__, str)
    return BrokerOptions(listeners=(Listener(port=0),), limits=Limits(queue_full="reject"))


def hooks(broker: Broker) -> None:
    @broker.on_publish("a/#")
    async def change(message: PublishRequest) -> PublishRequest | Refuse | None:
        assert_type(message.payload, bytes)
        return replace(message, topic="b")

    @broker.on_publish("a/#")  # type: ignore[arg-type]
    async def wrong(message: PublishRequest) -> bool:
        return True

    @broker.on_connect  # type: ignore[arg-type]
    def not_async(request: object) -> None: ...


async def messages(broker: Broker) -> None:
    async with broker.subscribe("a/#", qos=1) as subscription:
        assert_type(subscription, Subscription)
        async for message in subscription:
            assert_type(message, TappedMessage)
    assert_type(broker.retained, Retained)
    assert_type(broker.retained.get("a"), TappedMessage | None)
    async for kept in broker.retained.messages("#"):
        assert_type(kept.user_properties, list[tuple[str, str]])
    await broker.retained.set("a", b"x", content_type="text/plain")
    await broker.publish("a", b"x", content_typ="text/plain")  # type: ignore[call-arg]
    assert_type(await broker.clients(), list[Client])
    broker.ban(address="192.0.2.0/24", seconds=60)
    assert_type(broker.bans(), list[Ban])
    assert_type(broker.unban(client="c"), bool)
