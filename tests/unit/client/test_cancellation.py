"""Every call is cancelled at each point where it waits, and the client is usable after it.

A call is run as often as it has points to wait at. At one of them its task is cancelled:
just after it has begun to wait, or just when what it waits for has come.
"""

from __future__ import annotations

import asyncio
import itertools
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from pathlib import Path
from typing import Any, Literal

import pytest

from noctule.client import Client, Reconnect, connect
from noctule.protocol import Properties, PropertyId, ReasonCode
from noctule.protocol.packets import Auth, Connack, Connect, Disconnect, Packet, Publish, Subscribe
from tests.unit.client.scripted import Peer, scripted

MAX_POINTS = 60
When = Literal["waits", "wakes"]
Call = Callable[[Client], Awaitable[object]]


@types.coroutine
def cancelled_at(
    call: Coroutine[Any, Any, Any], point: int, when: When
) -> Generator[Any, Any, bool]:
    """Runs `call`, and cancels its task at the point; False if it has no such point."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    is_cancelled = False
    sent: Any = None
    raised: BaseException | None = None
    for number in itertools.count():
        try:
            yielded = call.send(sent) if raised is None else call.throw(raised)
        except StopIteration:
            return is_cancelled
        if number == point:
            is_cancelled = True
            if when == "wakes" and yielded is not None:
                # Before the task's own callback is added: the future is done, the task not woken.
                yielded.add_done_callback(lambda _: task.cancel())
            else:
                loop.call_soon(task.cancel)
        sent = raised = None
        try:
            sent = yield yielded
        except BaseException as error:
            raised = error
    raise AssertionError


async def echoing(peer: Peer) -> None:
    """A server with one client: publishes to it what it has published, and challenges it."""

    def named(data: bytes) -> Properties:
        return Properties(
            [
                (PropertyId.AUTHENTICATION_METHOD, "TEST"),
                (PropertyId.AUTHENTICATION_DATA, data),
            ]
        )

    connect = await peer.read()
    assert isinstance(connect, Connect)
    peer.send(Auth(ReasonCode.CONTINUE_AUTHENTICATION, named(b"?")))
    await peer.read()
    peer.send(Connack(False, 0, named(b"bye")))
    subscribed: set[str] = set()
    while True:
        packet: Packet = await peer.read()
        if isinstance(packet, Subscribe):
            subscribed |= {request.topic_filter for request in packet.requests}
        if isinstance(packet, Auth):
            is_first = packet.reason_code == ReasonCode.RE_AUTHENTICATE
            code = ReasonCode.CONTINUE_AUTHENTICATION if is_first else ReasonCode.SUCCESS
            peer.send(Auth(code, named(b"?" if is_first else b"bye")))
        else:
            peer.answer(packet)
        if isinstance(packet, Publish):
            response = packet.properties.string(PropertyId.RESPONSE_TOPIC)
            topic = response or packet.topic
            if topic in subscribed:
                peer.send(Publish(topic, packet.payload, properties=correlation(packet)))
        if isinstance(packet, Disconnect):
            return


def correlation(packet: Publish) -> Properties:
    data = packet.properties.binary(PropertyId.CORRELATION_DATA)
    return Properties([] if data is None else [(PropertyId.CORRELATION_DATA, data)])


class Mechanism:
    method = "TEST"

    def start(self) -> bytes:
        return b"start"

    def step(self, data: bytes | None) -> bytes:
        return b"!"

    def finish(self, data: bytes | None) -> None:
        assert data == b"bye"


async def receipt(client: Client) -> None:
    await (await client.enqueue("a", qos=2))


async def fill(client: Client) -> None:
    for _ in range(8):  # Twice what the outbox holds.
        await client.enqueue("a", bytes(20_000), qos=1)


async def subscribed(client: Client) -> None:
    async with client.subscribe("b", qos=1) as messages:
        await client.publish("b", "x", qos=1)
        assert (await messages.next(30)).text == "x"
        await client.publish("b", "x", qos=1)
        assert len(await messages.take()) == 1


async def answered(client: Client) -> None:
    await client.subscribe("c").open()
    assert (await client.request("c", "?", timeout=30)).text == "?"


async def states(client: Client) -> None:
    stream = client.states()
    await anext(stream)
    watching = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    try:
        await asyncio.wait_for(watching, 0.001)
    except TimeoutError:
        return


CALLS: dict[str, Call] = {
    "publish 0": lambda client: client.publish("a", bytes(100_000)),
    "publish 1": lambda client: client.publish("a", qos=1),
    "publish 2": lambda client: client.publish("a", qos=2),
    "receipt": receipt,
    "full outbox": fill,
    "subscription": subscribed,
    "request": answered,
    "reauthenticate": lambda client: client.reauthenticate(),
    "wait_connected": lambda client: client.wait_connected(),
    "states": states,
}


def client_for(url: str, outbox: Path | None) -> Client:
    return connect(
        url,
        authentication=Mechanism,
        outbox=outbox,
        outbox_limit=4,
        reconnect=Reconnect(first_delay=0.01, max_delay=0.01),
    )


async def is_usable(client: Client) -> None:
    async with client.subscribe("d") as messages:
        await client.publish("d", "still here", qos=1)
        assert (await messages.next(30)).text == "still here"
        await client.reauthenticate()
    assert client._awaited_answers == 0
    assert not client._takers
    assert client.is_connected


async def at_each_point(run: Callable[[int], Awaitable[bool]]) -> int:
    """Until a run had no point to be cancelled at; how many there were."""
    for point in range(MAX_POINTS):
        async with asyncio.timeout(20):
            was_cancelled = await run(point)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, f"after point {point}: {others}"
        if not was_cancelled:
            return point
    raise AssertionError("the points do not end")


async def outcome(task: asyncio.Task[bool]) -> bool:
    """Whether the task was cancelled."""
    await asyncio.wait([task])
    if task.cancelled():
        return True
    return task.result()


@pytest.mark.parametrize("when", ["waits", "wakes"])
@pytest.mark.parametrize("is_on_disk", [False, True], ids=["memory", "disk"])
@pytest.mark.parametrize("name", CALLS)
async def test_cancelled_call_leaves_a_usable_client(
    name: str, is_on_disk: bool, when: When, tmp_path: Path
) -> None:
    numbers = itertools.count()

    async def call(client: Client) -> None:
        await CALLS[name](client)

    async def run(point: int) -> bool:
        outbox = tmp_path / f"outbox-{next(numbers)}" if is_on_disk else None
        async with scripted(echoing) as server, client_for(server.url, outbox) as client:
            task = asyncio.create_task(cancelled_at(call(client), point, when))
            was_cancelled = await outcome(task)
            await is_usable(client)
            return was_cancelled

    points = await at_each_point(run)
    assert points or name == "wait_connected"


@pytest.mark.parametrize("when", ["waits", "wakes"])
@pytest.mark.parametrize("is_on_disk", [False, True], ids=["memory", "disk"])
async def test_cancelled_block_leaves_nothing_behind(
    is_on_disk: bool, when: When, tmp_path: Path
) -> None:
    numbers = itertools.count()

    async def block(url: str, outbox: Path | None) -> None:
        client = client_for(url, outbox)
        got = asyncio.Event()

        @client.on("b")
        async def handle(_: object) -> None:
            got.set()

        async with client:
            await client.publish("b", qos=1)
            await got.wait()
            client.publish_nowait("a", qos=2)

    async def run(point: int) -> bool:
        outbox = tmp_path / f"outbox-{next(numbers)}" if is_on_disk else None
        async with scripted(echoing) as server:
            whole = block(server.url, outbox)
            return await outcome(asyncio.create_task(cancelled_at(whole, point, when)))

    assert await at_each_point(run) > 5


async def test_handler_may_close_its_client() -> None:
    async with scripted(echoing) as server:
        client = client_for(server.url, None)

        @client.on("b")
        async def handle(_: object) -> None:
            await client.close()

        await client.open()
        await client.publish("b")
        async with asyncio.timeout(30):
            async for _ in client.states():
                pass
        await client.close()
    async with asyncio.timeout(30):
        while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
