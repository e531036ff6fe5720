"""MessagePack into what JSON can show. For eyes alone."""

from __future__ import annotations

import struct
from typing import Any

__all__ = ["decode_message_pack"]

MAX_DEPTH = 64
CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
# First byte: format of struct and its size.
NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
# First byte: bytes of the length, and what follows it.
SIZED = {
    0xC4: (1, "bytes"),
    0xC5: (2, "bytes"),
    0xC6: (4, "bytes"),
    0xC7: (1, "extension"),
    0xC8: (2, "extension"),
    0xC9: (4, "extension"),
    0xD9: (1, "text"),
    0xDA: (2, "text"),
    0xDB: (4, "text"),
    0xDC: (2, "array"),
    0xDD: (4, "array"),
    0xDE: (2, "map"),
    0xDF: (4, "map"),
}
FIXED_EXTENSIONS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}


def decode_message_pack(data: bytes) -> Any:
    """The one value that `data` holds; ValueError where it holds none or more."""
    try:
        value, offset = _value(data, 0, MAX_DEPTH)
    except (IndexError, struct.error) as error:
        raise ValueError("the data ends too early") from error
    if offset != len(data):
        raise ValueError("more than one value")
    return value


def _value(data: bytes, offset: int, depth: int) -> tuple[Any, int]:
    if not depth:
        raise ValueError("too deep")
    first = data[offset]
    offset += 1
    if first < 0x80:
        return first, offset
    if first >= 0xE0:
        return first - 0x100, offset
    if first < 0x90:
        return _container("map", first & 0x0F, data, offset, depth)
    if first < 0xA0:
        return _container("array", first & 0x0F, data, offset, depth)
    if first < 0xC0:
        return _string("text", first & 0x1F, data, offset)
    if first in CONSTANTS:
        return CONSTANTS[first], offset
    if first in NUMBERS:
        form = NUMBERS[first]
        return struct.unpack_from(form, data, offset)[0], offset + struct.calcsize(form)
    if first in FIXED_EXTENSIONS:
        return _string("extension", FIXED_EXTENSIONS[first], data, offset)
    if first not in SIZED:
        raise ValueError(f"0x{first:02X} begins nothing")
    size, kind = SIZED[first]
    count = int.from_bytes(data[offset : offset + size])
    offset += size
    if kind in ("array", "map"):
        return _container(kind, count, data, offset, depth)
    return _string(kind, count, data, offset)


def _container(kind: str, count: int, data: bytes, offset: int, depth: int) -> tuple[Any, int]:
    items = []
    for _ in range(count if kind == "array" else 2 * count):
        item, offset = _value(data, offset, depth - 1)
        items.append(item)
    if kind == "array":
        return items, offset
    keys = (key if isinstance(key, str) else repr(key) for key in items[::2])
    return dict(zip(keys, items[1::2], strict=True)), offset


def _string(kind: str, count: int, data: bytes, offset: int) -> tuple[str, int]:
    name = ""
    if kind == "extension":
        name = f"ext({struct.unpack_from('b', data, offset)[0]}) "
        offset += 1
    end = offset + count
    if end > len(data):
        raise ValueError("a string runs past the end")
    piece = data[offset:end]
    return (piece.decode() if kind == "text" else f"{name}h'{piece.hex()}'"), end
