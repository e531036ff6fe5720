"""Listeners of one broker that let in different clients, on different terms."""

import asyncio
import time
from pathlib import Path

import aiomqtt
import pytest
from argon2 import PasswordHasher

from noctule.access import AccessError
from noctule.broker import Broker
from noctule.config import Configuration, broker_of

CHEAP = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
WAIT_SECONDS = 30.0


def client(port: int, **given: object) -> aiomqtt.Client:
    given.setdefault("protocol", aiomqtt.ProtocolVersion.V5)
    return aiomqtt.Client("127.0.0.1", port, **given)  # type: ignore[arg-type]


async def next_message(subscriber: aiomqtt.Client) -> aiomqtt.Message:
    async with asyncio.timeout(WAIT_SECONDS):
        return await anext(subscriber.messages)


async def test_tenants_live_below_their_prefix() -> None:
    listeners = [f"mqtt://127.0.0.1:0?topic_prefix={name}/" for name in ("a", "b")]
    async with Broker(listeners=[*listeners, "mqtt://127.0.0.1:0"]) as broker:
        first, second, third = broker.ports
        async with client(first) as a, client(second) as b, client(third) as all_of_it:
            for each in (a, b, all_of_it):
                await each.subscribe("#", qos=1)
            await a.publish("x", b"of a", qos=1, retain=True)
            await b.publish("x", b"of b", qos=1)
            assert [str((await next_message(each)).topic) for each in (a, b)] == ["x", "x"]
            topics = {str((await next_message(all_of_it)).topic) for _ in range(2)}
            assert topics == {"a/x", "b/x"}
            assert broker.retained.get("a/x") is not None
            assert broker.retained.get("x") is None


async def test_a_listener_has_rates_of_its_own() -> None:
    listeners = ["mqtt://127.0.0.1:0?max_messages_per_second_out=5", "mqtt://127.0.0.1:0"]
    async with Broker(listeners=listeners) as broker:
        tight, free = broker.ports
        async with client(tight) as slow, client(free) as quick, client(free) as publisher:
            for each in (slow, quick):
                await each.subscribe("t", qos=1)
            begin = time.monotonic()
            for _ in range(50):
                await publisher.publish("t", b"x")
            await publisher.publish("t", b"end", qos=1)
            counts = []
            for each in (slow, quick):
                count = 0
                while (await next_message(each)).payload != b"end":
                    count += 1
                counts.append(count)
            # What is over the rate at QoS 0 is dropped; the first and last second are not whole.
            seconds = 2 + int(time.monotonic() - begin)
            assert 4 <= counts[0] <= min(5 * seconds, 49)
            assert counts[1] == 50


async def test_each_listener_asks_its_own_authenticators(tmp_path: Path) -> None:
    users = tmp_path / "users.pw"
    users.write_text(f"alice:{CHEAP.hash('a')}\n")
    access = {"password_file": users, "peer_names": True}
    configuration = Configuration.model_validate(
        {
            "listeners": [
                {"port": 0, "authenticators": ["password_file"]},
                {"port": 0, "authenticators": ["peer_names"]},
                {"port": 0},
            ],
            "access": access,
        }
    )
    async with broker_of(configuration) as broker:
        for place, is_welcome in enumerate((True, False, True)):
            try:
                async with client(broker.ports[place], username="alice", password="a"):
                    assert is_welcome
            except aiomqtt.MqttError:
                assert not is_welcome


async def test_an_authenticator_that_is_not_configured_is_named(tmp_path: Path) -> None:
    users = tmp_path / "users.pw"
    users.write_text(f"alice:{CHEAP.hash('a')}\n")
    listeners = [{"port": 0, "authenticators": ["ldpa"]}]
    access = {"password_file": users}
    configuration = Configuration.model_validate({"listeners": listeners, "access": access})
    with pytest.raises(AccessError, match=r"listeners\[0\].authenticators: 'ldpa'"):
        broker_of(configuration)
