"""Who is kept out, and until when."""

import time
from dataclasses import dataclass

__all__ = ["Ban", "ban_from", "how_long", "whom"]


@dataclass(frozen=True, slots=True)
class Ban:
    """One ban: of one of the first three."""

    client: str | None
    user: str | None
    address: str | None
    """An address, or a network such as `10.0.0.0/8`."""
    until: float | None
    """Seconds since 1970, to the second; None: for ever."""
    reason: str


def ban_from(kind: str, value: str, seconds_left: int | None, reason: str) -> Ban:
    """The engine's words as a ban."""
    names = {name: value if name == kind else None for name in ("client", "user", "address")}
    until = None if seconds_left is None else time.time() + seconds_left
    return Ban(**names, until=until, reason=reason)


def whom(client: str | None, user: str | None, address: str | None) -> tuple[str, str]:
    """The one who is named; ValueError where that is nobody, or several."""
    given = {"client": client, "user": user, "address": address}
    named = [(kind, value) for kind, value in given.items() if value is not None]
    if len(named) != 1:
        raise ValueError("say one of client, user and address")
    return named[0]


def how_long(seconds: float | None) -> str:
    """A duration for a log line."""
    return "ever" if seconds is None else f"{seconds:g} s"
