"""mosquitto.db, as Mosquitto 2.0.11 has written one, its faults, and what lives on of it."""

import json
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noctule.cli.mosquitto.database import Client as SavedClient
from noctule.cli.mosquitto.database import (
    ClientMessage,
    Database,
    DatabaseError,
    Direction,
    State,
    StoredMessage,
    Subscription,
    read_database,
)
from noctule.cli.mosquitto.lines import lines_of
from noctule.cli.mosquitto.state import Kept, KeptMessage, KeptState, Queued, state_of
from noctule.protocol import Properties, PropertyId

# s1: 3.1.1, for ever, `a/#` and `b` at QoS 2. s2: 5.0, an hour, `a/+` at QoS 1 with identifier 5,
# retain as published. Both were away when a/1 (5.0, properties) and a/2 (retained) came.
WRITTEN_BY_2_0_11 = bytes.fromhex(
    "00b5006d6f7371756974746f206462000000000000000600000001000000103700000000000000000800000000"
    "0000000000020000005337000000000000000000000000000000000000090000002900000001557b0001617574"
    "6f2d30333743303046362d333032442d393931342d333833442d4639343539354133464243316272657461696e"
    "656462000000020000002f36000000000000000000000000000000000000030001000600030003557b02017075"
    "62626572626f62612f3274776f000000020000005d3500000000000000a297086b000000000000000300010029"
    "00000003557b01006175746f2d42463636463634382d363835302d324138322d303946302d4239323138303034"
    "33453834612f316f6e650d2600016b000176030003782f79000000060000001a0000000000000000ffffffff00"
    "020002557b00000000000073310000000300000012350000000000000000010002010b00017331000000030000"
    "0012360000000000000000020002020b00017331000000060000001a5aa3086b0000000000000e100002000255"
    "7b00000000000073320000000300000015350000000000000000010002010b00017332020b0500000003000000"
    "15360000000000000000020002010b10017332020b050000000500000011000000000002000302000000733161"
    "2f2300000005000000110000000500020003010800007332612f2b000000050000000f00000000000200010200"
    "00007331620000000400000008360000000000000000000004000000083700000000000000"
)
PROPERTIES = Properties([(PropertyId.USER_PROPERTY, ("k", "v")), (PropertyId.CONTENT_TYPE, "x/y")])
SAVED_AT = 1_795_724_600
HOUR = 3600


def read(data: bytes, directory: Path) -> Database:
    file = directory / "mosquitto.db"
    file.write_bytes(data)
    return read_database(file)


def test_file_of_2_0_11_is_read(tmp_path: Path) -> None:
    database = read(WRITTEN_BY_2_0_11, tmp_path)
    assert database.format == 6
    assert database.clients == [
        SavedClient("s1", None, 0, 0xFFFF_FFFF),
        SavedClient("s2", None, 1_795_728_218, HOUR),
    ]
    assert database.subscriptions == [
        Subscription("s1", "a/#", 2, 0, 0),
        Subscription("s2", "a/+", 1, 0x08, 5),
        Subscription("s1", "b", 2, 0, 0),
    ]
    assert sorted(message.topic for message in database.messages.values()) == ["a/1", "a/2", "b"]
    one = next(m for m in database.messages.values() if m.topic == "a/1")
    assert one[:6] == ("a/1", b"one", 1, False, 1_795_725_218, PROPERTIES)
    assert [(m.client, m.qos, m.state, m.retain) for m in database.client_messages] == [
        ("s1", 1, State.QUEUED, False),
        ("s1", 2, State.QUEUED, False),
        ("s2", 1, State.QUEUED, False),
        ("s2", 1, State.QUEUED, True),
    ]
    assert len(database.retained) == 2


def test_state_of_it(tmp_path: Path) -> None:
    state = state_of(read(WRITTEN_BY_2_0_11, tmp_path), SAVED_AT, SAVED_AT)
    first, second = state.sessions.values()
    assert (first.client_identifier, first.expiry_seconds) == ("s1", 0xFFFF_FFFF)
    assert first.away_since == SAVED_AT
    assert second.away_since == 1_795_728_218 - HOUR
    assert [tuple(grant) for grant in second.subscriptions] == [("a/+", 1, False, True, 5)]
    one, two = second.queue
    assert (one.message.topic, one.message.payload, one.message.properties) == (
        "a/1",
        b"one",
        PROPERTIES,
    )
    assert (one.qos, one.retain, one.stage, one.subscription_identifiers) == (
        1,
        False,
        "queued",
        (5,),
    )
    assert (two.message.topic, two.qos, two.retain) == ("a/2", 1, True)
    assert [message.topic for message in state.retained] == ["a/2", "b"]
    assert state.left == {}


def test_what_has_expired_stays_behind(tmp_path: Path) -> None:
    later = SAVED_AT + 2 * HOUR
    state = state_of(read(WRITTEN_BY_2_0_11, tmp_path), later, SAVED_AT)
    assert list(state.sessions) == ["s1"]
    assert [queued.message.topic for queued in state.sessions["s1"].queue] == ["a/2"]
    assert state.left == {"sessions that have expired": 1, "messages that have expired": 1}


def chunk(kind: int, body: bytes) -> bytes:
    return struct.pack(">II", kind, len(body)) + body


def test_format_5_of_1_6_is_read(tmp_path: Path) -> None:
    head = WRITTEN_BY_2_0_11[:19] + struct.pack(">I", 5)
    client = struct.pack("<q", 0) + struct.pack(">IHH", 60, 1, 2) + b"me"
    database = read(head + chunk(6, client), tmp_path)
    assert database.clients == [SavedClient("me", None, 0, 60)]


def test_file_of_a_big_endian_machine_is_read(tmp_path: Path) -> None:
    head = WRITTEN_BY_2_0_11[:23]
    configuration = struct.pack(">Q", 9) + b"\1\x08" + bytes(6)
    retained = struct.pack(">Q", 7)
    assert read(head + chunk(1, configuration) + chunk(4, retained), tmp_path).retained == [7]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no database of Mosquitto"),
        (b"SQLite format 3\0" * 10, "no database of Mosquitto"),
        (WRITTEN_BY_2_0_11[:19] + struct.pack(">I", 3), "it has format 3"),
        (WRITTEN_BY_2_0_11[:-1], "ends within a chunk"),
        (WRITTEN_BY_2_0_11 + chunk(9, b""), "no chunk of type 9"),
        (WRITTEN_BY_2_0_11 + chunk(4, b"abc"), "shorter than what it holds"),
    ],
)
def test_what_is_no_database_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(DatabaseError, match=said):
        read(data, tmp_path)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, len(WRITTEN_BY_2_0_11) - 1), st.integers(1, 255))
def test_damage_is_refused_or_read_but_never_raises_otherwise(
    tmp_path_factory: pytest.TempPathFactory, position: int, change: int
) -> None:
    data = bytearray(WRITTEN_BY_2_0_11)
    data[position] ^= change
    with suppress(DatabaseError):
        state_of(read(bytes(data), tmp_path_factory.getbasetemp()), SAVED_AT, SAVED_AT)


def test_qos_2_message_that_was_not_released_is_delivered_and_remembered() -> None:
    """Its publisher has PUBREC and will send PUBREL: it must not be lost, nor come twice."""
    database = Database()
    database.clients = [SavedClient(name, None, 0, 600) for name in ("from", "to", "a", "b")]
    database.subscriptions = [
        Subscription("from", "t/+", 2, 0x04, 0),
        Subscription("to", "t/#", 1, 0, 3),
        Subscription("to", "t/1", 0, 0, 4),
        Subscription("to", "other", 2, 0, 0),
        Subscription("a", "$share/g/t/#", 2, 0, 0),
        Subscription("b", "$share/g/t/#", 2, 0, 0),
    ]
    database.messages[1] = StoredMessage("t/1", b"x", 2, True, 0, Properties(), "from")
    database.client_messages = [
        ClientMessage(
            "from", 1, 77, 2, State.WAIT_FOR_PUBREL, True, False, Direction.IN, Properties()
        )
    ]
    state = state_of(database, SAVED_AT, SAVED_AT)
    assert state.sessions["from"].received == [77]
    assert state.sessions["from"].queue == []  # No local.
    (queued,) = state.sessions["to"].queue
    assert (queued.qos, queued.retain, queued.subscription_identifiers) == (1, False, (3, 4))
    shared = [len(state.sessions[name].queue) for name in ("a", "b")]
    assert sorted(shared) == [0, 1]
    assert [message.payload for message in state.retained] == [b"x"]


def test_lines_for_the_store(tmp_path: Path) -> None:
    state = state_of(read(WRITTEN_BY_2_0_11, tmp_path), SAVED_AT, SAVED_AT)
    state.sessions["s1"].received.append(5)
    lines = [json.loads(line) for line in lines_of(state)]
    kinds = [line["type"] for line in lines]
    assert kinds == [
        *("store", "session", "subscription", "subscription", "queued", "queued", "received"),
        *("session", "subscription", "queued", "queued", "retained", "retained"),
    ]
    assert lines[0]["format"] == 1
    assert lines[6] == {"type": "received", "client": "s1", "packet_identifier": 5}
    assert lines[7] == {
        "type": "session",
        "client": "s2",
        "user": None,
        "expiry_seconds": HOUR,
        "offline_since_ms": (1_795_728_218 - HOUR) * 1000,
    }
    assert lines[8] == {
        "type": "subscription",
        "client": "s2",
        "filter": "a/+",
        "qos": 1,
        "no_local": False,
        "retain_as_published": True,
        "subscription_identifier": 5,
    }
    assert lines[9] == {
        "type": "queued",
        "client": "s2",
        "qos": 1,
        "retain": False,
        "subscription_identifiers": [5],
        "message": {
            "topic": "a/1",
            "qos": 1,
            "retain": False,
            "expires_ms": 1_795_725_218_000,
            "properties": [["user_property", ["k", "v"]], ["content_type", "x/y"]],
            "payload": "one",
        },
    }


@pytest.mark.parametrize(
    ("stage", "qos", "expected"),
    [
        ("queued", 2, {"type": "queued"}),
        ("sent", 1, {"type": "queued"}),
        ("sent", 2, {"type": "queued", "packet_identifier": 9}),
        ("released", 2, {"type": "released", "packet_identifier": 9}),
    ],
)
def test_lines_of_messages_on_their_way(stage: str, qos: int, expected: dict[str, object]) -> None:
    properties = Properties([(PropertyId.CORRELATION_DATA, b"\xff")])
    message = KeptMessage("t", b"\xff", 2, False, properties, None)
    state = KeptState()
    state.sessions["c"] = Kept(SavedClient("c", "alice", 0, 600), SAVED_AT)
    state.sessions["c"].queue.append(Queued(message, qos, False, stage, 9, ()))
    _, session, line = (json.loads(line) for line in lines_of(state))
    assert session["user"] == "alice"
    kept = line.pop("message", None)
    assert {name: line.get(name) for name in ("type", "packet_identifier")} == {
        "packet_identifier": None
    } | expected
    if stage != "released":
        assert kept["payload_base64"] == "/w=="
        assert kept["properties"] == [["correlation_data", "/w=="]]


@pytest.mark.parametrize(
    ("state", "stage", "identifier"),
    [
        (State.QUEUED, "queued", 0),
        (State.PUBLISH_QOS_1, "queued", 0),
        (State.WAIT_FOR_PUBACK, "sent", 9),
        (State.WAIT_FOR_PUBREC, "sent", 9),
        (State.WAIT_FOR_PUBCOMP, "released", 9),
        (State.RESEND_PUBREL, "released", 9),
    ],
)
def test_messages_on_their_way_keep_their_identifier(
    state: State, stage: str, identifier: int
) -> None:
    database = Database()
    database.clients = [SavedClient("c", "alice", 0, 600)]
    database.messages[1] = StoredMessage("t", b"x", 2, False, 0, Properties(), "p")
    database.client_messages = [
        ClientMessage("c", 1, 9, 2, state, False, True, Direction.OUT, Properties())
    ]
    session = state_of(database, SAVED_AT, SAVED_AT).sessions["c"]
    assert session.user_name == "alice"
    assert [(q.stage, q.packet_identifier) for q in session.queue] == [(stage, identifier)]
