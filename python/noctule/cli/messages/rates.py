"""Messages and bytes by topic, and how many of late."""

from __future__ import annotations

import time
from math import exp, log

__all__ = ["Rate", "TopicRates"]

HALF_LIFE_SECONDS = 5.0


class Rate:
    """Events a second, where what happened long ago counts less: half after five seconds."""

    __slots__ = ("_at", "_weight")

    DECAY = log(2) / HALF_LIFE_SECONDS

    def __init__(self, now: float) -> None:
        self._at = now
        self._weight = 0.0

    def add(self, now: float, amount: float = 1.0) -> None:
        """Something has happened."""
        self._weight = self._decayed(now) + amount
        self._at = now

    def per_second(self, now: float, since: float) -> float:
        """The rate at `now`, of something that has been watched from `since`."""
        watched = max(now - since, 0.001)
        # Early on, what could have been seen is less than a full average would need.
        full = (1 - exp(-watched * self.DECAY)) / self.DECAY
        return self._decayed(now) / full

    def _decayed(self, now: float) -> float:
        return self._weight * exp(-(now - self._at) * self.DECAY)


class TopicRates:
    """What one topic, or all of them, have had."""

    __slots__ = ("bytes", "messages", "rate")

    def __init__(self, now: float | None = None) -> None:
        self.messages = 0
        self.bytes = 0
        self.rate = Rate(time.monotonic() if now is None else now)

    def add(self, size: int, now: float) -> None:
        """A message of `size` bytes."""
        self.messages += 1
        self.bytes += size
        self.rate.add(now)
