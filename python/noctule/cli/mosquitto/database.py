"""mosquitto.db, as Mosquitto 1.6 (format 5) and 2.x (format 6) write it.

A file is 15 bytes of magic, a checksum that is always 0, the number of the format, and then
chunks: a type and a length of four bytes each, a fixed part as the C structure lies in memory,
padding included, and texts without their lengths. Integers of 16 and 32 bits are big-endian,
those of 64 bits as the machine has them that wrote the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from noctule.protocol import Properties
from noctule.protocol._tables import PropertySection
from noctule.protocol.errors import NoctuleError
from noctule.protocol.properties import NO_PROPERTIES, decode_properties

__all__ = [
    "Client",
    "ClientMessage",
    "Database",
    "DatabaseError",
    "Direction",
    "State",
    "StoredMessage",
    "Subscription",
    "read_database",
]

MAGIC = b"\x00\xb5\x00mosquitto db"
FORMATS = (5, 6)
PREAMBLE = struct.Struct(">II")


class DatabaseError(Exception):
    """A file that is none of Mosquitto's, or is damaged; the text says where."""


class Chunk(IntEnum):
    """What a chunk holds."""

    CONFIGURATION = 1
    STORED_MESSAGE = 2
    CLIENT_MESSAGE = 3
    RETAINED = 4
    SUBSCRIPTION = 5
    CLIENT = 6


class Direction(IntEnum):
    """Which way a message goes, seen from the broker."""

    IN = 0
    OUT = 1


class State(IntEnum):
    """How far a message has come; the names say what is to be done, or waited for, next."""

    INVALID = 0
    PUBLISH_QOS_0 = 1
    PUBLISH_QOS_1 = 2
    WAIT_FOR_PUBACK = 3
    PUBLISH_QOS_2 = 4
    WAIT_FOR_PUBREC = 5
    RESEND_PUBREL = 6
    WAIT_FOR_PUBREL = 7
    RESEND_PUBCOMP = 8
    WAIT_FOR_PUBCOMP = 9
    SEND_PUBREC = 10
    QUEUED = 11


class Client(NamedTuple):
    """A session. `expires_at` is in seconds since 1970; 0 for one that is connected or stays."""

    identifier: str
    user_name: str | None
    expires_at: int
    expiry_seconds: int


class Subscription(NamedTuple):
    """What a client has subscribed to; `options` is the byte of SUBSCRIBE without the QoS."""

    client: str
    topic_filter: str
    qos: int
    options: int
    identifier: int


class StoredMessage(NamedTuple):
    """A message, which several clients may wait for.

    `expires_at` is in seconds since 1970; 0 is never.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    expires_at: int
    properties: Properties
    client: str


class ClientMessage(NamedTuple):
    """A message on its way to or from a client."""

    client: str
    store_id: int
    packet_identifier: int
    qos: int
    state: State
    retain: bool
    dup: bool
    direction: Direction
    properties: Properties


class Database:
    """All that a file holds, in its order."""

    def __init__(self) -> None:
        self.format = 0
        self.clients: list[Client] = []
        self.subscriptions: list[Subscription] = []
        self.messages: dict[int, StoredMessage] = {}
        self.client_messages: list[ClientMessage] = []
        self.retained: list[int] = []


def read_database(path: Path) -> Database:
    """Reads a file; DatabaseError where it is none or is damaged, OSError where it cannot be."""
    data = path.read_bytes()
    try:
        return _Reader(data).read()
    except DatabaseError as error:
        raise DatabaseError(f"{path}: {error}") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._database = Database()
        # Order of the 64-bit numbers; the first chunk shows it.
        self._wide = "<"
        self._take: dict[int, Callable[[_Part], None]] = {
            Chunk.STORED_MESSAGE: self._stored_message,
            Chunk.CLIENT_MESSAGE: self._client_message,
            Chunk.RETAINED: self._retained,
            Chunk.SUBSCRIPTION: self._subscription,
            Chunk.CLIENT: self._client,
            Chunk.CONFIGURATION: self._configuration,
        }

    def read(self) -> Database:
        begin = len(MAGIC) + PREAMBLE.size
        if self._data[: len(MAGIC)] != MAGIC or len(self._data) < begin:
            raise DatabaseError("it is no database of Mosquitto")
        _, number = PREAMBLE.unpack_from(self._data, len(MAGIC))
        if number not in FORMATS:
            raise DatabaseError(
                f"it has format {number}, and formats 5 and 6 can be read: let Mosquitto 2 load "
                "and save it once"
            )
        self._database.format = number
        for kind, part in self._chunks(begin):
            take = self._take.get(kind)
            if take is None:
                raise DatabaseError(f"byte {part.begin}: there is no chunk of type {kind}")
            try:
                take(part)
            except (struct.error, ValueError, NoctuleError) as error:
                raise DatabaseError(f"byte {part.begin}: {error}") from error
        return self._database

    def _chunks(self, offset: int) -> Iterator[tuple[int, _Part]]:
        while offset < len(self._data):
            if offset + PREAMBLE.size > len(self._data):
                raise DatabaseError(f"byte {offset}: the file ends within a chunk")
            kind, length = PREAMBLE.unpack_from(self._data, offset)
            begin = offset + PREAMBLE.size
            offset = begin + length
            if offset > len(self._data):
                raise DatabaseError(f"byte {begin}: the file ends within a chunk")
            yield kind, _Part(self._data, begin, offset)

    def _configuration(self, part: _Part) -> None:
        """Holds the last number of a message, which is small in the right order of bytes."""
        raw = part.take(8)
        if int.from_bytes(raw, "big") < int.from_bytes(raw, "little"):
            self._wide = ">"

    def _client(self, part: _Part) -> None:
        expires_at = part.wide(self._wide)
        expiry_seconds, _last_identifier, length = part.unpack(">IHH")
        user_length = 0
        if self._database.format == 6:
            _listener_port, user_length = part.unpack(">HH4x")
        identifier = part.text(length)
        user_name = part.text(user_length) or None
        client = Client(identifier, user_name, expires_at, expiry_seconds)
        self._database.clients.append(client)

    def _stored_message(self, part: _Part) -> None:
        store_id, expires_at = part.wide(self._wide), part.wide(self._wide)
        payload_length, _identifier, client_length, user_length, topic_length, _port = part.unpack(
            ">IHHHHH"
        )
        qos, retain = part.unpack("BB")
        client = part.text(client_length)
        part.text(user_length)
        topic = part.text(topic_length)
        payload = part.take(payload_length)
        self._database.messages[store_id] = StoredMessage(
            topic,
            payload,
            _checked_qos(qos),
            bool(retain),
            expires_at,
            part.properties(PropertySection.PUBLISH),
            client,
        )

    def _client_message(self, part: _Part) -> None:
        store_id = part.wide(self._wide)
        packet_identifier, length = part.unpack(">HH")
        qos, state, retain_dup, direction = part.unpack("BBBB")
        self._database.client_messages.append(
            ClientMessage(
                part.text(length),
                store_id,
                packet_identifier,
                _checked_qos(qos),
                State(state),
                bool(retain_dup & 0xF0),
                bool(retain_dup & 0x0F),
                Direction(direction),
                part.properties(PropertySection.PUBLISH),
            )
        )

    def _retained(self, part: _Part) -> None:
        self._database.retained.append(part.wide(self._wide))

    def _subscription(self, part: _Part) -> None:
        identifier, client_length, topic_length = part.unpack(">IHH")
        qos, options = part.unpack("BB2x")
        client = part.text(client_length)
        topic_filter = part.text(topic_length)
        self._database.subscriptions.append(
            Subscription(client, topic_filter, _checked_qos(qos), options, identifier)
        )


class _Part:
    """The bytes of a chunk, taken from the front."""

    def __init__(self, data: bytes, begin: int, end: int) -> None:
        self.begin = begin
        self._data = data
        self._offset = begin
        self._end = end

    def take(self, count: int) -> bytes:
        if self._offset + count > self._end:
            raise ValueError("a chunk is shorter than what it holds")
        taken = self._data[self._offset : self._offset + count]
        self._offset += count
        return taken

    def unpack(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def wide(self, order: str) -> int:
        return self.unpack(f"{order}q")[0]

    def text(self, length: int) -> str:
        return self.take(length).decode()

    def properties(self, section: PropertySection) -> Properties:
        """What is left: nothing, or a property section with its length before it."""
        if self._offset == self._end:
            return NO_PROPERTIES
        rest = self.take(self._end - self._offset)
        properties, _ = decode_properties(section, rest, 0, len(rest))
        return properties


def _checked_qos(qos: int) -> int:
    if qos > 2:
        raise ValueError(f"there is no QoS {qos}")
    return qos
