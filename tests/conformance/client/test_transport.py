"""MQTT over a byte stream and over WebSocket. MQTT 3.1.1 §6 and §7; MQTT 5.0 §4.2 and §6."""

from __future__ import annotations

import asyncio
import csv
import re
from pathlib import Path

import pytest
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from noctule.client import connect
from noctule.client._connection import Connection
from noctule.client._websocket import WebSocketProtocol
from noctule.client.url import Address
from noctule.protocol import Phase, SubscriptionRequest, encode_packet
from noctule.protocol.options import SessionOptions
from noctule.protocol.packets import Connack, Publish
from noctule.protocol.session import ClientSession
from tests.unit.client.scripted import scripted

statement = pytest.mark.statement
STATEMENTS = Path(__file__).parents[1] / "statements"


@statement("MQTT311", "MQTT-7.1.2-1", "MQTT-7.0.0-2")
@statement("MQTT5", "MQTT-4.2-1")
async def test_client_speaks_over_an_ordered_lossless_byte_stream() -> None:
    async with scripted() as server, connect(server.url) as client:
        for number in range(100):
            await client.enqueue("a", str(number), qos=1)
        await client.publish("a", "end", qos=1)
        sent = [p.payload for p in server.peers[0].seen if isinstance(p, Publish)]
        assert sent == [*(b"%d" % number for number in range(100)), b"end"]


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Owner:
    def handle_events(self, events: object) -> None: ...

    def handle_end(self, error: Exception | None) -> None: ...

    def before_flush(self) -> None: ...


class Wire:
    """A client's WebSocket and the server's end of it, in memory."""

    def __init__(self) -> None:
        self.session = ClientSession(SessionOptions(client_identifier="a"))
        self.connection = Connection(self.session, Owner())
        self.opening = asyncio.get_running_loop().create_future()
        self.client = WebSocketProtocol(
            Address.parse("ws://host/mqtt"), self.connection, {}, self.opening
        )
        self.transport = Transport()
        self.server = ServerProtocol(subprotocols=["mqtt"])  # type: ignore[list-item]
        self.client.connection_made(self.transport)
        self.exchange()

    def exchange(self) -> list[Frame]:
        """Moves all bytes both ways; returns the frames that the server got."""
        written, self.transport.written = self.transport.written, b""
        self.server.receive_data(written)
        frames = []
        for event in self.server.events_received():
            if isinstance(event, Frame):
                frames.append(event)
            else:
                self.request = event
                self.server.send_response(self.server.accept(event))
        for data in self.server.data_to_send():
            if data:
                self.client.data_received(data)
        return frames


@statement("MQTT311", "MQTT-6.0.0-3")
@statement("MQTT5", "MQTT-6.0.0-3")
async def test_client_offers_the_sub_protocol_mqtt() -> None:
    wire = Wire()
    assert wire.request.headers["Sec-WebSocket-Protocol"] == "mqtt"
    await wire.opening


@statement("MQTT311", "MQTT-6.0.0-1")
@statement("MQTT5", "MQTT-6.0.0-1")
async def test_packets_travel_in_binary_frames_and_text_closes() -> None:
    wire = Wire()
    wire.session.connect(0.0)
    wire.connection.flush()
    assert [frame.opcode for frame in wire.exchange()] == [Opcode.BINARY]
    wire.server.send_text(encode_packet(5, Connack(False, 0)))
    frames = wire.exchange()
    frames += wire.exchange()
    assert wire.session.phase is Phase.CONNECTING
    assert [frame.opcode for frame in frames] == [Opcode.CLOSE]


@statement("MQTT311", "MQTT-6.0.0-2")
@statement("MQTT5", "MQTT-6.0.0-2")
async def test_frames_have_nothing_to_do_with_packets() -> None:
    wire = Wire()
    wire.session.connect(0.0)
    wire.connection.flush()
    wire.exchange()
    data = encode_packet(5, Connack(False, 0)) + encode_packet(5, Publish("a", b"x"))
    for at in range(0, len(data), 3):
        wire.server.send_binary(data[at : at + 3])
    wire.exchange()
    assert wire.session.phase is Phase.CONNECTED
    wire.session.subscribe([SubscriptionRequest("a")])
    wire.session.ping(0.0)
    wire.connection.flush()
    [frame] = wire.exchange()
    assert bytes(frame.data).endswith(b"\xc0\x00")


# --- The list -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file"),
    [("MQTT311", "mqtt-3.1.1-statements.csv"), ("MQTT5", "mqtt-5.0-statements.csv")],
)
def test_every_statement_that_binds_a_client_is_tested(name: str, file: str) -> None:
    with (STATEMENTS / file).open(encoding="utf-8") as rows:
        wanted = {row["id"] for row in csv.DictReader(rows) if row["binds"] in ("client", "both")}
    tested: set[str] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        source = path.read_text(encoding="utf-8")
        for call in re.findall(rf'@statement\(\s*"{name}",([^)]*)\)', source):
            tested |= set(re.findall(r'"(MQTT-[^"]+)"', call))
    assert wanted - tested == set()
