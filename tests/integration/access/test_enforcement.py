"""Rules on sessions that live: what is denied is said, and what is revoked ends."""

import asyncio
import functools
import logging
from dataclasses import replace

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from noctule.access import Access, Function
from noctule.broker import AuthenticationRequest, Broker, PublishRequest
from tests.conformance.wire import Client
from tests.integration.access.test_access import broker_with, eventually


def anybody(request: AuthenticationRequest) -> bool | None:
    """Whoever has a name has proved it with the same as password."""
    return None if request.user is None else request.password == request.user.encode()


def client(broker: Broker, user: str, **given: object) -> aiomqtt.Client:
    return aiomqtt.Client(
        "127.0.0.1",
        broker.port,
        username=user,
        password=user,
        protocol=aiomqtt.ProtocolVersion.V5,
        **given,  # type: ignore[arg-type]
    )


async def test_denied_action_has_its_code_and_its_line(caplog: pytest.LogCaptureFixture) -> None:
    rules: list[dict[str, object]] = [{"permission": "deny", "filter": "secrets/#"}, {}]
    access = Access(links=[Function(anybody)], rules=rules)
    async with broker_with(access) as broker, client(broker, "bob", identifier="c\u20281") as bob:
        with caplog.at_level(logging.WARNING, "noctule.access"):
            await bob.publish("secrets/x", b"", qos=1)
            codes = await bob.subscribe("$share/g/secrets/y", qos=1)
            assert [code.value for code in codes] == [0x87]  # type: ignore[union-attr]

            async def said() -> bool:
                return caplog.text.count("denied: ") == 2

            await eventually(said)
    assert (
        r"denied: client 'c\u20281' of user 'bob' may not publish to 'secrets/x': "
        "by the rule 'deny secrets/#'" in caplog.text
    )
    assert r"may not subscribe to 'secrets/y'" in caplog.text


async def test_revoked_right_ends_for_a_durable_subscription() -> None:
    everything: list[dict[str, object]] = [{}]
    access = Access(links=[Function(anybody)], rules=everything)
    kept = {"identifier": "bob", "clean_start": False, "properties": expiry(600)}
    async with broker_with(access) as broker, client(broker, "alice") as alice:
        async with client(broker, "bob", **kept) as bob:
            await bob.subscribe("t/#", qos=1)
        await alice.publish("t/secret", b"waits", qos=1)
        await broker.access.update(
            [{"users": ["alice"]}, {"permission": "deny", "filter": "t/secret"}, {}]
        )
        await alice.publish("t/secret", b"late", qos=1)
        await alice.publish("t/open", b"open", qos=1)
        async with client(broker, "bob", **kept) as bob, asyncio.timeout(30):
            assert (await anext(bob.messages)).payload == b"open"


def expiry(seconds: int) -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = seconds
    return properties


async def test_session_is_not_taken_over_by_another_user() -> None:
    access = Access(links=[Function(anybody)], allow_anonymous=True)
    async with (
        broker_with(access) as broker,
        client(broker, "alice", identifier="one") as alice,
    ):
        for user in ("bob", None):
            other = aiomqtt.Client(
                "127.0.0.1", broker.port, identifier="one", username=user, password=user
            )
            with pytest.raises(aiomqtt.MqttError):
                async with other:
                    pass
        await alice.publish("t", b"still here", qos=1)


async def test_will_past_a_rule_does_not_come_in() -> None:
    access = Access(links=[Function(anybody)], rules=[{"filter": "open/#"}])
    async with broker_with(access) as broker, client(broker, "alice") as alice:
        await alice.subscribe("open/#")
        with pytest.raises(aiomqtt.MqttError):
            async with client(broker, "bob", will=aiomqtt.Will("secrets/x", b"w")):
                pass
        # One that was allowed at CONNECT and is no longer when it fires does not go out.
        with pytest.raises(aiomqtt.MqttError):
            async with (
                client(
                    broker, "bob", identifier="b", will=aiomqtt.Will("open/will", b"w", qos=1)
                ) as bob,
                asyncio.timeout(30),
            ):
                await broker.access.update(
                    [{"users": ["alice"]}, {"permission": "deny", "filter": "open/will"}, {}]
                )
                await broker.disconnect("b", 0x98)
                await anext(bob.messages)
        await alice.publish("open/end", b"end")
        assert str((await anext(alice.messages)).topic) == "open/end"


async def test_retained_message_is_not_read_past_a_rule() -> None:
    access = Access(
        links=[Function(anybody)],
        rules=[
            {"users": ["alice"]},
            {"permission": "deny", "actions": ["receive"], "filter": "t/secret"},
            {"filter": "t/#"},
        ],
    )
    async with broker_with(access) as broker, client(broker, "alice") as alice:
        await alice.publish("t/secret", b"no", qos=1, retain=True)
        await alice.publish("t/z", b"yes", qos=1, retain=True)
        async with client(broker, "bob") as bob, asyncio.timeout(30):
            await bob.subscribe("t/#", qos=1)
            assert (await anext(bob.messages)).payload == b"yes"
            await alice.publish("t/end", b"end", qos=1)
            assert (await anext(bob.messages)).payload == b"end"
            # Nor by a shared subscription, which is no way around a rule.
            await bob.subscribe("$share/g/t/#", qos=1)
            await bob.unsubscribe("t/#")
            await alice.publish("t/secret", b"no", qos=1)
            await alice.publish("t/y", b"yes", qos=1)
            assert (await anext(bob.messages)).payload == b"yes"


@pytest.mark.parametrize(("user", "name"), [("+", "c"), ("#", "c"), ("x", "+"), ("a/b", "c")])
async def test_wildcards_in_names_open_nothing(user: str, name: str) -> None:
    access = Access(
        links=[Function(anybody)],
        rules=[{"users": ["alice"]}, {"filter": "home/%u/%c/#"}],
    )
    async with (
        broker_with(access) as broker,
        client(broker, "alice") as alice,
        client(broker, user, identifier=name) as sly,
    ):
        for topic in ("home/+/+/#", "home/#", "#", "home/alice/c/#", "home/a/+/c/#"):
            codes = await sly.subscribe(topic)
            assert [code.value for code in codes] == [0x87], topic  # type: ignore[union-attr]
        await alice.publish("home/alice/c/x", b"no", qos=1)
        await broker.access.update([{}])
        await sly.subscribe("end")
        await alice.publish("end", b"end", qos=1)
        async with asyncio.timeout(30):
            assert (await anext(sly.messages)).payload == b"end"


async def test_hook_carries_no_message_past_a_rule() -> None:
    """Neither a PUBLISH nor a will: the topic that a hook puts in is checked like a client's."""
    rules: list[dict[str, object]] = [
        {"users": ["alice"]},
        {"permission": "deny", "filter": "secrets/#"},
        {"filter": "#"},
    ]
    broker = broker_with(Access(links=[Function(anybody)], rules=rules))

    @broker.on_publish("open/#")
    async def elsewhere(message: PublishRequest) -> PublishRequest:
        return replace(message, topic=message.topic.replace("open", message.payload.decode()))

    async with broker, client(broker, "alice") as alice, client(broker, "bob") as bob:
        await alice.subscribe("#", qos=1)
        with pytest.raises(aiomqtt.MqttError):
            async with client(
                broker, "bob", identifier="b", will=aiomqtt.Will("open/will", b"secrets", qos=1)
            ) as mortal:
                await broker.disconnect("b", 0x98)
                async with asyncio.timeout(30):
                    await anext(mortal.messages)
        await bob.publish("open/x", b"secrets", qos=1)
        await bob.publish("open/x", b"fine", qos=1)
        async with asyncio.timeout(30):
            assert str((await anext(alice.messages)).topic) == "fine/x"


async def test_retained_message_is_neither_kept_nor_cleared_past_a_rule() -> None:
    """By no PUBLISH and by no will."""
    rules: list[dict[str, object]] = [
        {"actions": ["publish"], "filter": "no/retain", "retain": False},
        {"filter": "open/#"},
    ]
    access = Access(links=[Function(anybody)], rules=rules)
    async with broker_with(access) as broker, client(broker, "bob") as bob:
        await broker.publish("secrets/kept", b"kept", retain=True)
        await bob.publish("secrets/kept", b"", qos=1, retain=True)
        for topic in ("secrets/new", "no/retain"):
            await bob.publish(topic, b"new", qos=1, retain=True)
        await bob.publish("open/new", b"new", qos=1, retain=True)
        for topic in ("secrets/kept", "no/retain"):
            with pytest.raises(aiomqtt.MqttError):
                async with client(broker, "bob", will=aiomqtt.Will(topic, b"", qos=1, retain=True)):
                    pass
        kept = {each.topic async for each in broker.retained.messages("#")}
        assert kept == {"secrets/kept", "open/new"}


async def test_topic_alias_is_no_way_around_a_rule() -> None:
    """An alias stands for a topic, and for what may be done with it now, not when it was set."""
    access = Access(links=[Function(anybody)], rules=[{}])
    async with broker_with(access) as broker:
        with Client(("127.0.0.1", broker.port), client_id="c") as wire:
            await asyncio.to_thread(wire.connect, username="bob", password=b"bob")
            first = functools.partial(wire.publish, "t/x", b"", 1, topic_alias=1)
            again = functools.partial(wire.publish, "", b"", 1, topic_alias=1)
            assert await asyncio.to_thread(first) < 0x80
            assert await asyncio.to_thread(again) < 0x80
            await access.update([{"permission": "deny", "filter": "t/x"}, {}])
            assert await asyncio.to_thread(again) == 0x87
            # One that may not be published to sets no alias that may.
            assert await asyncio.to_thread(first) == 0x87
            assert await asyncio.to_thread(again) == 0x87
