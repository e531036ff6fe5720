"""What must hold of any input: the checks behind the fuzz targets in Python."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from noctule.config import Configuration, ConfigurationError, load_options
from noctule.protocol import (
    Version,
    check_from_client,
    check_from_server,
    decode_packet,
    encode_packet,
)
from noctule.protocol.errors import InvalidTopicError, ProtocolError
from noctule.protocol.packets import Connect, Packet, Subscribe, Unsubscribe


def check_codec(data: bytes) -> None:
    """The codec takes it and writes it again as the same, or refuses it as the peer's fault.

    The first byte chooses the version, the rest is a packet.
    """
    if not data:
        return
    version = Version(3 + data[0] % 3)
    try:
        packet = decode_packet(version, data[1:])
    except ProtocolError as error:
        assert error.reason_code >= 0x80
        return
    if isinstance(packet, Connect):
        version = packet.version
    if not any(
        may_send(check, version, packet) for check in (check_from_client, check_from_server)
    ):
        # The encoder may refuse to write what nobody may send.
        return
    try:
        encoded = encode_packet(version, packet)
    except InvalidTopicError:
        # Filters are for the session to judge when they come in, which answers 0x8F.
        if isinstance(packet, Subscribe | Unsubscribe):
            return
        raise
    assert len(encoded) <= len(data) - 1
    assert decode_packet(version, encoded) == packet
    assert encode_packet(version, decode_packet(version, encoded)) == encoded


def may_send(check: Callable[[int, Packet], None], version: Version, packet: Packet) -> bool:
    """Whether one side may send it; the other side's fault if not."""
    try:
        check(version, packet)
    except ProtocolError as error:
        assert error.reason_code >= 0x80
        return False
    return True


def check_config(data: bytes) -> None:
    """A file is a configuration, or every problem in it has a key or a place and a text."""
    file = scratch()
    file.write_bytes(data)
    try:
        configuration = load_options(file)
    except ConfigurationError as error:
        assert error.problems
        assert all(str(problem) for problem in error.problems)
        assert str(error)
        return
    assert isinstance(configuration, Configuration)


@cache
def scratch() -> Path:
    """One file for all inputs."""
    return Path(tempfile.mkdtemp(prefix="noctule-fuzz-")) / "noctule.toml"
