"""The ports of the chain: who asks a client for a name and a password, or a mechanism."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from noctule.access.names import name_of
from noctule.access.rules import Rule
from noctule.broker import Answer, AuthenticationRequest

__all__ = [
    "DENIED",
    "Denied",
    "HashingLink",
    "Identity",
    "Link",
    "Mechanism",
    "Verdict",
    "ask",
]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client has proved to be."""

    user: str | None
    groups: frozenset[str] = frozenset()
    rules: tuple[Rule, ...] = ()
    """Looked at before the configured ones."""
    claims: Mapping[str, str] = field(default_factory=dict)
    expires_at: float | None = None
    """Seconds since 1970."""
    restricted: bool = False
    """Whether it is denied what no rule allows even where there is no rule at all."""
    proof: object = field(default=None, repr=False, compare=False)
    """What a `Keeper` holds of the user, to be compared with what it holds later."""
    voucher: str | None = field(default=None, compare=False)
    """The link that has said so, by its name; `ask` puts it in."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The client is known, or ought to be, and has not proved it."""

    reason_code: int = 0x87
    """Not authorized (5 before 5.0) says the same to who has no name, a wrong one or a wrong
    password. Before 5.0 the code 4 is for names and passwords that are malformed."""


DENIED = Denied()

Verdict = Identity | Denied | None
"""None: nothing is known of this client, the next may be asked."""


class Link(Protocol):
    """Knows some of the clients that come with a user name and a password, or with nothing."""

    async def identify(self, request: AuthenticationRequest) -> Verdict:
        """Say who it is. Raising denies."""

    async def close(self) -> None:
        """Give back what is held."""


@runtime_checkable
class HashingLink(Protocol):
    """A link that takes its time to check the password of a user it knows."""

    async def imitate(self, password: bytes) -> None:
        """Take as long as for a user who is known, and has another password."""


async def ask(links: Sequence[Link], request: AuthenticationRequest) -> Verdict:
    """What the first link says that knows the client; None where none does.

    A name that nobody knows costs a password check, as one does that somebody knows: one, however
    many links there are, or the time would tell which of them knows it.
    """
    for link in links:
        verdict = await link.identify(request)
        if isinstance(verdict, Identity):
            return replace(verdict, voucher=name_of(link))
        if verdict is not None:
            return verdict
    if request.user is not None:
        for link in links:
            if isinstance(link, HashingLink):
                await link.imitate(request.password or b"")
                break
    return None


class Mechanism(Protocol):
    """Enhanced authentication by one method (MQTT 5.0 §4.12).

    Its Accept carries `data`; who it is, and what goes with it, is in the Identity.
    """

    method: str

    async def step(
        self, request: AuthenticationRequest, *, first: bool
    ) -> tuple[Identity, bytes | None] | Answer:
        """Who the client is and the last data for it, or a Challenge, or a Refuse."""
