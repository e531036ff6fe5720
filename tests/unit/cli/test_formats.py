"""-F, %j and %J, apart from what the differential test compares."""

import json
import time

import pytest

from noctule.cli.flags.settings import UsageError
from noctule.cli.messages.format import Arrival, compile_format
from noctule.protocol import Message, Properties, PropertyId
from noctule.protocol.message import MessageHeader

NANOSECONDS = 1_470_818_943_786_368_637
ARRIVAL = Arrival(NANOSECONDS, time.gmtime(NANOSECONDS // 1_000_000_000))


def message(
    payload: bytes = b"payload", flags: int = 0, *pairs: tuple[PropertyId, object]
) -> Message:
    header = MessageHeader(flags, Properties(pairs))  # type: ignore[arg-type]
    return Message("topic/name", payload, header, 9 if flags & 6 else 0)


def formatted(text: str, given: Message | None = None, *, is_pretty: bool = False) -> bytes:
    return compile_format(text, is_pretty=is_pretty)(given or message(), ARRIVAL)


def test_times() -> None:
    assert formatted("%U") == b"1470818943.786368637"
    assert formatted("@Y-@m-@d @H:@M:@S.@N @@") == b"2016-08-10 08:49:03.786368637 @"
    assert formatted("%.10I|%12.10I|%-12.10I|") == b"2016-08-10|  2016-08-10|2016-08-10  |"


def test_time_of_json_has_microseconds_and_zone() -> None:
    stamp = json.loads(formatted("%j"))["tst"]
    assert stamp[:26] == "2016-08-10T08:49:03.786368"
    assert stamp[26:] in ("+0000", "")


def test_hexadecimal_width_leaves_nothing_out_that_has_room() -> None:
    """Mosquitto's tools print half of the bytes here."""
    given = message(b"\x01\x02\xff")
    assert formatted("%20x|%-20x|", given) == b"              0102ff|0102ff              |"
    assert formatted("%010X|%4x", given) == b"00000102FF|0102"


def test_topic_alias_is_the_one_on_the_wire() -> None:
    given = message(b"", 0, (PropertyId.TOPIC_ALIAS, 5))
    assert formatted("%A %3A", given) == b"5   5"


def test_payload_bytes_go_through_as_they_are() -> None:
    assert formatted("%p", message(b"\xff\x00")) == b"\xff\x00"
    assert formatted("%j", message(b"\xff\x00\x1f")).endswith(b'"payload":"\xff\\u0000\\u001f"}')


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "1 2", "{", "\xff", "[" * 100_000])
def test_payload_that_is_no_json(text: str) -> None:
    complaints: list[str] = []
    form = compile_format("%t %J|", complain=complaints.append)
    assert form(message(text.encode("latin-1")), ARRIVAL) == b"topic/name |"
    assert complaints == ["the payload is no JSON on topic topic/name"]


def test_large_numbers_keep_their_digits() -> None:
    assert b"12345678901234567890" in formatted("%J", message(b"[12345678901234567890]"))


def test_json_is_json() -> None:
    given = message(
        'é"\\\n'.encode(),
        2,
        (PropertyId.USER_PROPERTY, ("a", "b")),
        (PropertyId.CORRELATION_DATA, b"corr"),
        (PropertyId.USER_PROPERTY, ("c", "d")),
        (PropertyId.MESSAGE_EXPIRY_INTERVAL, 7),
    )
    for is_pretty in (False, True):
        read = json.loads(formatted("%j", given, is_pretty=is_pretty))
        assert read["payload"] == 'é"\\\n'
        assert read["mid"] == 9
        assert read["properties"] == {
            "user-properties": {"a": "b", "c": "d"},
            "correlation-data": "corr",
            "message-expiry-interval": 7,
        }


@pytest.mark.parametrize("text", ["%", "%5", "%-0", "@", "\\", "%y", "\\x", "%.3"])
def test_wrong_formats(text: str) -> None:
    with pytest.raises(UsageError):
        compile_format(text)
