"""-F: a message in the form that the user has written down.

Compiled once into pieces; a piece turns a message and the time of its arrival into bytes,
because payloads need not be text.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from noctule.cli.flags.settings import UsageError
from noctule.protocol import Message

__all__ = ["Arrival", "compile_format"]

ESCAPES = {
    "\\": b"\\",
    "0": b"\0",
    "a": b"\a",
    "e": b"\x1b",
    "n": b"\n",
    "r": b"\r",
    "t": b"\t",
    "v": b"\v",
}
NANOSECONDS = 1_000_000_000


class Arrival(NamedTuple):
    """When a message came: nanoseconds since 1970, and the same as local time."""

    nanoseconds: int
    local: time.struct_time

    @classmethod
    def now(cls) -> Arrival:
        """Now."""
        nanoseconds = time.time_ns()
        return cls(nanoseconds, time.localtime(nanoseconds // NANOSECONDS))

    @property
    def iso(self) -> str:
        """``2026-08-10T09:47:38+0100``."""
        return time.strftime("%Y-%m-%dT%H:%M:%S%z", self.local)


Piece: TypeAlias = Callable[[Message, Arrival], bytes]


class Width(NamedTuple):
    """``%-020.10t``: how wide a field is at least, how it is filled, how wide at most."""

    minimum: int = 0
    maximum: int | None = None
    is_left: bool = False
    is_zero: bool = False

    def text(self, value: str) -> bytes:
        """Text, in spaces and cut to the maximum; widths count characters."""
        cut = value if self.maximum is None else value[: self.maximum]
        return (cut.ljust if self.is_left else cut.rjust)(self.minimum).encode()

    def number(self, value: int | None) -> bytes:
        """A number; where the property is missing its field stays empty."""
        fill = "0" if self.is_zero and not self.is_left else " "
        said = "" if value is None else str(value)
        return (
            said.ljust(self.minimum) if self.is_left else said.rjust(self.minimum, fill)
        ).encode()

    def payload(self, value: bytes) -> bytes:
        """A payload: here a width is the maximum, too."""
        if not self.minimum:
            return value
        fill = b"0" if self.is_zero else b" "
        cut = value[: self.minimum]
        return cut.ljust(self.minimum) if self.is_left else cut.rjust(self.minimum, fill)


def compile_format(
    text: str, *, is_pretty: bool = False, complain: Callable[[str], None] = lambda text: None
) -> Callable[[Message, Arrival], bytes]:
    """A function from message and time to what is printed; UsageError for a wrong format.

    `complain` is told of payloads that %J cannot show; nothing stands in their place.
    """
    pieces: list[Piece] = []
    literal = bytearray()
    position = 0
    while position < len(text):
        start = text[position]
        if start not in "%@\\":
            literal += start.encode(errors="surrogateescape")
            position += 1
            continue
        piece, position = _special(text, position, is_pretty, complain)
        if isinstance(piece, bytes):
            literal += piece
            continue
        if literal:
            pieces.append(_constant(bytes(literal)))
            literal.clear()
        pieces.append(piece)
    if literal:
        pieces.append(_constant(bytes(literal)))
    return lambda message, arrival: b"".join([piece(message, arrival) for piece in pieces])


def _constant(value: bytes) -> Piece:
    return lambda message, arrival: value


def _special(
    text: str, position: int, is_pretty: bool, complain: Callable[[str], None]
) -> tuple[Piece | bytes, int]:
    """What begins with %, @ or backslash at `position`, and the position behind it."""
    kind = text[position]
    width, position = _width(text, position + 1) if kind == "%" else (Width(), position + 1)
    if position == len(text):
        raise UsageError(f"-F: {kind} at the end stands for nothing; {kind}{kind} is {kind} itself")
    letter = text[position]
    position += 1
    if letter == kind:
        return kind.encode(), position
    if kind == "\\":
        if letter not in ESCAPES:
            known = " ".join(f"\\{name}" for name in ESCAPES)
            raise UsageError(f"-F: there is no \\{letter}; there are {known}")
        return ESCAPES[letter], position
    if kind == "@":
        return _time(letter), position
    if letter in "jJ":
        return _json(letter == "j", is_pretty, complain), position
    if letter not in FIELDS:
        raise UsageError(f"-F: there is no %{letter}; there are %{' %'.join([*FIELDS, 'j', 'J'])}")
    return FIELDS[letter](width), position


def _width(text: str, position: int) -> tuple[Width, int]:
    is_left = is_zero = False
    while position < len(text) and text[position] in "0-":
        is_left |= text[position] == "-"
        is_zero |= text[position] == "0"
        position += 1
    minimum, position = _digits(text, position)
    maximum = None
    if position < len(text) and text[position] == ".":
        maximum, position = _digits(text, position + 1)
        maximum = maximum or None
    return Width(minimum, maximum, is_left, is_zero), position


def _digits(text: str, position: int) -> tuple[int, int]:
    end = position
    while end < len(text) and text[end] in "0123456789":
        end += 1
    return int(text[position:end] or 0), end


def _time(letter: str) -> Piece:
    """@X is strftime's %X, and @N the nanoseconds within the second."""
    if letter == "N":
        return lambda message, arrival: b"%09d" % (arrival.nanoseconds % NANOSECONDS)
    try:
        time.strftime(f"%{letter}")
    except ValueError as error:
        raise UsageError(f"-F: @{letter}: {error}") from error
    return lambda message, arrival: time.strftime(f"%{letter}", arrival.local).encode()


def _json(is_quoted: bool, is_pretty: bool, complain: Callable[[str], None]) -> Piece:
    from noctule.cli.messages.json_form import NotJsonError, message_json

    def piece(message: Message, arrival: Arrival) -> bytes:
        try:
            return message_json(message, arrival, is_quoted=is_quoted, is_pretty=is_pretty)
        except NotJsonError as error:
            complain(str(error))
            return b""

    return piece


def _hexadecimal(width: Width, payload: bytes) -> bytes:
    """As many bytes as have room; two digits each."""
    cut = payload[: width.minimum // 2] if width.minimum else payload
    return width.payload(cut.hex().encode())


def _user_properties(message: Message) -> bytes:
    return " ".join(f"{name}:{value}" for name, value in message.user_properties).encode()


def _seconds(arrival: Arrival) -> bytes:
    return b"%d.%09d" % divmod(arrival.nanoseconds, NANOSECONDS)


def _format_indicator(message: Message) -> int | None:
    from noctule.protocol import PropertyId

    return message.properties.integer(PropertyId.PAYLOAD_FORMAT_INDICATOR)


def _first_subscription(message: Message) -> int | None:
    return next(iter(message.subscription_identifiers), None)


# The letter behind %: its piece, for a width.
FIELDS: dict[str, Callable[[Width], Piece]] = {
    "A": lambda w: lambda m, a: w.number(m.header.topic_alias or None),
    "C": lambda w: lambda m, a: w.text(m.content_type or ""),
    "D": lambda w: lambda m, a: m.correlation_data or b"",
    "E": lambda w: lambda m, a: w.number(m.message_expiry_interval),
    "F": lambda w: lambda m, a: w.number(_format_indicator(m)),
    "I": lambda w: lambda m, a: w.text(a.iso),
    "P": lambda w: lambda m, a: _user_properties(m),
    "R": lambda w: lambda m, a: w.text(m.response_topic or ""),
    "S": lambda w: lambda m, a: w.number(_first_subscription(m)),
    "U": lambda w: lambda m, a: _seconds(a),
    "X": lambda w: lambda m, a: _hexadecimal(w, m.payload).upper(),
    "l": lambda w: lambda m, a: w.number(len(m.payload)),
    "m": lambda w: lambda m, a: w.number(m.packet_identifier),
    "p": lambda w: lambda m, a: w.payload(m.payload),
    "q": lambda w: lambda m, a: b"%d" % m.qos,
    "r": lambda w: lambda m, a: b"%d" % m.retain,
    "t": lambda w: lambda m, a: w.text(m.topic),
    "x": lambda w: lambda m, a: _hexadecimal(w, m.payload),
}
