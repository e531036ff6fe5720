"""What a payload is: its content type says it, or else its bytes do."""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple

from noctule.cli.terminal import human_bytes
from noctule.protocol import Message

__all__ = ["Content", "Kind", "content_of"]

Kind = str
"""empty, text, json, image or binary."""

CBOR = ("application/cbor", "application/senml+cbor", "application/cbor-seq")
PNG = b"\x89PNG\r\n\x1a\n"
MESSAGE_PACK = (
    "application/msgpack",
    "application/x-msgpack",
    "application/vnd.msgpack",
    "application/messagepack",
)


class Content(NamedTuple):
    """The kind, and what it is to be shown as: text, or a value of JSON's kinds."""

    kind: Kind
    value: Any
    label: str = ""


def content_of(message: Message) -> Content:
    """Looks at the payload of a message."""
    payload = message.payload
    if not payload:
        return Content("empty", "")
    declared = (message.content_type or "").partition(";")[0].strip().lower()
    if declared in CBOR:
        from noctule.cli.messages.cbor import decode_cbor

        return _decoded("CBOR", decode_cbor, payload)
    if declared in MESSAGE_PACK:
        from noctule.cli.messages.message_pack import decode_message_pack

        return _decoded("MessagePack", decode_message_pack, payload)
    is_picture = declared.startswith("image/") or payload[:8] == PNG
    if is_picture and declared != "image/svg+xml":
        return Content("image", _image(declared, payload))
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return Content("binary", payload)
    if any(ord(character) < 32 and character not in "\t\n\r\x1b" for character in text):
        return Content("binary", payload)
    if text.lstrip()[:1] in ("{", "["):
        try:
            return Content("json", json.loads(text))
        except (ValueError, RecursionError):
            pass  # It only looked so.
    return Content("text", text)


def _decoded(label: str, decode: Any, payload: bytes) -> Content:
    try:
        return Content("json", decode(payload), label)
    except ValueError:
        return Content("binary", payload, f"no {label}")


def _image(declared: str, payload: bytes) -> str:
    kind = declared.removeprefix("image/") or "png"
    size = _dimensions(payload)
    pixels = f" {size[0]}×{size[1]}" if size else ""  # noqa: RUF001
    return f"{kind}{pixels}, {human_bytes(len(payload))}"


def _dimensions(data: bytes) -> tuple[int, int] | None:
    """Width and height of PNG, GIF, BMP and JPEG; None for others and for broken ones."""
    try:
        if data[:8] == PNG:
            return struct.unpack_from(">II", data, 16)
        if data[:6] in (b"GIF87a", b"GIF89a"):
            return struct.unpack_from("<HH", data, 6)
        if data[:2] == b"BM":
            return struct.unpack_from("<ii", data, 18)
        if data[:2] == b"\xff\xd8":
            return _jpeg_dimensions(data)
    except (struct.error, IndexError):
        pass
    return None


def _jpeg_dimensions(data: bytes) -> tuple[int, int] | None:
    """From the frame header, which comes behind other segments (ITU-T T.81, B.2.2)."""
    offset = 2
    while data[offset] == 0xFF:
        marker, length = struct.unpack_from(">xBH", data, offset)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, offset + 5)
            return width, height
        offset += 2 + length
    return None
