"""Records: what is written can be read, and nothing else."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noctule.cli.messages.record import RecordError, dump, load
from noctule.protocol import Message, Properties, PropertyId
from noctule.protocol.message import MessageHeader

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
PROPERTIES = st.lists(
    st.one_of(
        st.tuples(st.just(PropertyId.CONTENT_TYPE), TEXT),
        st.tuples(st.just(PropertyId.CORRELATION_DATA), st.binary(max_size=20)),
        st.tuples(st.just(PropertyId.MESSAGE_EXPIRY_INTERVAL), st.integers(0, 0xFFFF_FFFF)),
    ),
    unique_by=lambda pair: pair[0],
)
USER_PROPERTIES = st.lists(
    st.tuples(st.just(PropertyId.USER_PROPERTY), st.tuples(TEXT, TEXT)), max_size=3
)


@settings(deadline=None)
@given(TEXT, st.binary(), st.sampled_from((0, 2, 4)), st.booleans(), PROPERTIES, USER_PROPERTIES)
def test_round_trip(
    topic: str,
    payload: bytes,
    qos: int,
    retain: bool,
    properties: list[tuple[PropertyId, object]],
    user: list[tuple[PropertyId, object]],
) -> None:
    pairs = Properties([*properties, *user])  # type: ignore[list-item]
    line = dump(Message(topic, payload, MessageHeader(qos | retain, pairs), 1), 12.5)
    assert "\n" not in line
    record = load(line)
    assert record == (12.5, topic, payload, qos >> 1, retain, pairs)


def test_what_belongs_to_the_connection_is_left_out() -> None:
    pairs = Properties([(PropertyId.TOPIC_ALIAS, 3), (PropertyId.SUBSCRIPTION_IDENTIFIER, 4)])
    line = dump(Message("t", b"", MessageHeader(0, pairs)), 1.0)
    assert "properties" not in json.loads(line)


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        "1",
        '{"topic": "t", "payload": ""}',
        '{"time": 1, "payload": ""}',
        '{"time": 1, "topic": "t"}',
        '{"time": "soon", "topic": "t", "payload": ""}',
        '{"time": 1, "topic": 2, "payload": ""}',
        '{"time": 1, "topic": "t", "payload": 5}',
        '{"time": 1, "topic": "t", "payload_base64": "?"}',
        '{"time": 1, "topic": "t", "payload": "", "qos": 3}',
        '{"time": 1, "topic": "t", "payload": "", "properties": {"nonsense": 1}}',
        '{"time": 1, "topic": "t", "payload": "", "properties": {"content-type": 1}}',
        '{"time": 1, "topic": "t", "payload": "", "properties": {"user-property": [1]}}',
    ],
)
def test_lines_that_are_no_records(line: str) -> None:
    with pytest.raises(RecordError):
        load(line)
