"""What users test their programs with."""

from __future__ import annotations

import asyncio
import threading

import pytest

import noctule.sync
from noctule.client import ConnectionFailedError, Reconnect, Reconnecting, connect
from noctule.testing import LocalBroker

FAST = Reconnect(first_delay=0.01, max_delay=0.05)


def test_program_that_blocks_is_tested(mqtt_broker: LocalBroker) -> None:
    with noctule.sync.connect(mqtt_broker.url) as client, client.subscribe("in", qos=1) as messages:
        mqtt_broker.publish("in", "frost")
        assert messages.next(30).text == "frost"
        client.publish("out/1", "one", qos=1)
        client.publish("out/2", "two", qos=2, retain=True)
        found = mqtt_broker.wait_for("out/+", count=2)
    assert [(m.topic, m.payload, m.qos, m.retain) for m in found] == [
        ("out/1", b"one", 1, False),
        ("out/2", b"two", 2, True),
    ]
    assert [m.topic for m in mqtt_broker.messages] == ["in", "out/1", "out/2"]
    assert mqtt_broker.matching("in") == mqtt_broker.messages[:1]


async def test_program_with_coroutines_is_tested(mqtt_broker: LocalBroker) -> None:
    async with connect(mqtt_broker.url, client_id="me") as client:
        assert mqtt_broker.clients() == ["me"]
        arriving = asyncio.create_task(mqtt_broker.arrival("a"))
        await client.publish("a", "x")
        [message] = await arriving
        assert message.payload == b"x"
    assert mqtt_broker.port == int(mqtt_broker.url.rpartition(":")[2])


def test_message_that_does_not_come_is_named(mqtt_broker: LocalBroker) -> None:
    mqtt_broker.publish("another/topic", b"")
    mqtt_broker.wait_for("another/topic")
    with pytest.raises(TimeoutError, match="another/topic"):
        mqtt_broker.wait_for("a", timeout=0.01)


async def test_program_is_cut_off_and_comes_back(mqtt_broker: LocalBroker) -> None:
    lost = 0
    async with connect(mqtt_broker.url, client_id="me", reconnect=FAST) as client:

        async def watch() -> None:
            nonlocal lost
            async for state in client.states():
                lost += isinstance(state, Reconnecting)

        watching = asyncio.create_task(watch())
        async with client.subscribe("a", qos=1) as messages:
            mqtt_broker.disconnect("me")
            async with asyncio.timeout(30):
                while not lost or not client.is_connected:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await client.publish("a", "after the cut", qos=1)
            assert (await messages.next(30)).text == "after the cut"
            before = lost
            await asyncio.to_thread(mqtt_broker.restart, 0.1)
            async with asyncio.timeout(30):
                while lost == before or not client.is_connected:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await client.publish("a", "after the restart", qos=1)
            assert (await messages.next(30)).text == "after the restart"
    await watching
    assert mqtt_broker.matching("a")


def test_broker_ends_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    broker = LocalBroker()
    with pytest.raises(RuntimeError, match="does not run"):
        broker.url  # noqa: B018
    broker.start()
    url = broker.url
    broker.stop()
    broker.stop()
    assert set(threading.enumerate()) == before
    with pytest.raises(ConnectionFailedError):
        noctule.sync.connect(url).open()
