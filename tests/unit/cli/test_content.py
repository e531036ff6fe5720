"""What a payload is taken for, and how it is shown."""

import json
import struct
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noctule.cli.messages.cbor import decode_cbor
from noctule.cli.messages.content import content_of
from noctule.cli.messages.eyes import Eyes, folded, summary
from noctule.cli.messages.format import Arrival
from noctule.cli.messages.message_pack import decode_message_pack
from noctule.cli.terminal import clipped, printable, width_of
from noctule.protocol import Message, Properties, PropertyId
from noctule.protocol.message import MessageHeader


def message(payload: bytes, content_type: str | None = None) -> Message:
    pairs = [] if content_type is None else [(PropertyId.CONTENT_TYPE, content_type)]
    return Message("t", payload, MessageHeader(0, Properties(pairs)))


# Examples of RFC 8949, appendix A.
@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("00", 0),
        ("1818", 24),
        ("1bffffffffffffffff", 18_446_744_073_709_551_615),
        ("3863", -100),
        ("f93c00", 1.0),
        ("fa47c35000", 100_000.0),
        ("fb3ff199999999999a", 1.1),
        ("f4", False),
        ("f6", None),
        ("f0", "simple(16)"),
        ("c074323031332d30332d32315432303a30343a30305a", "2013-03-21T20:04:00Z"),
        ("4401020304", "h'01020304'"),
        ("62c3bc", "ü"),
        ("8301820203820405", [1, [2, 3], [4, 5]]),
        ("a201020304", {"1": 2, "3": 4}),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("7f657374726561646d696e67ff", "streaming"),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
    ],
)
def test_cbor(data: str, value: object) -> None:
    assert decode_cbor(bytes.fromhex(data)) == value
    for end in range(len(data) // 2):
        with pytest.raises(ValueError):
            decode_cbor(bytes.fromhex(data)[:end])


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("00", 0),
        ("ff", -1),
        ("c0", None),
        ("c3", True),
        ("cd0100", 256),
        ("d1ff00", -256),
        ("cb3ff199999999999a", 1.1),
        ("a3616263", "abc"),
        ("d903616263", "abc"),
        ("c403010203", "h'010203'"),
        ("93010203", [1, 2, 3]),
        ("dc0002c2c0", [False, None]),
        ("82a16101a16202", {"a": 1, "b": 2}),
        ("de0001a16101", {"a": 1}),
        ("d60500000001", "ext(5) h'00000001'"),
    ],
)
def test_message_pack(data: str, value: object) -> None:
    assert decode_message_pack(bytes.fromhex(data)) == value
    for end in range(len(data) // 2):
        with pytest.raises(ValueError):
            decode_message_pack(bytes.fromhex(data)[:end])


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_decoders_refuse_or_return(data: bytes) -> None:
    for decode in (decode_cbor, decode_message_pack):
        with suppress(ValueError):
            decode(data)


@pytest.mark.parametrize("data", [b"\x81" * 10_000 + b"\x00", b"\x9b" + b"\xff" * 8])
def test_deep_and_long_cbor_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_cbor(data)


PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 640, 480)
JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08" + struct.pack(">HH", 480, 640)


@pytest.mark.parametrize(
    ("payload", "content_type", "kind", "value"),
    [
        (b"", None, "empty", ""),
        (b"21.5", None, "text", "21.5"),
        (b'{"a": 1}', None, "json", {"a": 1}),
        (b"{no json", None, "text", "{no json"),
        (b"\xff\xfe", None, "binary", b"\xff\xfe"),
        (b"a\0b", None, "binary", b"a\0b"),
        (PNG, None, "image", "png 640\u00d7480, 24 B"),
        (JPEG, "image/jpeg", "image", f"jpeg 640\u00d7480, {len(JPEG)} B"),
        (b"GIF89a" + struct.pack("<HH", 3, 4), "image/gif", "image", "gif 3\u00d74, 10 B"),
        (b"?", "image/webp", "image", "webp, 1 B"),
        (b"<svg/>", "image/svg+xml", "text", "<svg/>"),
        (b"\xa1\x61a\x01", "application/cbor", "json", {"a": 1}),
        (b"\x81\xa1a\x01", "application/msgpack; x=y", "json", {"a": 1}),
        (b"\xff", "application/cbor", "binary", b"\xff"),
    ],
)
def test_kinds(payload: bytes, content_type: str | None, kind: str, value: object) -> None:
    content = content_of(message(payload, content_type))
    assert (content.kind, content.value) == (kind, value)


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from((None, "image/png", "image/jpeg", "image/gif")))
def test_anything_is_shown_without_control_characters(data: bytes, content_type: str) -> None:
    given = message(data, content_type)
    arrival = Arrival(0, time.gmtime(0))
    for text in (Eyes().lines(given, arrival).decode(), summary(given, 40)):
        assert text.replace("\n", "").isprintable()
    assert width_of(summary(given, 40)) <= 40


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(JSON, st.integers(20, 80))
def test_folded_json_is_the_same_json(value: object, width: int) -> None:
    lines = folded(value, width)
    if all("\\x" not in line and "\\u" not in line and "\\U" not in line for line in lines):
        assert json.loads("\n".join(lines)) == value


@settings(deadline=None)
@given(st.text(max_size=30), st.integers(1, 20))
def test_clipped_text_has_room(text: str, width: int) -> None:
    assert width_of(clipped(printable(text), width)) <= width


def test_no_topic_is_obeyed_by_a_terminal() -> None:
    evil = Message("evil/\x1b[2J\x9bt", b"", MessageHeader(0, Properties([])))
    line = Eyes().lines(evil, Arrival(0, time.gmtime(0))).decode()
    assert "evil/" in line
    assert "\x1b[2J" not in line
    assert "\x9b" not in line
