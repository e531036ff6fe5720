"""CBOR, RFC 8949, into what JSON can show. For eyes alone: tags are dropped."""

from __future__ import annotations

import struct
from base64 import b16encode
from typing import Any

__all__ = ["decode_cbor"]

MAX_DEPTH = 64
BREAK = object()
SIMPLE = {20: False, 21: True, 22: None, 23: None}
FLOATS = {25: ">e", 26: ">f", 27: ">d"}


def decode_cbor(data: bytes) -> Any:
    """The one item that `data` holds; ValueError where it holds none or more."""
    try:
        value, offset = _item(data, 0, MAX_DEPTH)
    except (IndexError, struct.error) as error:
        raise ValueError("the data ends too early") from error
    if value is BREAK or offset != len(data):
        raise ValueError("not one item")
    return value


def _item(data: bytes, offset: int, depth: int) -> tuple[Any, int]:
    if not depth:
        raise ValueError("too deep")
    major, low = data[offset] >> 5, data[offset] & 0x1F
    if major == 7:
        return _simple(data, offset + 1, low)
    if low == 31:
        return _indefinite(data, offset + 1, major, depth)
    count, offset = _argument(data, offset + 1, low)
    match major:
        case 0:
            return count, offset
        case 1:
            return -1 - count, offset
        case 2 | 3:
            if offset + count > len(data):
                raise ValueError("a string runs past the end")
            piece = data[offset : offset + count]
            return (_bytes(piece) if major == 2 else piece.decode()), offset + count
        case 4:
            items = []
            for _ in range(count):
                value, offset = _item(data, offset, depth - 1)
                items.append(value)
            return items, offset
        case 5:
            return _map(data, offset, count, depth)
        case _:
            return _item(data, offset, depth - 1)


def _argument(data: bytes, offset: int, low: int) -> tuple[int, int]:
    if low < 24:
        return low, offset
    if low > 27:
        raise ValueError(f"additional information {low}")
    size = 1 << low - 24
    return int.from_bytes(data[offset : offset + size]), offset + size


def _map(data: bytes, offset: int, count: int, depth: int) -> tuple[dict[str, Any], int]:
    found = {}
    for _ in range(count):
        key, offset = _item(data, offset, depth - 1)
        value, offset = _item(data, offset, depth - 1)
        found[key if isinstance(key, str) else repr(key)] = value
    return found, offset


def _indefinite(data: bytes, offset: int, major: int, depth: int) -> tuple[Any, int]:
    items: list[Any] = []
    while True:
        value, offset = _item(data, offset, depth - 1)
        if value is BREAK:
            break
        items.append(value)
    match major:
        case 2 | 3:
            return "".join(items), offset
        case 4:
            return items, offset
        case 5 if len(items) % 2 == 0:
            keys = (key if isinstance(key, str) else repr(key) for key in items[::2])
            return dict(zip(keys, items[1::2], strict=True)), offset
        case _:
            raise ValueError("a length that is missing")


def _simple(data: bytes, offset: int, low: int) -> tuple[Any, int]:
    if low in SIMPLE:
        return SIMPLE[low], offset
    if low in FLOATS:
        form = FLOATS[low]
        return struct.unpack_from(form, data, offset)[0], offset + struct.calcsize(form)
    if low == 31:
        return BREAK, offset
    if low == 24:
        return f"simple({data[offset]})", offset + 1
    return f"simple({low})", offset


def _bytes(data: bytes) -> str:
    return f"h'{b16encode(data).decode().lower()}'"
