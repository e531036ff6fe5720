"""Every way to a broker."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NoReturn

import pytest

import noctule.sync
from noctule.client import Client, ConnectionFailedError, InvalidArgumentError, Tls, connect
from tests.integration.client.conftest import RunningBroker

# Mosquitto takes 4 KiB from a WebSocket every 100 ms.
OVER_WEBSOCKET = (1, 20_000)


async def speaks(client: Client, topic: str, sizes: tuple[int, ...] = (1, 300_000)) -> None:
    async with client, client.subscribe(topic, qos=1) as messages:
        for size in sizes:
            await client.publish(topic, bytes(size), qos=2)
            assert len((await messages.next(30)).payload) == size


async def test_tls_with_short_hands(mosquitto: RunningBroker, topic: str) -> None:
    url = f"mqtts://localhost:{mosquitto.tls_port}"
    await speaks(connect(url, tls=Tls(ca=mosquitto.folder / "server.pem")), topic)


async def test_tls_with_a_context(mosquitto: RunningBroker, topic: str) -> None:
    context = ssl.create_default_context(cafile=mosquitto.folder / "server.pem")
    await speaks(connect(f"mqtts://127.0.0.1:{mosquitto.tls_port}", tls=context), topic)


async def test_certificate_that_nobody_knows_is_refused(mosquitto: RunningBroker) -> None:
    with pytest.raises(ConnectionFailedError, match="certificate"):
        await connect(f"mqtts://localhost:{mosquitto.tls_port}").open()


def test_tls_options_are_checked(mosquitto: RunningBroker) -> None:
    with pytest.raises(InvalidArgumentError):
        connect("mqtt://localhost", tls=Tls())
    with pytest.raises(InvalidArgumentError):
        connect("mqtts://localhost", tls=Tls(ca="/nowhere"))


async def test_websocket(mosquitto: RunningBroker, topic: str) -> None:
    url = f"ws://127.0.0.1:{mosquitto.websocket_port}/mqtt"
    await speaks(connect(url), topic, OVER_WEBSOCKET)


async def test_websocket_over_tls(mosquitto: RunningBroker, topic: str) -> None:
    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await join("127.0.0.1", mosquitto.websocket_port, reader, writer)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(mosquitto.folder / "server.pem", mosquitto.folder / "server.key")
    ca = Tls(ca=mosquitto.folder / "server.pem")
    async with listening(forward, context) as port:
        await speaks(connect(f"wss://localhost:{port}", tls=ca), topic, OVER_WEBSOCKET)
        with pytest.raises(ConnectionFailedError, match="certificate"):
            await connect(f"wss://localhost:{port}").open()


async def test_websocket_handshake_that_fails(mosquitto: RunningBroker) -> None:
    with pytest.raises(ConnectionFailedError):
        await connect(f"ws://127.0.0.1:{mosquitto.port}/mqtt", connect_timeout=2).open()


async def test_websocket_sends_its_headers_and_sub_protocol() -> None:
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ConnectionFailedError, match="403"):
        await connect(
            f"ws://127.0.0.1:{port}/path?token=1", websocket_headers={"X-Token": "secret"}
        ).open()
    server.close()
    assert seen[0].startswith(b"GET /path?token=1 ")
    assert b"x-token: secret" in seen[0].lower()
    assert b"sec-websocket-protocol: mqtt" in seen[0].lower()


async def test_unix_socket(mosquitto: RunningBroker, topic: str) -> None:
    await speaks(connect(f"unix://{mosquitto.folder}/mqtt.sock"), topic)


# --- Proxies --------------------------------------------------------------------------


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def join(
    host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    there, back = await asyncio.open_connection(host, port)
    try:
        await asyncio.gather(pipe(reader, back), pipe(there, writer), return_exceptions=True)
    finally:
        back.transport.abort()


async def socks5(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    _, methods = await reader.readexactly(2)
    await reader.readexactly(methods)
    writer.write(b"\x05\x02")
    _, length = await reader.readexactly(2)
    user = await reader.readexactly(length)
    password = await reader.readexactly((await reader.readexactly(1))[0])
    writer.write(b"\x01\x00" if (user, password) == (b"user", b"secret") else b"\x01\x01")
    _, _, _, kind = await reader.readexactly(4)
    if kind == 1:
        host = ".".join(str(byte) for byte in await reader.readexactly(4))
    else:
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
    port = int.from_bytes(await reader.readexactly(2), "big")
    writer.write(b"\x05\x00\x00\x01" + bytes(6))
    await join(host, port, reader, writer)


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    if base64.b64encode(b"user:secret").decode() not in head:
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        writer.close()
        return
    host, _, port = head.split()[1].rpartition(":")
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await join(host, int(port), reader, writer)


@asynccontextmanager
async def listening(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    tasks: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            await handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # Aborted transports close in the next turn of the loop.


@pytest.mark.parametrize(("scheme", "handler"), [("socks5", socks5), ("http", http)])
async def test_proxies(mosquitto: RunningBroker, topic: str, scheme: str, handler: Handler) -> None:
    async with listening(handler) as port:
        proxy = f"{scheme}://user:secret@127.0.0.1:{port}"
        await speaks(connect(mosquitto.url, proxy=proxy), topic)
        tls = Tls(ca=mosquitto.folder / "server.pem")
        await speaks(
            connect(f"mqtts://localhost:{mosquitto.tls_port}", proxy=proxy, tls=tls), topic
        )
        with pytest.raises(ConnectionFailedError, match="proxy"):
            wrong = f"{scheme}://user:wrong@127.0.0.1:{port}"
            await connect(mosquitto.url, proxy=wrong).open()


# --- Event loops ----------------------------------------------------------------------


class WithoutReaders(asyncio.SelectorEventLoop):
    """What Windows' Proactor loop does not have, this one has not either."""

    def _missing(self, *_: object, **__: object) -> NoReturn:
        raise NotImplementedError

    add_reader = remove_reader = add_writer = remove_writer = _missing
    add_signal_handler = remove_signal_handler = _missing
    create_unix_connection = _missing


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts", "ws", "unix", "socks5", "http"])
def test_loop_without_readers_and_signals(
    mosquitto: RunningBroker, topic: str, scheme: str
) -> None:
    async def run() -> None:
        if scheme in ("socks5", "http"):
            async with listening(socks5 if scheme == "socks5" else http) as at:
                proxy = f"{scheme}://user:secret@127.0.0.1:{at}"
                await speaks(connect(mosquitto.url, proxy=proxy), topic)
        elif scheme == "unix":
            with pytest.raises(ConnectionFailedError, match="Unix sockets"):
                await connect(f"unix://{mosquitto.folder}/mqtt.sock").open()
        elif scheme == "mqtts":
            ca = Tls(ca=mosquitto.folder / "server.pem")
            await speaks(connect(f"mqtts://localhost:{mosquitto.tls_port}", tls=ca), topic)
        elif scheme == "ws":
            url = f"ws://127.0.0.1:{mosquitto.websocket_port}"
            await speaks(connect(url), topic, OVER_WEBSOCKET)
        else:
            await speaks(connect(mosquitto.url), topic)

    with asyncio.Runner(loop_factory=WithoutReaders) as runner:
        runner.run(run())


def test_blocking_client_runs_on_such_a_loop(
    mosquitto: RunningBroker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio.DefaultEventLoopPolicy, "_loop_factory", WithoutReaders)
    with noctule.sync.connect(mosquitto.url) as client, client.subscribe(topic) as messages:
        client.publish(topic, "x", qos=2)
        assert messages.next(30).text == "x"
        loop = client._portal._loop
        assert isinstance(loop, WithoutReaders)
