"""A right that is revoked ends for what waits already, wherever it waits."""

from asyncio import to_thread
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from noctule.access import Access
from noctule.broker import Broker
from tests.conformance.wire import Client
from tests.integration.access.test_access import eventually

EVERYTHING: list[dict[str, object]] = [{}]
NO_SECRETS: list[dict[str, object]] = [
    {"permission": "deny", "actions": ["receive"], "filter": "+/secret/#"},
    {},
]
KEPT: dict[str, Any] = {"clean": False, "session_expiry_interval": 600}


@asynccontextmanager
async def open_broker(
    rules: list[dict[str, object]] = EVERYTHING, **options: Any
) -> AsyncIterator[tuple[Broker, Access]]:
    access = Access(allow_anonymous=True, rules=rules)
    listeners = ["mqtt://127.0.0.1:0"]
    async with Broker(listeners=listeners, authenticator=access, **options) as broker:
        yield broker, access


def subscriber(broker: Broker) -> Client:
    return Client(("127.0.0.1", broker.port), client_id="subscriber")


async def waiting(broker: Broker, count: int) -> None:
    """Wait until as many messages are queued for the one session there is."""

    async def are_there() -> bool:
        clients = await broker.clients()
        return [each.queued_messages for each in clients if each.client == "subscriber"] == [count]

    await eventually(are_there)


async def publish(broker: Broker, *topics: str, **given: Any) -> None:
    """In this order, as one client's messages stay."""

    def publish_all() -> None:
        with Client(("127.0.0.1", broker.port), client_id="publisher") as client:
            client.connect()
            for topic in topics:
                assert client.publish(topic, topic.encode(), 2, **given) < 0x80

    await to_thread(publish_all)


def topics_until(client: Client, last: str) -> list[str]:
    """The topics of the messages up to that one, each acknowledged."""
    topics: list[str] = []
    while not topics or topics[-1] != last:
        topics.append(client.expect_message().topic)
    return topics


@pytest.mark.parametrize("qos", [1, 2])
async def test_neither_what_is_queued_nor_what_is_in_flight_is_sent_again(qos: int) -> None:
    async with open_broker() as (broker, access):
        with subscriber(broker) as client:
            await to_thread(client.connect, receive_maximum=2, **KEPT)
            await to_thread(client.subscribe, "t/#", qos=qos)
            await publish(broker, "t/secret/1", "t/open/1", "t/secret/2", "t/open/2")
            sent = [await to_thread(client.expect, "PUBLISH") for _ in range(2)]
            assert [each.topic for each in sent] == ["t/secret/1", "t/open/1"]
            await waiting(broker, 2)
            await access.update(NO_SECRETS)
            # What has been sent is finished, and makes room.
            for each in sent:
                await to_thread(client.ack, each)
            await publish(broker, "t/end")
            assert await to_thread(topics_until, client, "t/end") == ["t/open/2", "t/end"]
            await access.update(EVERYTHING)
            await publish(broker, "t/secret/3", "t/open/3")
            for _ in range(2):
                await to_thread(client.expect, "PUBLISH")
        # Not acknowledged, so they are in flight still when the client comes back.
        await access.update(NO_SECRETS)
        with subscriber(broker) as client:
            await to_thread(client.connect, **KEPT)
            again = await to_thread(client.expect_message)
            assert (again.topic, again.dup) == ("t/open/3", True)
            await publish(broker, "t/end")
            assert await to_thread(topics_until, client, "t/end") == ["t/end"]
        assert broker.statistics()["publish_dropped"] == 2


async def test_retained_messages_that_are_due_are_not_sent() -> None:
    async with open_broker() as (broker, access):
        await publish(broker, *(f"{n}/secret" for n in range(5)), "5/open", retain=True)
        with subscriber(broker) as client:
            await to_thread(client.connect, receive_maximum=1)
            await to_thread(client.subscribe, "+/#", qos=1)
            first = await to_thread(client.expect, "PUBLISH")
            assert first.topic == "0/secret"
            await access.update(NO_SECRETS)
            await to_thread(client.ack, first)
            assert await to_thread(topics_until, client, "5/open") == ["5/open"]


@pytest.mark.parametrize("topic_filter", ["t/#", "$share/g/t/#"])
async def test_durable_session_is_held_to_the_rules_of_after_a_restart(
    tmp_path: Path, topic_filter: str
) -> None:
    async with open_broker(data_dir=tmp_path) as (broker, _):
        with subscriber(broker) as client:
            await to_thread(client.connect, **KEPT)
            await to_thread(client.subscribe, topic_filter, qos=1)
        await publish(broker, "t/secret/1", "t/open/1")
        await waiting(broker, 2)
    async with open_broker(NO_SECRETS, data_dir=tmp_path) as (broker, _):
        # Whether or not it has been here since.
        await publish(broker, "t/secret/2", "t/open/2")
        with subscriber(broker) as client:
            await to_thread(client.connect, **KEPT)
            assert client.connack.session_present
            found = await to_thread(topics_until, client, "t/open/2")
            assert found == ["t/open/1", "t/open/2"]
