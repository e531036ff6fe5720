"""--tree: a live tree of topics, each with its last value, its count and its rate."""

from __future__ import annotations

import time
from collections.abc import Iterator

from noctule.cli.flags.settings import Settings
from noctule.cli.messages.eyes import summary
from noctule.cli.messages.rates import TopicRates
from noctule.cli.terminal import (
    Palette,
    Screen,
    clipped,
    human_number,
    padded,
    printable,
    width_of,
)
from noctule.protocol import Message

__all__ = ["Node", "TreeOutput"]

FRESH_SECONDS = 1.0
NUMBERS_COLUMNS = 20
MAX_NODES = 100_000


class Node:
    """A level of topics: those below it, and what came on this topic itself."""

    __slots__ = ("below", "counted", "last", "last_at")

    def __init__(self, now: float) -> None:
        self.below: dict[str, Node] = {}
        self.counted = TopicRates(now)
        self.last: Message | None = None
        self.last_at = 0.0


class TreeOutput:
    """Grows the tree, and draws it four times a second."""

    interval: float | None = 0.25

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._screen = Screen()
        self._palette = Palette()
        self._since = time.monotonic()
        self._root = Node(self._since)
        self._count = 0
        self._nodes = 0
        self._left_out = 0

    def show(self, message: Message) -> None:
        """Hang it into the tree."""
        now = time.monotonic()
        node = self._root
        self._count += 1
        for level in message.topic.split("/"):
            found = node.below.get(level)
            if found is None:
                if self._nodes >= MAX_NODES:
                    self._left_out += 1
                    return
                found = node.below[level] = Node(now)
                self._nodes += 1
            node = found
        node.counted.add(len(message.payload), now)
        node.last, node.last_at = message, now

    def tick(self) -> None:
        """Draw."""
        columns, lines = self._screen.size
        now = time.monotonic()
        head = f"{human_number(self._count)} messages"
        if self._left_out:
            head += f", {self._left_out:,} on topics beyond {MAX_NODES:,} levels left out"
        drawn = [self._palette("bold", clipped(head, columns))]
        rows = list(self._rows(self._root, "", now))
        column = min(max((width_of(name) for name, _ in rows), default=0), columns // 2)
        drawn += [self._line(name, node, column, columns, now) for name, node in rows[: lines - 1]]
        if len(rows) > lines - 1:
            drawn[-1] = self._palette("dim", f"… {len(rows) - lines + 2:,} more")
        self._screen.draw(drawn)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The last tree stays."""
        self.tick()
        self._screen.close()

    def _rows(self, node: Node, indent: str, now: float) -> Iterator[tuple[str, Node]]:
        """Name with branches, and node. Levels with nothing of their own share a line."""
        entries = sorted(node.below.items())
        for number, (level, child) in enumerate(entries):
            is_last = number == len(entries) - 1
            name = level or '""'
            while child.last is None and len(child.below) == 1:
                (level, child), *_ = child.below.items()
                name += f"/{level}"
            branch = "" if node is self._root else "└ " if is_last else "├ "
            yield f"{indent}{branch}{printable(name)}", child
            further = "" if node is self._root else "  " if is_last else "│ "
            yield from self._rows(child, indent + further, now)

    def _line(self, name: str, node: Node, column: int, columns: int, now: float) -> str:
        paint = self._palette
        said = padded(clipped(name, column), column)
        if node.last is None:
            return paint("cyan", said)
        rate = round(node.counted.rate.per_second(now, self._since), 1)
        numbers = f"{human_number(node.counted.messages):>10}{human_number(rate):>7}/s"
        value = summary(node.last, max(8, columns - column - NUMBERS_COLUMNS - 2))
        is_fresh = now - node.last_at < FRESH_SECONDS
        return (
            paint("cyan", said)
            + paint("dim", numbers)
            + "  "
            + (paint("green", value) if is_fresh else value)
        )
