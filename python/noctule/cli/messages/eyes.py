"""Messages for eyes: time, topic and payload aligned, in colour, nothing a terminal obeys."""

from __future__ import annotations

import json
import re
import shutil
import time
from typing import Any

from noctule.cli.messages.content import Content, content_of
from noctule.cli.messages.format import Arrival
from noctule.cli.terminal import (
    Palette,
    clipped,
    human_bytes,
    padded,
    printable,
    width_of,
)
from noctule.protocol import Message

__all__ = ["Eyes", "folded", "summary"]

TIME_COLUMNS = 12
NARROWEST_TOPIC = 12
WIDEST_TOPIC = 48
HEX_COLUMNS = 16
NARROW_HEX_COLUMNS = 8
HEX_ROWS = 16
TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d[\d.eE+-]*)|(true|false|null)')


class Eyes:
    """Makes a message into lines. The topic's column grows with what it has seen."""

    def __init__(self, *, is_pretty: bool = False) -> None:
        self._is_pretty = is_pretty
        self._palette = Palette()
        self._column = NARROWEST_TOPIC

    def lines(self, message: Message, arrival: Arrival) -> bytes:
        """The message in one line, or in several where its payload needs them."""
        topic = printable(message.topic)
        columns = shutil.get_terminal_size((100, 24)).columns
        widest = max(NARROWEST_TOPIC, min(WIDEST_TOPIC, columns * 2 // 5))
        # No wider than there is room for: a terminal may have become narrower.
        self._column = min(max(self._column, width_of(topic)), widest)
        when = "retained" if message.retain else _clock(arrival)
        head = (
            self._palette("dim", f"{when:{TIME_COLUMNS}}")
            + "  "
            + self._palette("cyan", padded(topic, self._column))
            + "  "
        )
        room = max(20, columns - TIME_COLUMNS - self._column - 4)
        first, *rest = self._payload(content_of(message), room)
        indent = " " * (TIME_COLUMNS + 2)
        return "".join([f"{head}{first}\n", *(f"{indent}{line}\n" for line in rest)]).encode(
            errors="replace"
        )

    def _payload(self, content: Content, room: int) -> list[str]:
        paint = self._palette
        label = [paint("magenta", content.label)] if content.label else []
        match content.kind:
            case "empty":
                return [paint("dim", "(empty)")]
            case "image":
                return [paint("magenta", f"image {content.value}")]
            case "json":
                lines = self._json(content.value, room - len(content.label) - 1)
                return (
                    [" ".join([*label, lines[0]]), *lines[1:]]
                    if len(lines) == 1
                    else [
                        *(label or [""]),
                        *lines,
                    ]
                )
            case "binary":
                return self._hexadecimal(content.value, content.label, room)
            case _:
                lines = [printable(line) for line in content.value.rstrip("\r\n").splitlines()]
                return lines if len(lines) == 1 else ["", *lines]

    def _json(self, value: Any, room: int) -> list[str]:
        """On one line where it has room and nobody wants more."""
        line = printable(json.dumps(value, ensure_ascii=False))
        if width_of(line) <= room and not (self._is_pretty and isinstance(value, dict | list)):
            return [self._painted(line)]
        columns = shutil.get_terminal_size((100, 24)).columns - TIME_COLUMNS - 2
        return [self._painted(part) for part in folded(value, max(20, columns))]

    def _painted(self, text: str) -> str:
        if not self._palette.is_colourful:
            return text
        return TOKEN.sub(self._token, text)

    def _token(self, match: re.Match[str]) -> str:
        string, colon, number, word = match.groups()
        if string is not None:
            return self._palette("blue" if colon else "green", string) + (colon or "")
        return self._palette("yellow", number if number is not None else word)

    def _hexadecimal(self, data: bytes, label: str, room: int) -> list[str]:
        """All of a short payload, or else the first rows; text beside it."""
        size = f"{label} {human_bytes(len(data))}".strip()
        head = self._palette("magenta", size)
        if len(data) <= HEX_COLUMNS and len(size) + 4 + 4 * len(data) <= room:
            return [f"{head}  {self._row(data, len(data))}"]
        columns = shutil.get_terminal_size((100, 24)).columns - TIME_COLUMNS - 2
        width = HEX_COLUMNS if columns >= 4 * HEX_COLUMNS else NARROW_HEX_COLUMNS
        shown = data[: HEX_COLUMNS * HEX_ROWS]
        rows = [self._row(shown[at : at + width], width) for at in range(0, len(shown), width)]
        return [head, *rows, "…"] if len(data) > len(shown) else [head, *rows]

    def _row(self, row: bytes, width: int) -> str:
        text = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in row)
        return f"{row.hex(' '):{3 * width}}{self._palette('dim', text)}"


def folded(value: Any, width: int, indent: str = "") -> list[str]:
    """JSON in lines of about `width` columns: a line for each entry, short lists together."""
    if not isinstance(value, dict | list) or not value:
        return [indent + printable(json.dumps(value, ensure_ascii=False))]
    inner = indent + "  "
    lines: list[str] = []
    entries = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for number, (name, item) in enumerate(entries):
        head = "" if name is None else f"{printable(json.dumps(name, ensure_ascii=False))}: "
        comma = "," if number < len(value) - 1 else ""
        short = head + printable(json.dumps(item, ensure_ascii=False)) + comma
        if width_of(inner + short) > width and isinstance(item, dict | list):
            first, *rest = folded(item, width, inner)
            lines += [inner + head + first.lstrip(), *rest]
            lines[-1] += comma
        elif name is None and lines and width_of(f"{lines[-1]} {short}") <= width:
            lines[-1] += f" {short}"
        else:
            lines.append(inner + short)
    opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
    return [indent + opening, *lines, indent + closing]


def _clock(arrival: Arrival) -> str:
    milliseconds = arrival.nanoseconds // 1_000_000 % 1000
    return f"{time.strftime('%H:%M:%S', arrival.local)}.{milliseconds:03d}"


def summary(message: Message, width: int) -> str:
    """A payload in one line of so many columns, without colour."""
    content = content_of(message)
    match content.kind:
        case "empty":
            said = "(empty)"
        case "image":
            said = f"image {content.value}"
        case "json":
            said = json.dumps(content.value, ensure_ascii=False)
        case "binary":
            said = f"{human_bytes(len(message.payload))} {message.payload[:width].hex(' ')}"
        case _:
            said = " ".join(content.value.split())
    return clipped(printable(said), width)
