"""Messages as lines of JSON, with time and properties: --json, --save and `noctule replay`.

    {"time": 1795229227.219887, "topic": "door", "payload": "open", "qos": 1, "retain": false,
     "properties": {"content-type": "text/plain", "user-property": [["from", "hall"]]}}

A payload that is no UTF-8 is `payload_base64`. `time` is in seconds since 1970.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any, NamedTuple

from noctule.protocol import Message, Properties, PropertyId
from noctule.protocol._tables import PROPERTIES, PropertySection
from noctule.protocol.errors import NoctuleError
from noctule.protocol.properties import PropertyValue, encode_properties

__all__ = ["Record", "RecordError", "dump", "load"]

# Of one connection or one subscription, and no part of the message.
TRANSIENT = {PropertyId.TOPIC_ALIAS, PropertyId.SUBSCRIPTION_IDENTIFIER}
NAMES = {
    identifier: identifier.name.lower().replace("_", "-")
    for identifier, definition in PROPERTIES.items()
    if PropertySection.PUBLISH in definition.packets
}
IDENTIFIERS = {name: identifier for identifier, name in NAMES.items()}


class RecordError(ValueError):
    """A line that is no record."""


class Record(NamedTuple):
    """A message and when it came, in seconds since 1970."""

    time: float
    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties


def dump(message: Message, seconds: float) -> str:
    """The line of a message, without newline."""
    fields: dict[str, Any] = {"time": round(seconds, 6), "topic": message.topic}
    try:
        fields["payload"] = message.payload.decode()
    except UnicodeDecodeError:
        fields["payload_base64"] = b64encode(message.payload).decode()
    fields |= {"qos": int(message.qos), "retain": message.retain}
    properties = _dump_properties(message)
    if properties:
        fields["properties"] = properties
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _dump_properties(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for identifier, value in message.properties:
        if identifier in TRANSIENT:
            continue
        if identifier is PropertyId.USER_PROPERTY:
            fields.setdefault(NAMES[identifier], []).append(value)
        else:
            fields[NAMES[identifier]] = (
                b64encode(value).decode() if isinstance(value, bytes) else value
            )
    return fields


def load(line: str) -> Record:
    """Reads a line; RecordError says what is wrong with it."""
    try:
        fields = json.loads(line)
        payload = fields.get("payload")
        data = (
            b64decode(fields["payload_base64"], validate=True)
            if payload is None
            else payload.encode()
        )
        record = Record(
            float(fields["time"]),
            fields["topic"],
            data,
            int(fields.get("qos", 0)),
            bool(fields.get("retain", False)),
            Properties(_load_properties(fields.get("properties", {}))),
        )
    except KeyError as error:
        raise RecordError(f"{error} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise RecordError(str(error)) from error
    if record.qos not in (0, 1, 2) or not isinstance(record.topic, str):
        raise RecordError("topic is text, and qos 0, 1 or 2")
    try:
        encode_properties(PropertySection.PUBLISH, record.properties)
    except NoctuleError as error:
        raise RecordError(str(error)) from error
    return record


def _load_properties(fields: dict[str, Any]) -> list[tuple[PropertyId, PropertyValue]]:
    pairs: list[tuple[PropertyId, PropertyValue]] = []
    for name, value in fields.items():
        if name not in IDENTIFIERS:
            raise RecordError(f"there is no property {name}")
        identifier = IDENTIFIERS[name]
        if identifier is PropertyId.USER_PROPERTY:
            pairs += [(identifier, (str(key), str(text))) for key, text in value]
        elif identifier is PropertyId.CORRELATION_DATA:
            pairs.append((identifier, b64decode(value, validate=True)))
        else:
            pairs.append((identifier, value))
    return pairs
