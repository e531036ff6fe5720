"""-D PACKET NAME VALUE: properties of MQTT 5.0 in the packets that we send."""

from __future__ import annotations

from noctule.cli.flags.settings import UsageError
from noctule.protocol._tables import PROPERTIES, PropertyId, PropertySection, PropertyType
from noctule.protocol.errors import NoctuleError
from noctule.protocol.properties import PropertyValue, encode_properties

__all__ = ["PACKETS", "PACKETS_OF", "property_names", "read_property"]

PACKETS = {
    "connect": PropertySection.CONNECT,
    "publish": PropertySection.PUBLISH,
    "subscribe": PropertySection.SUBSCRIBE,
    "unsubscribe": PropertySection.UNSUBSCRIBE,
    "disconnect": PropertySection.DISCONNECT,
    "will": PropertySection.WILL,
}

# Command: the packets that it sends and that can have properties.
PACKETS_OF = {
    "pub": ("connect", "publish", "disconnect", "will"),
    "sub": ("connect", "subscribe", "unsubscribe", "disconnect", "will"),
    "rr": ("connect", "publish", "subscribe", "disconnect", "will"),
}

# Those a server may send and a client may not, MQTT 5.0 §3.3.4 and §3.14.2.2.
FROM_SERVER = {
    "publish": {PropertyId.SUBSCRIPTION_IDENTIFIER},
    "disconnect": {PropertyId.SERVER_REFERENCE},
}

INTEGERS = (
    PropertyType.BYTE,
    PropertyType.TWO_BYTE_INTEGER,
    PropertyType.FOUR_BYTE_INTEGER,
    PropertyType.VARIABLE_BYTE_INTEGER,
)


def property_names(packet: str) -> dict[str, PropertyId]:
    """The properties that a client may set in a packet, by the name that -D has for them."""
    section = PACKETS[packet]
    return {
        identifier.name.lower().replace("_", "-"): identifier
        for identifier, definition in PROPERTIES.items()
        if section in definition.packets and identifier not in FROM_SERVER.get(packet, ())
    }


def read_property(command: str, rest: list[str]) -> tuple[str, tuple[PropertyId, PropertyValue]]:
    """Takes packet, name and value from the end of `rest`; UsageError says what can stand there."""
    packet = _next(rest, "PACKET NAME VALUE").lower()
    packets = PACKETS_OF[command]
    if packet not in packets:
        raise UsageError(
            f"-D {packet}: the packets that `{command}` sends are {', '.join(packets)}"
        )
    names = property_names(packet)
    name = _next(rest, f"{packet} NAME VALUE")
    identifier = names.get(name)
    if identifier is None:
        raise UsageError(f"-D {packet} {name}: a client can set {', '.join(sorted(names))}")
    value = _value(identifier, name, rest)
    try:
        encode_properties(PACKETS[packet], [(identifier, value)])
    except NoctuleError as error:
        raise UsageError(f"-D {packet} {name}: {error}") from error
    return packet, (identifier, value)


def _value(identifier: PropertyId, name: str, rest: list[str]) -> PropertyValue:
    kind = PROPERTIES[identifier].type
    if kind is PropertyType.UTF_8_STRING_PAIR:
        first = _next(rest, f"PACKET {name} NAME VALUE")
        return first, _next(rest, f"PACKET {name} NAME VALUE")
    text = _next(rest, f"PACKET {name} VALUE")
    if kind is PropertyType.BINARY_DATA:
        return text.encode(errors="surrogateescape")
    if kind not in INTEGERS:
        return text
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"-D: {name} is a whole number, not {text!r}") from None


def _next(rest: list[str], form: str) -> str:
    if not rest:
        raise UsageError(f"-D needs more arguments: -D {form}")
    return rest.pop()
