"""``mqtts://user:password@host:8883/topic``: where to connect, and what for."""

from __future__ import annotations

from typing import NamedTuple

from noctule.cli.flags.settings import UsageError

__all__ = ["Url", "is_url", "read_url"]

SCHEMES = ("mqtt", "mqtts", "ws", "wss", "unix")


class Url(NamedTuple):
    """The parts of a URL; empty or None where it does not have them."""

    scheme: str
    host: str = ""
    port: int | None = None
    user_name: str | None = None
    password: str | None = None
    topic: str = ""
    path: str = ""


def is_url(text: str) -> bool:
    """Whether this can be meant as a URL."""
    return "://" in text


def read_url(text: str) -> Url:
    """Reads ``scheme://[user[:password]@]host[:port][/topic]``; UsageError for anything else.

    For ws and wss what follows the host is the path of the WebSocket, and for unix the file.
    A topic is taken as it is, so that `#` and `+` need no quoting; only in user name and
    password `%40` stands for `@`, and so on. The last `@` before the path ends them.
    """
    scheme, _, rest = text.partition("://")
    if scheme not in SCHEMES:
        raise UsageError(f"{text}: a URL begins with {', '.join(f'{s}://' for s in SCHEMES)}")
    if scheme == "unix":
        if not rest.startswith("/"):
            raise UsageError(f"{text}: a Unix socket is unix:///PATH")
        return Url(scheme, path=rest)
    authority, slash, path = rest.partition("/")
    credentials, at, place = authority.rpartition("@")
    host, port = _host_and_port(text, place)
    user_name = password = None
    if at:
        name, colon, secret = credentials.partition(":")
        user_name, password = _unquoted(name), _unquoted(secret) if colon else None
    if scheme in ("ws", "wss"):
        return Url(scheme, host, port, user_name, password, path=slash + path)
    return Url(scheme, host, port, user_name, password, topic=path)


def _host_and_port(text: str, place: str) -> tuple[str, int | None]:
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise UsageError(f"{text}: an IPv6 address is [ADDRESS] or [ADDRESS]:PORT")
        port = rest[1:]
    else:
        host, _, port = place.partition(":")
    if not host:
        raise UsageError(f"{text}: there is no host in it")
    if not port:
        return host, None
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65_535:
        raise UsageError(f"{text}: a port is 1 to 65535, not {port}")
    return host, int(port)


def _unquoted(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text)
