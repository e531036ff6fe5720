"""The PROXY protocol, versions 1 and 2: from whom it is believed, and what follows from it."""

import socket
import struct
from asyncio import to_thread
from contextlib import ExitStack
from ipaddress import IPv6Address

import pytest

from noctule.broker import Broker
from tests.conformance.websocket import WebSocket
from tests.integration.broker.wire import Connection, connect
from tests.integration.listeners.secure import SERVER, SecureConnection, outcome, trusting

PROXY, STRANGER = "127.0.0.1", "127.0.0.2"
LISTENER = {"port": 0, "proxy_protocol_from": [f"{PROXY}/32", "192.0.2.0/24"]}
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 5, 1883)
V6 = IPv6Address("2001:db8::7").packed + IPv6Address("::1").packed + struct.pack("!HH", 6, 1883)
# What proxies add: the name that a client asked for, and padding.
EXTENSIONS = b"\x02\x00\x04name" + b"\x04\x00\x02\x00\x00"


def version_2(command: int, family: int, body: bytes = b"") -> bytes:
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(body)) + body


HEADERS: list[tuple[bytes, str, int | None]] = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 5 1883\r\n", "192.0.2.7", 5),
    (b"PROXY TCP6 2001:db8::7 ::1 6 1883\r\n", "2001:db8::7", 6),
    (version_2(1, 0x11, V4), "192.0.2.7", 5),
    (version_2(1, 0x11, V4 + EXTENSIONS), "192.0.2.7", 5),
    (version_2(1, 0x21, V6), "2001:db8::7", 6),
    # The proxy speaks for itself.
    (b"PROXY UNKNOWN\r\n", PROXY, None),
    (version_2(0, 0x00), PROXY, None),
]


@pytest.mark.parametrize(("header", "address", "port"), HEADERS)
async def test_client_is_where_the_proxy_says(
    header: bytes, address: str, port: int | None
) -> None:
    async with Broker(listeners=[LISTENER, {**SERVER, **LISTENER}]) as broker:
        plain, secure = broker.ports
        with Connection(plain, source=PROXY) as connection:
            # A byte at a time: nobody promises that it comes in one piece.
            for byte in header:
                connection.socket.sendall(bytes([byte]))
            await to_thread(connection.open, "client")
            (client,) = await broker.clients()
            own = connection.socket.getsockname()[1]
            assert (client.address, client.port) == (address, own if port is None else port)
        with SecureConnection(secure, trusting(), ahead=header) as connection:
            await to_thread(connection.open, "client")
            (client,) = await broker.clients()
            assert client.address == address


async def test_header_is_asked_of_proxies_and_refused_from_others() -> None:
    header = HEADERS[0][0]
    async with Broker(listeners=[LISTENER, {**SERVER, **LISTENER}]) as broker:
        plain, secure = broker.ports

        def is_let_in(source: str, ahead: bytes) -> bool:
            with Connection(plain, source=source) as connection:
                connection.socket.sendall(ahead)
                try:
                    connection.open("client")
                except (ConnectionError, AssertionError):
                    return False
                return True

        for source, ahead, expected in [
            (PROXY, header, True),
            (PROXY, b"", False),
            (STRANGER, b"", True),
            (STRANGER, header, False),
            (STRANGER, version_2(1, 0x11, V4), False),
        ]:
            assert await to_thread(is_let_in, source, ahead) is expected, (source, ahead)
        # Nor is it looked for inside of what it has to be in front of.
        assert await to_thread(outcome, secure, trusting()) != "welcome"
        with SecureConnection(secure, trusting(), ahead=header) as connection:
            connection.socket.sendall(header)
            with pytest.raises((ConnectionError, AssertionError)):
                await to_thread(connection.open, "client")


async def test_bans_and_limits_are_about_the_client_and_not_its_proxy() -> None:
    limits = {"max_connections_per_address": 2}
    async with Broker(listeners=[LISTENER], limits=limits) as broker:
        broker.ban(address="192.0.2.66")

        with ExitStack() as stack:

            def is_let_in(place: int, number: int) -> bool:
                connection = stack.enter_context(Connection(broker.port, source=PROXY))
                line = f"PROXY TCP4 192.0.2.{number} 198.51.100.1 5 1883\r\n"
                connection.socket.sendall(line.encode())
                try:
                    connection.open(f"client-{place}")
                except ConnectionError:
                    return False
                return True

            numbers = (1, 1, 1, 2, 3, 4, 66)
            found = [await to_thread(is_let_in, *each) for each in enumerate(numbers)]
            assert found == [True, True, False, True, True, True, False]


async def test_websocket_behind_a_proxy() -> None:
    async with Broker(listeners=[{**LISTENER, "scheme": "ws"}]) as broker:
        header = HEADERS[2][0]

        def open_websocket() -> WebSocket:
            return WebSocket((PROXY, broker.port), ahead=header)

        websocket = await to_thread(open_websocket)
        websocket.send(connect("client"))
        frame = await to_thread(websocket.frame)
        assert frame == (2, b"\x20\x02\x00\x00")
        (client,) = await broker.clients()
        assert client.address == "192.0.2.7"
        websocket.socket.close()
