"""Where a broker listens: an address, what is spoken there, and who may come in through it."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = ["DEFAULT_PORTS", "Durability", "Listener", "Scheme"]

Durability = Literal["memory", "interval", "disk"]

Scheme = Literal["mqtt", "mqtts", "ws", "wss", "unix"]

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 8083, "wss": 8084}
DEFAULT_WEBSOCKET_PATH = "/mqtt"
WEBSOCKET_SCHEMES = ("ws", "wss")
# Options that are numbers in a URL, too.
NUMBERS = (
    "max_connections",
    "max_handshakes",
    "max_packet_bytes",
    "max_keep_alive_seconds",
    "max_messages_per_second_in",
    "max_bytes_per_second_in",
    "max_messages_per_second_out",
    "max_bytes_per_second_out",
    "maximum_qos",
)


def listed(value: Any) -> Any:
    """One value where several may stand."""
    return (value,) if isinstance(value, str | Path) else value


File = Annotated[Path, Field(strict=False)]
Files = Annotated[tuple[File, ...], Field(strict=False), BeforeValidator(listed)]
Texts = Annotated[tuple[str, ...], Field(strict=False), BeforeValidator(listed)]
Prefix = Annotated[str, Field(pattern="^([^$+#\\x00][^+#\\x00]*/)?$", max_length=1024)]
Count = Annotated[int, Field(ge=0, le=0xFFFF_FFFF)]


class Listener(BaseModel):
    """One address to listen on, written as a table or as a URL such as `mqtt://127.0.0.1:1883`.

    In a URL the other options follow a question mark: `mqtts://[::1]?tls_certificate=…&tls_key=…`,
    those that hold several values once for each.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )

    scheme: Scheme = "mqtt"
    """What is spoken: `mqtt` is MQTT over TCP, `mqtts` with TLS below it; `ws` is MQTT over
    WebSocket, `wss` with TLS below it; `unix` is MQTT over a Unix socket."""

    host: str = "127.0.0.1"
    """Address to bind, a name or a number; `0.0.0.0` is every IPv4 address of the machine and
    `::` every IPv6 address."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 1883
    """TCP port; 0 lets the system choose a free one. Not set: 1883 for `mqtt`, 8883 for `mqtts`,
    8083 for `ws`, 8084 for `wss`."""

    path: Annotated[File | None, Field(examples=["/run/noctule/mqtt.sock"])] = None
    """Absolute path of the socket of a `unix` listener, which has neither host nor port."""

    unix_mode: Annotated[str, Field(pattern="^0?[0-7]{3}$")] = "660"
    """Permissions of that socket, in octal: who may connect."""

    allow_anonymous: bool = False
    """Whether clients from other machines may come in without saying who they are.

    Loopback addresses and Unix sockets are open as long as no authentication is configured.
    """

    durability: Annotated[Durability | None, Field(examples=["memory"])] = None
    """What is promised of sessions that begin on this listener, their subscriptions and what
    waits for them; not set: what the broker's durability promises.

    With `memory` they end when the broker does. A session stays what it was when it began,
    whichever listener its client comes back on.
    """

    max_connections: Count = 0
    """Connections at once on this listener; 0: no limit but that of all listeners."""

    max_handshakes: Count = 16_384
    """Connections at once on this listener that have not sent their CONNECT; 0: no limit."""

    max_packet_bytes: Annotated[int, Field(ge=0, le=268_435_460)] = 0
    """Bytes of the largest packet taken on this listener, 20 or more; 0: no limit but that of all
    listeners."""

    max_keep_alive_seconds: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Longest keep alive of this listener's clients, in seconds; 0: no limit but that of all
    listeners."""

    max_messages_per_second_in: Count = 0
    """PUBLISH packets taken from one client of this listener in a second; 0: no limit but that of
    all listeners."""

    max_bytes_per_second_in: Annotated[int, Field(ge=0, le=0x7FFF_FFFF_FFFF_FFFF)] = 0
    """Bytes of PUBLISH packets taken from one client of this listener in a second; 0: no limit but
    that of all listeners."""

    max_messages_per_second_out: Count = 0
    """PUBLISH packets sent to one client of this listener in a second; 0: no limit but that of all
    listeners."""

    max_bytes_per_second_out: Annotated[int, Field(ge=0, le=0x7FFF_FFFF_FFFF_FFFF)] = 0
    """Bytes of PUBLISH packets sent to one client of this listener in a second; 0: no limit but
    that of all listeners."""

    maximum_qos: Annotated[int, Field(ge=0, le=2)] = 2
    """Highest quality of service of this listener's clients, publishing and subscribing."""

    topic_prefix: Prefix = ""
    """Mount point, such as `tenants/a/`: put in front of every topic name and filter of this
    listener's clients, and taken off what they get. Wills, shared subscriptions, retained
    messages and response topics included; they neither see nor reach anything else, but `$SYS`
    where a rule allows it. Rules and hooks speak of whole names. It ends with a slash."""

    authenticators: Annotated[Texts | None, Field(examples=[["peer_names"]])] = None
    """Which of the configured authenticators are asked about this listener's clients, by their
    names in `[access]`, `password_file` or `jwt`; not set: all."""

    proxy_protocol_from: Texts = ()
    """Addresses and networks, such as `10.0.0.0/8`, of proxies: a connection from there must
    begin with a PROXY header, version 1 or 2, which names the client's address."""

    tls_certificate: Files = ()
    """PEM files, each a certificate with its chain. A client is shown the one for the name it
    asks for (SNI), and the first where there is none."""

    tls_key: Files = ()
    """PEM files with the private key of each certificate, in the same order."""

    tls_chain: Annotated[File | None, Field(examples=["/etc/noctule/chain.pem"])] = None
    """PEM file with authorities: those between a certificate of tls_certificate and its root
    that stand neither there nor in client_ca are taken from here."""

    tls_minimum_version: Literal["1.2", "1.3"] = "1.2"
    """Oldest version of TLS spoken."""

    client_certificates: Literal["none", "optional", "required"] = "none"
    """Whether clients show a certificate: `optional` refuses only bad ones."""

    client_ca: Annotated[File | None, Field(examples=["/etc/noctule/clients.pem"])] = None
    """PEM file with the authorities that client certificates lead to."""

    crl: Files = ()
    """PEM files with those authorities' revocation lists. Where any is set, certificates of an
    authority without one, or whose list was to be renewed by now, are refused."""

    alpn: Annotated[Texts | None, Field(examples=[["mqtt"]])] = None
    """Application protocols that TLS agrees to; not set: `mqtt`, and `http/1.1` for `wss`."""

    websocket_path: Annotated[str, Field(pattern="^/")] = DEFAULT_WEBSOCKET_PATH
    """Path that a WebSocket is opened on."""

    origins: Texts = ()
    """Origins, such as `https://app.example`, of web pages that may connect besides pages of
    the broker's own host; `*`: all pages."""

    websocket_compression: bool = False
    """Whether messages are compressed (permessage-deflate) for WebSocket clients that offer it.
    It takes far more processor time than moving them does, and the length of what is sent
    tells of its content, TLS or not."""

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, value: Any) -> Any:
        fields = fields_of_url(value) if isinstance(value, str) else value
        if isinstance(fields, dict) and "port" not in fields:
            port = DEFAULT_PORTS.get(fields.get("scheme", "mqtt"))
            return fields if port is None else {**fields, "port": port}
        return fields

    @property
    def url(self) -> str:
        """The address as a URL, `mqtt://127.0.0.1:1883`; no options but a WebSocket's path."""
        if self.scheme == "unix":
            return f"unix://{quote(str(self.path or self.host))}"
        path = quote(self.websocket_path) if self.scheme in WEBSOCKET_SCHEMES else ""
        return f"{self.scheme}://{bracketed(self.host)}:{self.port}{path}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the address; False for names other than localhost."""
        if self.scheme == "unix" or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def engine_fields(self) -> dict[str, Any]:
        """The listener as the engine takes it: what is not as it is by default."""
        fields = self.model_dump(mode="json", exclude_defaults=True, exclude={"authenticators"})
        if self.scheme == "unix":
            return fields
        return {**fields, "scheme": self.scheme, "host": self.host, "port": self.port}


def fields_of_url(url: str) -> dict[str, Any]:
    """Take `scheme://host:port?option=value` apart; ValueError where it is not of that form."""
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS and parts.scheme != "unix":
        known = ", ".join(f"{scheme}://" for scheme in [*DEFAULT_PORTS, "unix"])
        raise ValueError(f"the scheme of {url!r} is not one of {known}")
    fields: dict[str, Any] = {"scheme": parts.scheme}
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.startswith("/"):
            raise ValueError(f"{url!r} has no absolute path; write for example unix:///run/mqtt")
        fields["path"] = unquote(parts.path)
    else:
        fields |= place_of_url(url)
    return fields | options_of_query(parts.query)


def place_of_url(url: str) -> dict[str, Any]:
    """Host, port and, for WebSocket, path."""
    parts = urlsplit(url)
    if parts.hostname is None:
        raise ValueError(f"{url!r} has no host; write for example mqtt://127.0.0.1:1883")
    is_websocket = parts.scheme in WEBSOCKET_SCHEMES
    has_path = parts.path not in ("", "/") and not is_websocket
    if has_path or parts.fragment or parts.username is not None:
        raise ValueError(f"{url!r} may hold a scheme, a host and a port, as in mqtt://[::1]:1883")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"the port of {url!r} is not a number from 0 to 65535") from None
    place: dict[str, Any] = {"host": parts.hostname}
    place["port"] = DEFAULT_PORTS[parts.scheme] if port is None else port
    if is_websocket and parts.path:
        place["websocket_path"] = unquote(parts.path)
    return place


def options_of_query(query: str) -> dict[str, Any]:
    """The options behind the question mark, in the types that the fields have."""
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name in NUMBERS and text.isdecimal():
            options[name] = int(text)
        elif name in options:
            options[name] = (*listed(options[name]), text)
        else:
            options[name] = {"true": True, "false": False}.get(text, text)
    return options


def bracketed(host: str) -> str:
    """The host as it stands in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
