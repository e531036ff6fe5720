"""The codec against the shared wire vectors."""

from __future__ import annotations

from typing import Any

import pytest

from noctule.protocol import (
    check_from_client,
    check_from_server,
    decode_packet,
    encode_packet,
)
from noctule.protocol.errors import ProtocolError
from tests.unit.protocol.vectors import described, vectors, wire

VALID = vectors(True)
INVALID = [row for row in vectors(False) if row["level"] != "state"]


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


@pytest.mark.parametrize("row", VALID, ids=ids(VALID))
def test_decoder_reads_valid_packets(row: dict[str, Any]) -> None:
    data = wire(row)
    packet = decode_packet(row["ver"], data)
    check_sender(row, packet)
    assert described(packet, row["packet"]) == row["packet"]


@pytest.mark.parametrize("row", VALID, ids=ids(VALID))
def test_encoder_writes_what_was_read(row: dict[str, Any]) -> None:
    data = wire(row)
    packet = decode_packet(row["ver"], data)
    again = encode_packet(row["ver"], packet)
    assert decode_packet(row["ver"], again) == packet
    assert len(again) <= len(data)


def test_decoder_ignores_dup_at_qos_0_in_3_1() -> None:
    packet = decode_packet(3, b"\x38\x04\x00\x01tp")
    assert encode_packet(3, packet) == b"\x30\x04\x00\x01tp"


@pytest.mark.parametrize("row", VALID, ids=ids(VALID))
def test_decoder_refuses_every_truncation(row: dict[str, Any]) -> None:
    data = wire(row)
    for end in range(min(len(data), 300)):
        with pytest.raises(ProtocolError):
            decode_packet(row["ver"], data[:end])


@pytest.mark.parametrize("row", INVALID, ids=ids(INVALID))
def test_decoder_refuses_faulty_packets(row: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        check_sender(row, decode_packet(row["ver"], wire(row)))
    if row["codes"]:
        assert caught.value.reason_code in row["codes"]


def check_sender(row: dict[str, Any], packet: Any) -> None:
    if row["from"] == "client":
        check_from_client(row["ver"], packet)
    elif row["from"] == "server":
        check_from_server(row["ver"], packet)
