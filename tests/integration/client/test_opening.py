"""Opening that is given up in the middle: of TLS, of WebSocket's upgrade, of a proxy's talk.

Whether it is cancelled or takes too long, nothing is left of it: no task and no socket.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, TypeVar

import pytest

import noctule.sync
from noctule.client import ConnectionFailedError, Reconnect, Tls, connect
from noctule.sync._portal import Portal
from tests.integration.client.conftest import RunningBroker
from tests.integration.client.gate import Gate
from tests.integration.client.test_transports import http, listening, socks5

MAX_PIECES = 30
_Entered = TypeVar("_Entered")
WAYS = ("mqtts", "ws", "socks5 mqtts", "http ws")


@asynccontextmanager
async def way_to(broker: RunningBroker, way: str) -> AsyncIterator[tuple[Gate, str, Any]]:
    """A gate on the way to the broker, the URL to connect to, and what that needs."""
    *proxy, scheme = way.split()
    options: dict[str, Any] = {}
    port = broker.tls_port
    if scheme == "mqtts":
        options["tls"] = Tls(ca=broker.folder / "server.pem")
    else:
        port = broker.websocket_port
    if not proxy:
        async with Gate(port) as gate:
            yield gate, f"{scheme}://localhost:{gate.port}", options
        return
    async with (
        listening(socks5 if proxy == ["socks5"] else http) as proxy_port,
        Gate(proxy_port) as gate,
    ):
        options["proxy"] = f"{proxy[0]}://user:secret@127.0.0.1:{gate.port}"
        yield gate, f"{scheme}://localhost:{port}", options


async def stopped(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def nothing_is_left(gate: Gate) -> None:
    async with asyncio.timeout(30):
        await gate.left.wait()
    await gate.cut()
    coroutines = [task.get_coro() for task in asyncio.all_tasks()]
    assert not [c for c in coroutines if "/tests/" not in inspect.getfile(c.cr_code)]  # type: ignore[union-attr]


@pytest.mark.parametrize("way", WAYS)
async def test_cancelled_at_each_piece_of_the_opening(mosquitto: RunningBroker, way: str) -> None:
    async with way_to(mosquitto, way) as (gate, url, options):
        for limit in range(MAX_PIECES):
            gate.limit = limit
            gate.held.clear()
            gate.left.clear()
            client = connect(url, **options)
            opening = asyncio.create_task(client.open())
            holding = asyncio.create_task(gate.held.wait())
            await asyncio.wait([opening, holding], return_when=asyncio.FIRST_COMPLETED)
            await stopped(holding)
            if opening.done():
                await opening
                gate.limit = None
                await client.publish("a")
                await client.close()
                break
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            await nothing_is_left(gate)
            await client.close()
        assert limit > 3


@pytest.mark.parametrize("way", WAYS[2:])
async def test_too_slow_at_a_piece_of_another_opening(mosquitto: RunningBroker, way: str) -> None:
    """The client gives that connection up, and makes the next one."""
    reconnect = Reconnect(first_delay=0.01, max_delay=0.01)
    async with way_to(mosquitto, way) as (gate, url, options):
        client = connect(
            url, reconnect=reconnect, connect_timeout=0.5, require_connection=False, **options
        )
        async with client:
            await client.wait_connected()
            for limit in (1, 3):
                gate.limit = limit
                gate.held.clear()
                gate.left.clear()
                await gate.cut()
                async with asyncio.timeout(30):
                    await gate.held.wait()
                    await gate.left.wait()
                gate.limit = None
                await client.publish("a", qos=1)


async def _entered(context: AbstractAsyncContextManager[_Entered]) -> _Entered:
    return await context.__aenter__()


async def _left(context: AbstractAsyncContextManager[object]) -> None:
    await context.__aexit__(None, None, None)


@contextmanager
def way_in_a_thread(
    broker: RunningBroker, way: str
) -> Iterator[tuple[Gate, str, Any, Callable[[Coroutine[Any, Any, object]], object]]]:
    """The same for a program that blocks, and how to wait for something there."""
    portal = Portal()
    portal.start()
    context = way_to(broker, way)
    try:
        yield *portal.call(_entered(context)), portal.call
    finally:
        portal.call(_left(context))
        portal.stop()


@pytest.mark.parametrize(
    ("way", "error"),
    [
        *((way, KeyboardInterrupt) for way in WAYS),
        *((way, ConnectionFailedError) for way in WAYS[2:]),
    ],
)
def test_blocking_client_is_stopped_while_it_opens(
    mosquitto: RunningBroker, way: str, error: type[BaseException]
) -> None:
    """By Ctrl-C, or because it takes too long."""
    with way_in_a_thread(mosquitto, way) as (gate, url, options, call):
        gate.limit = 2
        timeout = 30 if error is KeyboardInterrupt else 2
        main = threading.main_thread().ident
        assert main is not None

        def interrupt() -> None:
            call(asyncio.wait_for(gate.held.wait(), 60))
            if error is KeyboardInterrupt:
                signal.pthread_kill(main, signal.SIGINT)

        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        client = noctule.sync.connect(url, connect_timeout=timeout, **options)
        with pytest.raises(error):
            client.open()
        interrupting.join()
        call(asyncio.wait_for(gate.left.wait(), 30))
        client.close()
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("noctule client") == 1  # That is the other portal's.
        gate.limit = None
        with noctule.sync.connect(url, **options) as another:
            another.publish("a", qos=1)
