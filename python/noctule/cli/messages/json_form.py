"""%j and %J: a message as JSON, written as Mosquitto's tools write it.

Written by hand for three things that the module json does otherwise: payloads go through as
the bytes they are, a name may come twice, and the lines of --pretty look as theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from noctule.protocol import Message, PropertyId

if TYPE_CHECKING:
    from noctule.cli.messages.format import Arrival

__all__ = ["NotJsonError", "Pairs", "message_json"]

MICROSECOND = 1000
NAMES = {
    PropertyId.PAYLOAD_FORMAT_INDICATOR: "payload-format-indicator",
    PropertyId.MESSAGE_EXPIRY_INTERVAL: "message-expiry-interval",
    PropertyId.CONTENT_TYPE: "content-type",
    PropertyId.RESPONSE_TOPIC: "response-topic",
    PropertyId.CORRELATION_DATA: "correlation-data",
    PropertyId.SUBSCRIPTION_IDENTIFIER: "subscription-identifier",
    PropertyId.TOPIC_ALIAS: "topic-alias",
}
ESCAPED = re.compile(rb'["\\\x00-\x1f]')
ESCAPES = {
    b'"': b'\\"',
    b"\\": b"\\\\",
    b"\b": b"\\b",
    b"\f": b"\\f",
    b"\n": b"\\n",
    b"\r": b"\\r",
    b"\t": b"\\t",
}


class NotJsonError(ValueError):
    """The payload is no JSON, and the format has it as JSON."""


class Pairs(list[tuple[str, Any]]):
    """An object whose names need not differ."""


def message_json(message: Message, arrival: Arrival, *, is_quoted: bool, is_pretty: bool) -> bytes:
    """The message; with `is_quoted` its payload as a string, else as the JSON that it is.

    NotJsonError where it is none.
    """
    fields = Pairs(
        (
            ("tst", _timestamp(arrival)),
            ("topic", message.topic),
            ("qos", int(message.qos)),
            ("retain", int(message.retain)),
            ("payloadlen", len(message.payload)),
        )
    )
    if message.qos:
        fields.append(("mid", message.packet_identifier))
    properties = _properties(message)
    if properties:
        fields.append(("properties", properties))
    fields.append(("payload", _payload(message, is_quoted)))
    return b"".join(_pretty(fields, 1) if is_pretty else _compact(fields))


def _timestamp(arrival: Arrival) -> str:
    microseconds = arrival.nanoseconds // MICROSECOND % 1_000_000
    return f"{arrival.iso[:-5]}.{microseconds:06d}{arrival.iso[-5:]}"


def _properties(message: Message) -> Pairs:
    fields = Pairs()
    user = Pairs(message.user_properties)
    for identifier, value in message.properties:
        if identifier is not PropertyId.USER_PROPERTY:
            fields.append((NAMES[identifier], value))
        elif all(name != "user-properties" for name, _ in fields):
            fields.append(("user-properties", user))
    return fields


def _payload(message: Message, is_quoted: bool) -> Any:
    if not message.payload:
        return None
    if is_quoted:
        return message.payload
    import json

    try:
        return json.loads(message.payload, object_pairs_hook=Pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NotJsonError(f"the payload is no JSON on topic {message.topic}") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _compact(value: Any) -> Iterator[bytes]:
    if isinstance(value, Pairs):
        yield b"{"
        for number, (name, item) in enumerate(value):
            yield (b"," if number else b"") + _string(name.encode()) + b":"
            yield from _compact(item)
        yield b"}"
    elif isinstance(value, list):
        yield b"["
        for number, item in enumerate(value):
            if number:
                yield b","
            yield from _compact(item)
        yield b"]"
    else:
        yield _scalar(value)


def _pretty(value: Any, depth: int) -> Iterator[bytes]:
    if isinstance(value, Pairs):
        yield b"{\n"
        for number, (name, item) in enumerate(value):
            yield (b",\n" if number else b"") + b"\t" * depth + _string(name.encode()) + b":\t"
            yield from _pretty(item, depth + 1)
        yield (b"\n" if value else b"") + b"\t" * (depth - 1) + b"}"
    elif isinstance(value, list):
        yield b"["
        for number, item in enumerate(value):
            if number:
                yield b", "
            yield from _pretty(item, depth + 1)
        yield b"]"
    else:
        yield _scalar(value)


def _scalar(value: Any) -> bytes:
    match value:
        case None:
            return b"null"
        case bool():
            return b"true" if value else b"false"
        case int():
            return str(value).encode()
        case float():
            return _number(value)
        case bytes():
            return _string(value)
        case _:
            return _string(str(value).encode(errors="surrogatepass"))


def _number(value: float) -> bytes:
    """The fewest of 15 or 17 digits that read back the same; 1000.0 is 1000."""
    short = f"{value:.15g}"
    return (short if float(short) == value else f"{value:.17g}").encode()


def _string(value: bytes) -> bytes:
    return b'"' + ESCAPED.sub(_escape, value) + b'"'


def _escape(match: re.Match[bytes]) -> bytes:
    found = match.group()
    return ESCAPES.get(found) or b"\\u%04x" % found[0]
