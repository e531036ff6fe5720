"""Where a server is: ``mqtts://user:password@host:8883``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import unquote, urlsplit

from noctule.protocol.errors import InvalidArgumentError

__all__ = ["Address"]

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
SCHEMES = (*DEFAULT_PORTS, "unix")
DEFAULT_WEBSOCKET_PATH = "/mqtt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The parts of a server's URL.

    `path` is the WebSocket's path and query, or the Unix socket's file; `port` is 0 for the
    latter. User name and password stand apart, so that the text of an address shows neither.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    user_name: str | None = None
    password: str | None = None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Reads ``scheme://[user[:password]@]host[:port][/path]``; without scheme it is mqtt.

        Unix sockets are ``unix:///path/to/socket``. InvalidArgumentError says what is wrong.
        """
        parts = urlsplit(url if "://" in url else f"mqtt://{url}")
        if parts.scheme not in SCHEMES:
            raise InvalidArgumentError(f"{url!r}: {parts.scheme} is none of {', '.join(SCHEMES)}")
        if parts.scheme == "unix":
            if not parts.path:
                raise InvalidArgumentError(f"{url!r} names no file: write unix:///PATH")
            return cls(scheme="unix", path=unquote(parts.path))
        try:
            port = parts.port
        except ValueError as error:
            raise InvalidArgumentError(f"{url!r}: {error}") from error
        if not parts.hostname:
            raise InvalidArgumentError(f"{url!r} names no host")
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        if parts.scheme in ("ws", "wss"):
            path = path if path not in ("", "/") else DEFAULT_WEBSOCKET_PATH
        elif path not in ("", "/"):
            raise InvalidArgumentError(f"{url!r}: {parts.scheme} has no path")
        return cls(
            scheme=parts.scheme,
            host=parts.hostname,
            port=port or DEFAULT_PORTS[parts.scheme],
            path=path if parts.scheme in ("ws", "wss") else "",
            user_name=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )

    @property
    def is_secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.scheme in ("mqtts", "wss")

    @property
    def is_websocket(self) -> bool:
        """Whether packets travel in WebSocket frames."""
        return self.scheme in ("ws", "wss")

    def referred(self, server_reference: str) -> Self | None:
        """The first server of a Server Reference, MQTT 5.0 §4.11; None if it is unreadable.

        ``host`` or ``host:port``, separated by spaces; scheme, user and path stay.
        """
        if self.scheme == "unix" or not server_reference.split():
            return None
        try:
            parts = urlsplit(f"//{server_reference.split()[0]}")
            host, port = parts.hostname, parts.port
        except ValueError:
            return None
        if not host:
            return None
        return replace(self, host=host, port=port or DEFAULT_PORTS[self.scheme])

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"
