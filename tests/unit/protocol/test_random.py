"""The codec and the session on packets and bytes that nobody has thought of.

NOCTULE_EXAMPLES says how many of each kind (20,000 in the nightly run).
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noctule.protocol import (
    ClientSession,
    ReasonCode,
    SessionOptions,
    Version,
    decode_packet,
    encode_packet,
)
from noctule.protocol.errors import InvalidTopicError, ProtocolError
from noctule.protocol.events import Disconnected
from noctule.protocol.message import Message
from noctule.protocol.packets import Connack, Publish
from noctule.protocol.session import Phase
from tests.unit.protocol import strategies
from tests.unit.protocol.serving import Server, only
from tests.unit.protocol.vectors import described

EXAMPLES = int(os.environ.get("NOCTULE_EXAMPLES", "200"))
examples = settings(max_examples=EXAMPLES, deadline=None)


@examples
@given(st.data())
def test_what_is_encoded_is_decoded(data: st.DataObject) -> None:
    version = data.draw(strategies.versions)
    packet = data.draw(strategies.packets(version))
    encoded = encode_packet(version, packet)
    assert decode_packet(version, encoded) == packet
    for end in {0, 1, len(encoded) // 2, len(encoded) - 1}:
        with pytest.raises(ProtocolError):
            decode_packet(version, encoded[:end])


@examples
@given(st.one_of(strategies.damaged(), strategies.random_bytes))
def test_decoder_refuses_or_understands_and_nothing_else(case: tuple[int, bytes]) -> None:
    version, data = case
    try:
        packet = decode_packet(version, data)
    except ProtocolError as error:
        assert isinstance(error.reason_code, ReasonCode)  # noqa: PT017
        return
    try:
        again = encode_packet(version, packet)
    except InvalidTopicError:
        return  # The syntax of filters is the server's to judge, not the decoder's.
    assert decode_packet(version, again) == packet


@examples
@given(
    st.sampled_from([4, 5]),
    st.lists(st.one_of(strategies.damaged(), strategies.random_bytes), max_size=4),
    st.integers(1, 50),
)
def test_session_survives_all_that_a_server_may_send(
    version: int, cases: list[tuple[int, bytes]], size: int
) -> None:
    """It goes on, or it ends the connection with an event; it never raises."""
    session = ClientSession(SessionOptions(version=Version(version)))
    session.connect(0.0)
    session.receive_data(encode_packet(version, Connack(False, 0)), 0.0)
    stream = b"".join(data for _, data in cases)
    for at in range(0, len(stream), size):
        session.receive_data(stream[at : at + size], 0.0)
        for event in session.events():
            if isinstance(event, Message):
                session.acknowledge(event)
        session.data_to_send(0.0)
    assert session.phase in (Phase.CONNECTED, Phase.ENDING)


@examples
@given(st.data())
def test_quick_way_reads_messages_as_the_decoder_does(data: st.DataObject) -> None:
    """A session parses PUBLISH by itself: in any order, in any pieces, with the same result."""
    version = data.draw(st.sampled_from(list(Version)))
    kinds = data.draw(st.lists(strategies.publishes(version), min_size=1, max_size=4))
    plain = [p for p in kinds if not any(i.name == "TOPIC_ALIAS" for i, _ in p.properties)]
    order = data.draw(st.lists(st.sampled_from(plain), max_size=12)) if plain else []
    sent = [
        Publish(p.topic, p.payload, p.qos, p.retain, False, n + 1 if p.qos else 0, p.properties)
        for n, p in enumerate(order)
    ]
    stream = b"".join(encode_packet(version, packet) for packet in sent)
    server = Server(version=version)
    server.accept()
    at = 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream)))
        server.send_bytes(stream[at : at + size])
        at += size
    assert not only(Disconnected, server.events)
    assert [
        (m.topic, m.payload, m.qos, m.retain, m.packet_identifier, m.properties)
        for m in only(Message, server.events)
    ] == [(p.topic, p.payload, p.qos, p.retain, p.packet_identifier, p.properties) for p in sent]


# --- Against the engine's codec -------------------------------------------------------


def answers(version: int, data: bytes) -> tuple[Any, Any]:
    """What this codec and the engine's make of the bytes; None for a refusal."""
    engine = pytest.importorskip("noctule._engine", reason="the engine is not built")
    ours = theirs = None
    with suppress(ProtocolError):
        ours = described(decode_packet(version, data))
    with suppress(engine.DecodeError):
        theirs = json.loads(engine.decode(version, data))
    return ours, theirs


@examples
@given(st.one_of(strategies.damaged(), strategies.random_bytes))
def test_both_codecs_give_one_answer(case: tuple[int, bytes]) -> None:
    version, data = case
    ours, theirs = answers(version, data)
    assert ours == theirs


@examples
@given(st.data())
def test_both_codecs_read_every_valid_packet(data: st.DataObject) -> None:
    version = data.draw(strategies.versions)
    encoded = encode_packet(version, data.draw(strategies.packets(version)))
    ours, theirs = answers(version, encoded)
    assert ours is not None
    assert ours == theirs
