"""Whether clients that are there would still be let in.

Where somebody is taken out of a password file, a database or a directory server, or given
another password, their connections end: at once where a file is watched, else when access control
is reloaded or refreshed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, runtime_checkable

from noctule.access.chain import Identity
from noctule.access.errors import AccessError

__all__ = ["Keeper", "KeptFiles", "WatchedKeeper", "still_stands"]

LOOK_SECONDS = 1.0

logger = logging.getLogger("noctule.access")


@runtime_checkable
class Keeper(Protocol):
    """A link or mechanism that holds something of its users, and can say later what it holds.

    Its identities carry that as `proof`.
    """

    async def holds(self, user: str) -> object:
        """What it holds of the user now; None: nothing. Raising says nothing of anybody."""


@runtime_checkable
class WatchedKeeper(Keeper, Protocol):
    """A keeper whose changes can be seen without asking about everybody."""

    def stamp(self) -> object:
        """Look; another value than before where something has changed."""


async def still_stands(identity: Identity, voucher: object) -> bool:
    """Whether the part that has let a client in would do so again, as far as it can tell."""
    if not isinstance(voucher, Keeper) or identity.user is None:
        return True
    held = await voucher.holds(identity.user)
    return held is not None and held == identity.proof


class KeptFiles:
    """Looks at watched keepers once a second, and says which have changed."""

    def __init__(
        self,
        parts: Callable[[], Iterable[tuple[str, object]]],
        changed: Callable[[frozenset[str]], Awaitable[None]],
    ) -> None:
        self._parts = parts
        self._changed = changed
        self._stamps: dict[int, object] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, where there is anything to be looked at."""
        self._look()
        if self._stamps and self._task is None:
            self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Look no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            names = self._look()
            if not names:
                continue
            try:
                await self._changed(names)
            except Exception as error:
                said = error if isinstance(error, AccessError) else type(error).__name__
                logger.error("clients cannot be looked at again: %s", said)

    def _look(self) -> frozenset[str]:
        """The names of those that have changed since the last time."""
        before = self._stamps
        named = [(name, each) for name, each in self._parts() if isinstance(each, WatchedKeeper)]
        self._stamps = {id(each): each.stamp() for _, each in named}
        return frozenset(
            name
            for name, each in named
            if id(each) in before and before[id(each)] != self._stamps[id(each)]
        )
