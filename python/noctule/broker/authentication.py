"""Who is let in: the engine asks, an authenticator answers.

An authenticator is any object with `start`, which is asked about each CONNECT and each
re-authentication, and `continue_`, which is asked about each AUTH that follows a Challenge:

    class Door:
        async def start(self, request: AuthenticationRequest) -> Answer:
            return Accept() if request.password == b"sesame" else Refuse(0x86)

        async def continue_(self, request: AuthenticationRequest) -> Answer:
            return Refuse(0x8C)

With an attribute `method` it is asked about clients that name this authentication method, and
all others are refused (MQTT 5.0 §4.12); without, it is asked about everybody. One that raises,
or is not done in time, has refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypedDict, runtime_checkable

__all__ = [
    "Accept",
    "AccessControl",
    "Answer",
    "AuthenticationRequest",
    "Authenticator",
    "Challenge",
    "Client",
    "EngineRule",
    "Refuse",
    "Sessions",
]


class EngineRule(TypedDict):
    """A rule as the engine takes it; the first that speaks of an action and topic decides."""

    allow: bool
    actions: list[str]
    """Of "publish", "subscribe", "receive"."""
    filter: str
    """In it `%c` is the client identifier and `%u` the user name, taken literally."""
    maximum_qos: int
    retain: bool


@dataclass(frozen=True, slots=True)
class Accept:
    """The client may come in."""

    data: bytes | None = None
    """Authentication data of the CONNACK, or of the AUTH that ends a re-authentication."""

    user: str | None = None
    """Who the client is from now on; None: whom it said it is."""

    rules: Sequence[EngineRule] | Callable[[], Sequence[EngineRule] | None] | None = None
    """What it may do; None: everything, but `$SYS` on this machine alone. A function is called as
    the client is let in."""

    expires_at: float | None = None
    """Seconds since 1970 at which the client is disconnected, unless it has come anew."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """The client is to go on, with an AUTH of its own (MQTT 5.0 §4.12)."""

    data: bytes | None = None
    """Authentication data of the AUTH sent to it."""

    state: object = field(default=None, repr=False)
    """Comes back as the next request's `state`."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The client is turned away."""

    reason_code: int = 0x87
    """0x80 or above: 0x86 bad user name or password, 0x87 not authorized, 0x8C bad method."""

    text: str | None = None
    """A reason string for the client; say nothing that helps to guess."""


Answer = Accept | Challenge | Refuse


@dataclass(frozen=True, slots=True)
class AuthenticationRequest:
    """Who wants in, and how they prove it. Secrets are not in its repr."""

    stage: Literal["connect", "continue", "reauthenticate"]
    client: str
    """Client identifier; empty where the broker is to make one up."""
    user: str | None
    """User name in CONNECT; None in later stages."""
    password: bytes | None = field(repr=False)
    method: str | None
    """Authentication method; None for clients with user name and password, or nothing."""
    data: bytes | None = field(repr=False)
    """Authentication data."""
    version: int
    """Protocol level: 3, 4 or 5."""
    address: str | None
    """Network address; None on a Unix socket."""
    port: int
    listener: int
    """Position of the listener in the options, from 0."""
    is_private: bool
    """Whether nobody on the way can read along: TLS, loopback, a Unix socket."""
    peer_name: str | None = None
    """Name that the transport vouches for: of a client certificate, of a Unix user."""
    certificate_subject: str | None = None
    """Subject of the client certificate, as RFC 4514 writes it."""
    unix_user: str | None = None
    """User at the other end of a Unix socket."""
    clean_start: bool = False
    keep_alive_seconds: int = 0
    session_expiry_seconds: int = 0
    will: tuple[str, int, bool] | None = None
    """Topic, QoS and retain flag of the will. This and what is above it: of a CONNECT alone."""
    state: object = field(default=None, repr=False)
    """What the Challenge before this step carried."""


class Authenticator(Protocol):
    """Decides who is let in."""

    async def start(self, request: AuthenticationRequest) -> Answer:
        """Answer a CONNECT, or the first AUTH of a re-authentication."""

    async def continue_(self, request: AuthenticationRequest) -> Answer:
        """Answer an AUTH that came after a Challenge."""


@dataclass(frozen=True, slots=True)
class Client:
    """A session at the moment somebody asked."""

    client: str
    user: str | None
    connected: bool
    version: int | None
    """Protocol level of the connection; None without one."""
    address: str | None
    port: int
    listener: int
    subscriptions: int
    queued_messages: int
    """Messages that wait for it, those in flight not counted."""


class Sessions(Protocol):
    """What access control is given of the broker, once it runs."""

    async def clients(self) -> list[Client]:
        """Every session, connected or not."""

    def set_permissions(self, client: str, rules: Sequence[EngineRule] | None) -> None:
        """Give a session other rules at once; None allows what None does in `Accept`."""

    async def disconnect(self, client: str, reason_code: int = 0x98) -> None:
        """End a client's connection, if it has one."""


@runtime_checkable
class AccessControl(Protocol):
    """An authenticator that also says what clients may do, and may change its mind."""

    async def attach(self, sessions: Sessions) -> None:
        """The broker has started."""

    async def detach(self) -> None:
        """The broker has stopped."""

    async def update(self, rules: Sequence[Mapping[str, object]]) -> None:
        """Put other rules in force, on the sessions there are too."""
