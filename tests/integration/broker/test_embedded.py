"""noctule.Broker in a program: started, stopped, several at once, and what it reports."""

import asyncio
import socket

import pytest

from noctule import Broker, BrokerOptions
from noctule.broker import BrokerError, ExposedListenerError, Limits, StartError
from tests.integration.broker.wire import Connection, publish

LOCAL = "mqtt://127.0.0.1:0"
SECONDS = 30.0


def exchange(port: int, payload: bytes) -> bytes:
    """Publish to oneself through the broker, and return what arrives."""
    with Connection(port) as connection:
        connection.open("")
        connection.subscribe("embedded", 0)
        connection.socket.sendall(publish("embedded", payload))
        _, _, body = connection.packet()
        connection.close()
        return body[10:]


async def test_messages_go_through_an_embedded_broker() -> None:
    async with Broker(listeners=LOCAL) as broker:
        assert broker.is_running
        assert await asyncio.to_thread(exchange, broker.port, b"hello") == b"hello"
    assert not broker.is_running


async def test_several_brokers_run_side_by_side() -> None:
    async with Broker(listeners=LOCAL) as first, Broker(listeners=LOCAL) as second:
        assert first.port != second.port
        for broker in (first, second):
            text = f"{broker.port}".encode()
            assert await asyncio.to_thread(exchange, broker.port, text) == text


async def test_every_listener_has_its_port() -> None:
    async with Broker(listeners=[LOCAL, LOCAL]) as broker:
        assert len(set(broker.ports)) == 2
        assert broker.port == broker.ports[0]
        assert broker.addresses == [f"mqtt://127.0.0.1:{port}" for port in broker.ports]
        for port in broker.ports:
            assert await asyncio.to_thread(exchange, port, b"here") == b"here"


async def test_keyword_arguments_win_over_options() -> None:
    options = BrokerOptions(limits=Limits(max_connections=7), workers=1)
    broker = Broker(options, listeners=LOCAL, workers=2)
    assert broker.options.limits.max_connections == 7
    assert broker.options.workers == 2
    await broker.stop()


async def test_serve_forever_returns_when_stopped() -> None:
    async with Broker(listeners=LOCAL) as broker:
        serving = asyncio.create_task(broker.serve_forever())
        await asyncio.sleep(0)
        assert not serving.done()
        await broker.stop()
        await asyncio.wait_for(serving, SECONDS)


async def test_cancelled_serve_forever_stops_the_broker() -> None:
    broker = Broker(listeners=LOCAL)
    started = asyncio.Event()

    async def serve() -> None:
        async with broker:
            started.set()
            await broker.serve_forever()

    serving = asyncio.create_task(serve())
    await asyncio.wait_for(started.wait(), SECONDS)
    assert broker.is_running
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not broker.is_running


async def test_port_is_free_again_after_the_stop() -> None:
    async with Broker(listeners=LOCAL) as broker:
        port = broker.port
    async with Broker(listeners=f"mqtt://127.0.0.1:{port}") as again:
        assert again.port == port


async def test_address_in_use_is_refused_with_its_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"mqtt://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StartError, match=f"{url}.*; another program listens there"):
            await Broker(listeners=url).start()


async def test_port_before_the_start_is_an_error() -> None:
    broker = Broker(listeners=LOCAL)
    with pytest.raises(BrokerError, match="start it first"):
        _ = broker.port


def test_listener_open_to_other_machines_is_refused() -> None:
    with pytest.raises(ExposedListenerError):
        Broker(listeners="mqtt://0.0.0.0:0")


async def test_connections_are_closed_by_the_stop() -> None:
    async with Broker(listeners=LOCAL) as broker:
        connection = await asyncio.to_thread(Connection, broker.port)
        await asyncio.to_thread(connection.open, "waiting")
    with connection, pytest.raises(ConnectionError):
        await asyncio.to_thread(connection.packet)


async def test_events_tell_who_comes_and_goes() -> None:
    async with Broker(listeners=LOCAL) as broker:
        events = broker.events()
        connection = await asyncio.to_thread(Connection, broker.port)
        with connection:
            await asyncio.to_thread(connection.open, "somebody")
            await asyncio.to_thread(connection.subscribe, "a/+", 1)
            connection.close()
        seen: list[tuple[object, object]] = []
        async with asyncio.timeout(SECONDS):
            while ("disconnected", "somebody") not in seen:
                seen += [(event["kind"], event["client"]) for event in await anext(events)]
    kinds = [kind for kind, client in seen if client == "somebody"]
    assert kinds[:2] == ["connected", "subscribed"]


async def test_statistics_count_what_was_published() -> None:
    async with Broker(listeners=LOCAL) as broker:
        before = broker.statistics()
        await asyncio.to_thread(exchange, broker.port, b"counted")
        after = broker.statistics()
    changed = {name for name in after if after[name] != before.get(name)}
    assert any("publish" in name or "messages" in name for name in changed), after
