"""Ways to a server: TCP, TLS, WebSocket, Unix sockets; through SOCKS5 and HTTP proxies."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from noctule.client.errors import ConnectionFailedError
from noctule.client.options import Tls
from noctule.client.url import Address
from noctule.protocol.errors import InvalidArgumentError

if TYPE_CHECKING:
    from noctule.client._connection import Connection

__all__ = ["open_transport", "tls_context"]


def tls_context(tls: ssl.SSLContext | Tls | None, is_secure: bool) -> ssl.SSLContext | None:
    """The context that a connection uses; None for none."""
    if not is_secure:
        if tls is not None:
            raise InvalidArgumentError("tls is for the schemes mqtts and wss")
        return None
    if isinstance(tls, ssl.SSLContext):
        return tls
    return (tls or Tls()).context()


async def open_transport(
    address: Address,
    connection: Connection,
    *,
    tls: ssl.SSLContext | None,
    proxy: str | None,
    websocket_headers: Mapping[str, str] | None,
    timeout: float,
) -> None:
    """Connects `connection` to the server; ConnectionFailedError says why that failed."""
    try:
        async with asyncio.timeout(timeout):
            await _open(address, connection, tls, proxy, websocket_headers)
    except TimeoutError as error:
        raise ConnectionFailedError(f"{address}: no answer within {timeout} s") from error
    except (OSError, ssl.CertificateError) as error:
        raise ConnectionFailedError(f"{address}: {error}") from error


async def _open(
    address: Address,
    connection: Connection,
    tls: ssl.SSLContext | None,
    proxy: str | None,
    websocket_headers: Mapping[str, str] | None,
) -> None:
    loop = asyncio.get_running_loop()
    factory: Callable[[], asyncio.Protocol] = lambda: connection  # noqa: E731
    opening: asyncio.Future[None] | None = None
    if address.is_websocket:
        from noctule.client._websocket import WebSocketProtocol

        opening = loop.create_future()
        websocket = WebSocketProtocol(address, connection, websocket_headers or {}, opening)
        factory = lambda: websocket  # noqa: E731
    if address.scheme == "unix":
        try:
            await loop.create_unix_connection(factory, address.path)
        except NotImplementedError as error:
            raise ConnectionFailedError("this platform's event loop has no Unix sockets") from error
        return
    hostname = address.host if tls is not None else None
    if proxy is None:
        transport, _ = await loop.create_connection(
            factory, address.host, address.port, ssl=tls, server_hostname=hostname
        )
    else:
        tunnel = await _tunnel(proxy, address)
        transport, _ = await loop.create_connection(
            factory, sock=tunnel, ssl=tls, server_hostname=hostname
        )
    try:
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if opening is not None:
            await opening
    except BaseException:
        transport.abort()
        raise


async def _tunnel(proxy: str, address: Address) -> socket.socket:
    """A socket to the server through ``socks5://…`` or ``http://…``, names resolved there."""
    try:
        from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
        from python_socks.async_.asyncio import Proxy
    except ImportError as error:
        raise ConnectionFailedError("proxies need: pip install noctule[proxy]") from error
    try:
        made = Proxy.from_url(proxy, rdns=True)
        tunnel: socket.socket = await made.connect(address.host, address.port)
    except (ProxyError, ProxyConnectionError, ProxyTimeoutError, ValueError) as error:
        raise ConnectionFailedError(f"{address} through a proxy: {error}") from error
    return tunnel
