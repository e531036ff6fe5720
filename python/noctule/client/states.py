"""What a client tells of its connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeAlias

from noctule.protocol.options import Granted

__all__ = ["Closed", "Connected", "Connecting", "Reconnecting", "State"]

MAX_UNREAD = 100


@dataclass(frozen=True, slots=True)
class Connecting:
    """The first attempt is under way."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The server has accepted, with this."""

    granted: Granted
    address: str


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection is gone, or could not be made, because of `error`.

    The next attempt, number `attempt` in a row, begins in `delay` seconds.
    """

    error: Exception
    attempt: int
    delay: float


@dataclass(frozen=True, slots=True)
class Closed:
    """The end: by the program (`error` is None), or because going on makes no sense."""

    error: Exception | None = None


State: TypeAlias = Connecting | Connected | Reconnecting | Closed


class StateStreams:
    """The current state, and everybody who watches it."""

    def __init__(self) -> None:
        self.current: State = Connecting()
        self._watchers: set[_Watcher] = set()

    def set(self, state: State) -> None:
        """Tells everybody; nothing comes behind the end."""
        if isinstance(self.current, Closed):
            return
        self.current = state
        for watcher in self._watchers:
            watcher.put(state)

    async def watch(self) -> AsyncIterator[State]:
        """The current state, then every change, until the client is closed.

        Who does not read for long misses the oldest of more than 100 changes.
        """
        watcher = _Watcher(self.current)
        self._watchers.add(watcher)
        try:
            while True:
                state = await watcher.next()
                yield state
                if isinstance(state, Closed):
                    return
        finally:
            self._watchers.discard(watcher)


class _Watcher:
    def __init__(self, state: State) -> None:
        self._states = deque([state], maxlen=MAX_UNREAD)
        self._changed = asyncio.Event()
        self._changed.set()

    def put(self, state: State) -> None:
        self._states.append(state)
        self._changed.set()

    async def next(self) -> State:
        while not self._states:
            self._changed.clear()
            await self._changed.wait()
        return self._states.popleft()
