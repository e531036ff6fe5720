"""Sockets that do not block: TCP, TLS and Unix, through a proxy or not."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Protocol

from noctule.cli.connection.errors import ConnectError, connect_error
from noctule.cli.flags.settings import Settings, UsageError

if TYPE_CHECKING:
    import ssl

__all__ = ["SocketStream", "Stream", "open_stream", "place"]

READ_BYTES = 262_144


class Stream(Protocol):
    """Bytes in both directions; nothing here waits."""

    def fileno(self) -> int:
        """The descriptor to wait for."""

    def send(self, data: bytes | bytearray) -> int:
        """How many bytes were taken; OSError when the connection is broken."""

    def receive(self) -> bytes | None:
        """Bytes, b"" at the end, or None when there are none now."""

    def close(self) -> None:
        """Say that nothing more comes, wait a moment for the other side's end, and close."""


class SocketStream:
    """A TCP or Unix socket, or TLS over it."""

    def __init__(self, raw: socket.socket) -> None:
        raw.setblocking(False)
        self._socket = raw
        # What a socket under TLS says instead of BlockingIOError.
        self._would_block: tuple[type[OSError], ...] = (BlockingIOError,)
        if type(raw) is not socket.socket:
            import ssl

            self._would_block = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

    @property
    def socket(self) -> socket.socket:
        """The socket itself."""
        return self._socket

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._socket.fileno()

    def send(self, data: bytes | bytearray) -> int:
        """How many bytes the system has taken."""
        try:
            return self._socket.send(data)
        except self._would_block:
            return 0

    def receive(self) -> bytes | None:
        """Bytes, b"" at the end, or None when there are none now."""
        # Until there is nothing more, because TLS may hold bytes that select does not see.
        pieces: list[bytes] = []
        while True:
            try:
                piece = self._socket.recv(READ_BYTES)
            except self._would_block:
                break
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            if len(self._would_block) == 1:
                break
        return b"".join(pieces) or None

    def close(self) -> None:
        """Says that nothing more comes, and closes when the other side has, too."""
        # To close with unread bytes would be a reset, which can overtake what we have sent.
        try:
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.settimeout(1.0)
            while self._socket.recv(READ_BYTES):
                pass
        except OSError:
            pass  # It is over all the same.
        self._socket.close()


def place(settings: Settings) -> str:
    """Host and port, or the file of a Unix socket, as people write them."""
    if settings.unix is not None:
        return settings.unix
    host = settings.host or ""
    return f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"


def open_stream(settings: Settings) -> Stream:
    """Connects; ConnectError says what failed and what to do."""
    context: ssl.SSLContext | None = None
    if settings.tls:
        from noctule.cli.connection.tls import tls_context

        context = tls_context(settings)
    where = place(settings)
    try:
        raw = _by_srv(settings) if settings.srv else _connected(settings)
        where = place(settings)
        stream = SocketStream(_secured(settings, raw, context))
        if not settings.websocket:
            return stream
        from noctule.cli.connection.websocket import WebSocketStream

        return WebSocketStream(stream, settings)
    except OSError as error:
        raise connect_error(
            where, error, is_secure=settings.tls, timeout=settings.connect_timeout
        ) from error


def _by_srv(settings: Settings) -> socket.socket:
    """Tries the servers that the DNS names, in their order, and puts down which it was."""
    from noctule.cli.connection.srv import servers

    failure: OSError | None = None
    name = settings.host or ""
    for host, port in servers(name, settings.tls, settings.connect_timeout):
        settings.host, settings.port = host, port
        try:
            return _connected(settings)
        except OSError as error:
            failure = error
    if failure is None:
        raise ConnectError(f"the DNS names no MQTT server for {name}", "give host and port")
    raise failure


def _connected(settings: Settings) -> socket.socket:
    if settings.unix is not None:
        raw = socket.socket(socket.AF_UNIX)
        raw.settimeout(settings.connect_timeout)
        raw.connect(settings.unix)
        return raw
    assert settings.host is not None
    assert settings.port is not None
    if settings.proxy is not None:
        raw = _through_proxy(settings.proxy, settings.host, settings.port, settings.connect_timeout)
    else:
        source = (settings.bind_address, 0) if settings.bind_address else None
        raw = socket.create_connection(
            (settings.host, settings.port), settings.connect_timeout, source
        )
    if settings.no_delay:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw


def _through_proxy(proxy: str, host: str, port: int, timeout: float) -> socket.socket:
    """A socket to the server, its name resolved by the proxy."""
    try:
        from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
        from python_socks.sync import Proxy
    except ImportError as error:
        raise UsageError("--proxy needs: pip install noctule[proxy]") from error
    if "://" not in proxy:
        raise UsageError(f"--proxy {proxy}: write socks5h://HOST:PORT or http://HOST:PORT")
    scheme, _, rest = proxy.partition("://")
    if scheme not in ("socks5h", "socks5", "socks4", "socks4a", "http"):
        raise UsageError(f"--proxy {proxy}: it can be socks5h:// or http://")
    plain = {"socks5h": "socks5", "socks4a": "socks4"}.get(scheme, scheme)
    if ":" not in rest.rpartition("@")[2]:
        rest += ":8080" if scheme == "http" else ":1080"
    try:
        made: socket.socket = Proxy.from_url(f"{plain}://{rest}", rdns=True).connect(
            host, port, timeout=timeout
        )
    except (ProxyError, ProxyConnectionError, ProxyTimeoutError, ValueError) as error:
        raise ConnectError(
            f"{host}:{port} through the proxy {rest.rpartition('@')[2]}: {error}"
        ) from error
    return made


def _secured(
    settings: Settings, raw: socket.socket, context: ssl.SSLContext | None
) -> socket.socket:
    if context is None:
        return raw
    raw.settimeout(settings.connect_timeout)
    name = settings.host if settings.unix is None else os.path.basename(settings.unix)
    try:
        return context.wrap_socket(raw, server_hostname=name)
    except ConnectionResetError as error:
        raw.close()
        raise ConnectError(
            f"{place(settings)} ended the TLS handshake",
            "it may not speak TLS there: leave TLS out, or give the port for it",
        ) from error
    except BaseException:
        raw.close()
        raise
