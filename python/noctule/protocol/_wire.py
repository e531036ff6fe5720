"""The data types of the wire, MQTT 5.0 §1.5: decoding out of bytes, encoding into them.

Decoders take the whole packet and an offset, and return the value and the offset behind
it; `stop` is where the enclosing section ends (exclusive).
"""

from __future__ import annotations

from struct import Struct

from noctule.protocol.errors import InvalidArgumentError, MalformedPacketError

MAX_VARIABLE_BYTE_INTEGER = 268_435_455
MAX_STRING_BYTES = 65_535

TWO_BYTES = Struct(">H")
FOUR_BYTES = Struct(">I")


def decode_byte(data: bytes, offset: int, stop: int) -> tuple[int, int]:
    if offset >= stop:
        raise MalformedPacketError("the packet ends where a byte was expected")
    return data[offset], offset + 1


def decode_two_bytes(data: bytes, offset: int, stop: int) -> tuple[int, int]:
    end = offset + 2
    if end > stop:
        raise MalformedPacketError("the packet ends inside a two byte integer")
    return data[offset] << 8 | data[offset + 1], end


def decode_four_bytes(data: bytes, offset: int, stop: int) -> tuple[int, int]:
    end = offset + 4
    if end > stop:
        raise MalformedPacketError("the packet ends inside a four byte integer")
    return int.from_bytes(data[offset:end], "big"), end


def decode_variable(data: bytes, offset: int, stop: int) -> tuple[int, int]:
    """A variable byte integer, as short as it can be [MQTT-1.5.5-1]."""
    value = shift = 0
    for position in range(offset, min(offset + 4, stop)):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                raise MalformedPacketError("a variable byte integer is longer than it needs to be")
            return value, position + 1
        shift += 7
    if stop - offset >= 4:
        raise MalformedPacketError("a variable byte integer of more than four bytes")
    raise MalformedPacketError("the packet ends inside a variable byte integer")


def decode_binary(data: bytes, offset: int, stop: int) -> tuple[bytes, int]:
    length, offset = decode_two_bytes(data, offset, stop)
    end = offset + length
    if end > stop:
        raise MalformedPacketError("binary data runs past its section")
    return data[offset:end], end


def decode_string(data: bytes, offset: int, stop: int) -> tuple[str, int]:
    """A string: proper UTF-8 without U+0000 [MQTT-1.5.4-1] [MQTT-1.5.4-2].

    Python's decoder refuses surrogates, and keeps U+FEFF [MQTT-1.5.4-3].
    """
    length, offset = decode_two_bytes(data, offset, stop)
    end = offset + length
    if end > stop:
        raise MalformedPacketError("a string runs past its section")
    return text(data[offset:end]), end


def text(raw: bytes) -> str:
    """The characters of a string field's bytes; MalformedPacketError if it is no string."""
    try:
        decoded = raw.decode()
    except UnicodeDecodeError as error:
        raise MalformedPacketError(f"a string is not UTF-8: {error.reason}") from error
    if "\0" in decoded:
        raise MalformedPacketError("a string holds U+0000")
    return decoded


def encode_variable(value: int) -> bytes:
    """`value` from 0 to 268,435,455 in 1 to 4 bytes."""
    if value < 0x80:
        return bytes((value,))
    if value > MAX_VARIABLE_BYTE_INTEGER:
        raise InvalidArgumentError(f"{value} is more than a variable byte integer holds")
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_string(value: str) -> bytes:
    """Two bytes of length, then UTF-8; InvalidArgumentError where that cannot be."""
    try:
        raw = value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"{value!r} holds lone surrogates") from error
    if 0 in raw:
        raise InvalidArgumentError(f"{value!r} holds U+0000")
    if len(raw) > MAX_STRING_BYTES:
        raise InvalidArgumentError(f"a string of {len(raw)} bytes; {MAX_STRING_BYTES} is the most")
    return TWO_BYTES.pack(len(raw)) + raw


def encode_binary(value: bytes) -> bytes:
    if len(value) > MAX_STRING_BYTES:
        raise InvalidArgumentError(
            f"{len(value)} bytes of binary data; {MAX_STRING_BYTES} is the most"
        )
    return TWO_BYTES.pack(len(value)) + value
