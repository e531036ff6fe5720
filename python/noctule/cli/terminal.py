"""What a terminal can show: colours, width, and pictures that move."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable
from typing import IO

__all__ = ["Palette", "Screen", "clipped", "human_bytes", "human_number", "printable", "width_of"]

CODES = {
    "dim": "2",
    "bold": "1",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}


class Palette:
    """Colours, or none: where it is no terminal, TERM is dumb, or NO_COLOR is set."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        stream = sys.stdout if stream is None else stream
        self.is_colourful = (
            stream.isatty()
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM", "") != "dumb"
        )

    def __call__(self, colour: str, text: str) -> str:
        """The text in a colour of `CODES`."""
        return f"\x1b[{CODES[colour]}m{text}\x1b[0m" if self.is_colourful and text else text


def printable(text: str) -> str:
    """Without what a terminal would obey: control characters are written as escapes."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )


def width_of(text: str) -> int:
    """Columns that a printable text takes: none for combining characters, two for wide ones."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(character)
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def clipped(text: str, width: int) -> str:
    """Cut to so many columns, with an ellipsis where something is missing."""
    if width_of(text) <= width:
        return text
    kept = ""
    for character in text:
        if width_of(kept) + width_of(character) > width - 1:
            break
        kept += character
    return kept + "…"


def padded(text: str, width: int) -> str:
    """Filled with spaces to so many columns."""
    return text + " " * max(0, width - width_of(text))


def human_bytes(count: float) -> str:
    """``12.3 kB``, in steps of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def human_number(count: float) -> str:
    """``12,345``; below 100 with a decimal where there is one."""
    return f"{count:,.0f}" if count >= 100 or count == int(count) else f"{count:.1f}"


class Screen:
    """A picture that is drawn again and again at the same place; printed once if that fails.

    In a terminal it takes the alternate screen, which leaves what stood there as it was.
    Elsewhere only the last picture is printed, by `close`.
    """

    def __init__(self) -> None:
        self.is_live = sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"
        self._is_open = False
        self._last: list[str] = []

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines; where it is no terminal, room for everything."""
        if not self.is_live:
            return shutil.get_terminal_size((100, 24)).columns, 1_000_000
        size = shutil.get_terminal_size((80, 24))
        return size.columns, size.lines

    def draw(self, lines: Iterable[str]) -> None:
        """Show these lines, none of which is wider than the screen."""
        self._last = list(lines)
        if not self.is_live:
            return
        if not self._is_open:
            sys.stdout.write("\x1b[?1049h\x1b[?25l")
            self._is_open = True
        room = self.size[1]
        shown = [f"{line}\x1b[K" for line in self._last[:room]]
        sys.stdout.write("\x1b[H" + "\r\n".join(shown) + "\x1b[J")
        sys.stdout.flush()

    def close(self) -> None:
        """Gives the terminal back, and leaves the last picture there."""
        if self._is_open:
            sys.stdout.write("\x1b[?25h\x1b[?1049l")
            self._is_open = False
        if self._last:
            sys.stdout.write("\n".join(self._last) + "\n")
        self._last = []
        sys.stdout.flush()
