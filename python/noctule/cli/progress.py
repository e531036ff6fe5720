"""A bar for work that takes a while; nothing where nobody is looking."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Self

from noctule.cli.terminal import Palette

__all__ = ["Progress"]

INTERVAL_SECONDS = 0.1
TEXT_COLUMNS = 48


class Progress:
    """Shows how many of how many are done, on standard error if that is a terminal."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._began = time.monotonic()
        self._drawn = 0.0
        self._is_shown = sys.stderr.isatty() and total > 0
        self._paint = Palette(sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def update_of(self, done: int, total: int) -> None:
        """So many are done, of so many: where the total is known only now."""
        self._total = max(1, total)
        self.update(done)

    def update(self, done: int) -> None:
        """So many are done; drawn ten times a second at most."""
        now = time.monotonic()
        if not self._is_shown or now - self._drawn < INTERVAL_SECONDS:
            return
        self._drawn = now
        share = min(1.0, done / self._total)
        room = max(10, min(40, shutil.get_terminal_size((80, 24)).columns - TEXT_COLUMNS))
        filled = round(share * room)
        bar = self._paint("green", "━" * filled) + self._paint("dim", "━" * (room - filled))
        left = (now - self._began) * (1 - share) / share if share else 0.0
        sys.stderr.write(
            f"\r{self._what} {bar} {share:4.0%}  {done:,} of {self._total:,}"
            f"  {_span(left)} left\x1b[K"
        )
        sys.stderr.flush()


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
