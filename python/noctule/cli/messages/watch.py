"""--watch: a line for each topic that stays where it is, with what came last."""

from __future__ import annotations

import time
from collections.abc import Callable

from noctule.cli.messages.eyes import summary
from noctule.cli.messages.format import Arrival
from noctule.cli.terminal import Palette, Screen, clipped, padded, printable, width_of
from noctule.protocol import Message

__all__ = ["WatchOutput"]

MAX_TOPICS = 10_000
FRESH_SECONDS = 1.0
TIME_COLUMNS = 10

Form = Callable[[Message, Arrival], bytes]


class Line:
    """What came last on a topic, and when."""

    __slots__ = ("arrival", "at", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.arrival = Arrival.now()
        self.at = time.monotonic()


class WatchOutput:
    """Topics in the order of their first message, drawn four times a second.

    `form` is what the user has asked for with -F or -v: the first line of it is shown.
    """

    interval: float | None = 0.25

    def __init__(self, form: Form | None = None) -> None:
        self._form = form
        self._screen = Screen()
        self._paint = Palette()
        self._lines: dict[str, Line] = {}
        self._left_out = 0

    def show(self, message: Message) -> None:
        """Put it into its topic's line."""
        if message.topic not in self._lines and len(self._lines) >= MAX_TOPICS:
            self._left_out += 1
            return
        self._lines[message.topic] = Line(message)

    def tick(self) -> None:
        """Draw."""
        columns, rows = self._screen.size
        topics = list(self._lines)
        shown = topics if len(topics) <= rows else topics[: rows - 1]
        width = max((width_of(printable(topic)) for topic in shown), default=0)
        width = min(width, columns * 2 // 5)
        drawn = [self._drawn(topic, width, columns) for topic in shown]
        hidden = len(topics) - len(shown)
        if hidden:
            drawn.append(self._paint("dim", f"… {hidden:,} more topics"))
        if self._left_out and not hidden:
            drawn.append(self._paint("dim", f"… beyond {MAX_TOPICS:,} topics all is left out"))
        self._screen.draw(drawn)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The last picture stays."""
        self.tick()
        self._screen.close()

    def _drawn(self, topic: str, width: int, columns: int) -> str:
        line = self._lines[topic]
        is_fresh = time.monotonic() - line.at < FRESH_SECONDS
        if self._form is not None:
            text = self._form(line.message, line.arrival).decode(errors="replace")
            said = clipped(printable(text.rstrip("\n").partition("\n")[0]), columns)
            return self._paint("green", said) if is_fresh else said
        value = summary(line.message, max(8, columns - width - TIME_COLUMNS - 2))
        is_kept = line.message.retain
        when = "retained" if is_kept else time.strftime("%H:%M:%S", line.arrival.local)
        return (
            self._paint("dim", f"{when:{TIME_COLUMNS}}")
            + self._paint("cyan", padded(clipped(printable(topic), width), width))
            + "  "
            + (self._paint("green", value) if is_fresh else value)
        )
