"""Property sections, MQTT 5.0 §2.2.2: an ordered list of identifiers and values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, cast

from noctule.protocol._tables import (
    PROPERTIES,
    PropertyDefinition,
    PropertyId,
    PropertySection,
    PropertyType,
)
from noctule.protocol._wire import (
    FOUR_BYTES,
    TWO_BYTES,
    decode_binary,
    decode_byte,
    decode_four_bytes,
    decode_string,
    decode_two_bytes,
    decode_variable,
    encode_binary,
    encode_string,
    encode_variable,
)
from noctule.protocol.errors import InvalidArgumentError, MalformedPacketError, ProtocolError

__all__ = ["NO_PROPERTIES", "Properties", "PropertyValue", "decode_properties", "encode_properties"]

PropertyValue: TypeAlias = int | str | bytes | tuple[str, str]


class Properties(tuple[tuple[PropertyId, PropertyValue], ...]):
    """A property section: pairs of identifier and value, in the order of the wire.

    Integers are int, strings str, binary data bytes, and a user property is a pair of str.
    """

    __slots__ = ()

    def integer(self, identifier: PropertyId, default: int | None = None) -> int | None:
        """The value of the first integer property of this identifier, or `default`."""
        return cast("int | None", self._first(identifier, default))

    def string(self, identifier: PropertyId) -> str | None:
        """The value of the first string property of this identifier, or None."""
        return cast("str | None", self._first(identifier, None))

    def binary(self, identifier: PropertyId) -> bytes | None:
        """The value of the first binary property of this identifier, or None."""
        return cast("bytes | None", self._first(identifier, None))

    @property
    def user_properties(self) -> list[tuple[str, str]]:
        """All user properties, in their order."""
        return [
            cast("tuple[str, str]", value)
            for identifier, value in self
            if identifier is PropertyId.USER_PROPERTY
        ]

    @property
    def subscription_identifiers(self) -> tuple[int, ...]:
        """All subscription identifiers, in their order."""
        return tuple(
            cast("int", value)
            for identifier, value in self
            if identifier is PropertyId.SUBSCRIPTION_IDENTIFIER
        )

    def _first(self, wanted: PropertyId, default: PropertyValue | None) -> PropertyValue | None:
        for identifier, value in self:
            if identifier is wanted:
                return value
        return default


NO_PROPERTIES = Properties()


def _decode_pair(data: bytes, offset: int, stop: int) -> tuple[tuple[str, str], int]:
    name, offset = decode_string(data, offset, stop)
    value, offset = decode_string(data, offset, stop)
    return (name, value), offset


_DECODERS: dict[PropertyType, Callable[[bytes, int, int], tuple[Any, int]]] = {
    PropertyType.BYTE: decode_byte,
    PropertyType.TWO_BYTE_INTEGER: decode_two_bytes,
    PropertyType.FOUR_BYTE_INTEGER: decode_four_bytes,
    PropertyType.VARIABLE_BYTE_INTEGER: decode_variable,
    PropertyType.UTF_8_STRING: decode_string,
    PropertyType.BINARY_DATA: decode_binary,
    PropertyType.UTF_8_STRING_PAIR: _decode_pair,
}

_ENCODERS: dict[PropertyType, Callable[[Any], bytes]] = {
    PropertyType.BYTE: lambda value: bytes((value,)),
    PropertyType.TWO_BYTE_INTEGER: TWO_BYTES.pack,
    PropertyType.FOUR_BYTE_INTEGER: FOUR_BYTES.pack,
    PropertyType.VARIABLE_BYTE_INTEGER: encode_variable,
    PropertyType.UTF_8_STRING: encode_string,
    PropertyType.BINARY_DATA: encode_binary,
    PropertyType.UTF_8_STRING_PAIR: lambda pair: encode_string(pair[0]) + encode_string(pair[1]),
}

_PYTHON_TYPES: dict[PropertyType, type] = {
    PropertyType.BYTE: int,
    PropertyType.TWO_BYTE_INTEGER: int,
    PropertyType.FOUR_BYTE_INTEGER: int,
    PropertyType.VARIABLE_BYTE_INTEGER: int,
    PropertyType.UTF_8_STRING: str,
    PropertyType.BINARY_DATA: bytes,
    PropertyType.UTF_8_STRING_PAIR: tuple,
}


def decode_properties(
    section: PropertySection, data: bytes, offset: int, stop: int
) -> tuple[Properties, int]:
    """A property length and the properties behind it, and the offset after them.

    Raises MalformedPacketError or ProtocolError, with the reason code to answer with, for what
    does not exist, does not belong into `section`, repeats without leave, is out of its
    bounds, or runs past its end.
    """
    length, offset = decode_variable(data, offset, stop)
    if length == 0:
        return NO_PROPERTIES, offset
    end = offset + length
    if end > stop:
        raise MalformedPacketError("the property length runs past the packet")
    pairs: list[tuple[PropertyId, PropertyValue]] = []
    seen: set[PropertyId] = set()
    while offset < end:
        number, offset = decode_variable(data, offset, end)
        try:
            identifier = PropertyId(number)
        except ValueError:
            raise MalformedPacketError(f"property 0x{number:02X} does not exist") from None
        definition = PROPERTIES[identifier]
        # Whatever it is, it has to be there as a whole.
        value, offset = _DECODERS[definition.type](data, offset, end)
        _check_place(definition, identifier, section, identifier in seen)
        seen.add(identifier)
        if definition.maximum and not definition.minimum <= value <= definition.maximum:
            raise ProtocolError(f"{definition.name} is {value}", definition.refusal)
        pairs.append((identifier, value))
    return Properties(pairs), end


def _check_place(
    definition: PropertyDefinition,
    identifier: PropertyId,
    section: PropertySection,
    is_repeated: bool,
) -> None:
    if section not in definition.packets:
        raise ProtocolError(f"{definition.name} does not belong in {section.name}")
    if is_repeated and section not in definition.repeatable:
        raise ProtocolError(f"{definition.name} is there twice")


def encode_properties(
    section: PropertySection, properties: Iterable[tuple[PropertyId, PropertyValue]]
) -> bytes:
    """The section with its length in front; no properties are a length of 0 [MQTT-2.2.2-1].

    Raises InvalidArgumentError for what the decoder of the other side would refuse.
    """
    if not properties:
        return b"\0"
    encoded = bytearray()
    seen: set[PropertyId] = set()
    for identifier, value in properties:
        definition = PROPERTIES[identifier]
        if section not in definition.packets:
            raise InvalidArgumentError(f"{definition.name} does not belong in {section.name}")
        if identifier in seen and section not in definition.repeatable:
            raise InvalidArgumentError(f"{definition.name} can be given once in {section.name}")
        if not isinstance(value, _PYTHON_TYPES[definition.type]):
            expected = _PYTHON_TYPES[definition.type].__name__
            raise InvalidArgumentError(f"{definition.name} is {value!r}, which is no {expected}")
        if isinstance(value, int) and not definition.minimum <= value <= definition.maximum:
            raise InvalidArgumentError(
                f"{definition.name} is {value}; "
                f"it can be {definition.minimum} to {definition.maximum}"
            )
        seen.add(identifier)
        encoded.append(identifier)
        encoded += _ENCODERS[definition.type](value)
    return encode_variable(len(encoded)) + encoded
