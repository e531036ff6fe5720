"""A proxy between a client and a broker that does harm, at random and from a seed.

It knows the packets that pass, and cuts the connection before, inside or after one of a
chosen type; holds bytes back; splits and joins them at will; or goes silent in one
direction or both while the sockets stay open. It also notes where the broker itself breaks
the rule that QoS 2 rests on, so that a client is not blamed for it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from noctule.protocol import PacketType, Version, decode_fixed_header, decode_packet
from noctule.protocol.packets import Connect, Packet, Publish, Pubrel

CUTS = ("before", "inside", "after")


@dataclass
class Fault:
    """What happens on one connection: at the n-th packet of a type in one direction."""

    direction: str
    packet_type: PacketType
    occurrence: int
    place: str

    @classmethod
    def drawn(cls, dice: random.Random, with_silence: bool) -> Fault:
        direction = dice.choice(["up", "down"])
        up = [t for t in PacketType if t not in (2, 9, 11, 13, 15)]
        down = [t for t in PacketType if t not in (1, 8, 10, 12, 14, 15)]
        place = "silence" if with_silence and dice.random() < 0.1 else dice.choice(CUTS)
        types = up if direction == "up" else down
        return cls(direction, dice.choice(types), dice.randrange(1, 6), place)


class Releases:
    """Whether a broker sends a PUBLISH again whose PUBREL it has sent [MQTT-4.3.3-6].

    No client can tell such a message from a new one with the same packet identifier.
    `sent_again` holds the payloads. The state is that of a session, over its connections.
    """

    def __init__(self) -> None:
        self.sent_again: list[bytes] = []
        self._released: set[int] = set()
        self._version = Version.V5

    def passed_up(self, packet: bytes) -> None:
        """The broker has got this packet."""
        kind = packet[0] >> 4
        if kind == PacketType.CONNECT:
            connect = self._decoded(packet)
            assert isinstance(connect, Connect)
            self._version = connect.version
        elif kind == PacketType.PUBCOMP:
            self._released.discard(int.from_bytes(packet[2:4], "big"))

    def sent_down(self, packet: bytes) -> None:
        """The broker has sent this packet, whether or not it gets through."""
        kind = packet[0] >> 4
        if kind == PacketType.CONNACK and not packet[2]:
            self._released.clear()
        elif kind == PacketType.PUBREL:
            released = self._decoded(packet)
            assert isinstance(released, Pubrel)
            self._released.add(released.packet_identifier)
        elif kind == PacketType.PUBLISH and packet[0] & 0x06 == 0x04:
            publish = self._decoded(packet)
            assert isinstance(publish, Publish)
            if publish.packet_identifier in self._released:
                self._released.discard(publish.packet_identifier)
                self.sent_again.append(bytes(publish.payload))

    def _decoded(self, packet: bytes) -> Packet:
        return decode_packet(self._version, packet)


class _Splitter:
    """Whole packets out of a stream."""

    def __init__(self) -> None:
        self._rest = b""

    def packets(self, data: bytes) -> Iterator[bytes]:
        self._rest += data
        while (header := decode_fixed_header(self._rest)) is not None:
            if header.stop > len(self._rest):
                return
            packet, self._rest = self._rest[: header.stop], self._rest[header.stop :]
            yield packet


@dataclass
class FaultyProxy:
    """Listens on `port`; `faults` connections get a fault each, the later ones none."""

    target: int
    seed: int
    faults: int
    with_silence: bool = False
    port: int = 0
    connections: int = 0
    releases: Releases = field(default_factory=Releases)
    _dice: random.Random = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _listener: asyncio.Server | None = None

    async def __aenter__(self) -> FaultyProxy:
        self._dice = random.Random(self.seed)
        self._listener = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.close()
        await asyncio.sleep(0.01)  # What has been accepted gets to its handler.
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # Aborted transports close in the next turn of the loop.

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._relay(reader, writer)
        except (asyncio.CancelledError, ConnectionError):
            return
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        fault = None
        if self.connections <= self.faults:
            fault = Fault.drawn(self._dice, self.with_silence)
        dice = random.Random(self._dice.random())
        opening = asyncio.ensure_future(asyncio.open_connection("127.0.0.1", self.target))
        try:
            there, back = await asyncio.shield(opening)
        except asyncio.CancelledError:
            _, back = await opening
            back.transport.abort()
            raise
        ways = [
            asyncio.create_task(_Way("up", fault, dice, self.releases).carry(reader, back)),
            asyncio.create_task(_Way("down", fault, dice, self.releases).carry(there, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            back.transport.abort()


class _Way:
    """One direction of a connection."""

    def __init__(
        self, direction: str, fault: Fault | None, dice: random.Random, releases: Releases
    ) -> None:
        self._is_up = direction == "up"
        self._releases = releases
        self._splitter = _Splitter()
        self._fault = fault if fault is not None and fault.direction == direction else None
        self._dice = dice
        self._seen = 0
        self._rest = b""
        self._is_silent = False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Returns when the connection is to be cut, or is at its end."""
        try:
            while data := await reader.read(65_536):
                allowed, goes_on = self._inspect(data)
                for packet in self._splitter.packets(allowed if self._is_up else data):
                    if self._is_up:
                        self._releases.passed_up(packet)
                    else:
                        self._releases.sent_down(packet)
                await self._write(writer, allowed)
                if not goes_on:
                    return
        except ConnectionError:
            return

    def _inspect(self, data: bytes) -> tuple[bytes, bool]:
        """The bytes that may pass, and whether anything may after them."""
        fault = self._fault
        if self._is_silent:
            return b"", True
        if fault is None:
            return data, True
        buffer = self._rest + data
        offset = 0
        while (header := decode_fixed_header(buffer, offset)) is not None:
            if header.stop > len(buffer):
                break
            if header.first >> 4 == fault.packet_type:
                self._seen += 1
                if self._seen == fault.occurrence:
                    return self._cut(buffer, offset, header.stop, fault.place)
            offset = header.stop
        self._rest = buffer[offset:]
        return buffer[:offset], True

    def _cut(self, buffer: bytes, start: int, stop: int, place: str) -> tuple[bytes, bool]:
        if place == "silence":
            self._is_silent = True
            return buffer[:start], True
        if place == "before":
            return buffer[:start], False
        if place == "inside":
            return buffer[: self._dice.randrange(start + 1, stop)], False
        return buffer[:stop], False

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        while data:
            size = len(data) if self._dice.random() < 0.5 else self._dice.randint(1, len(data))
            writer.write(data[:size])
            await writer.drain()
            data = data[size:]
            if data or self._dice.random() < 0.1:
                await asyncio.sleep(self._dice.choice([0, 0, 0.001]))
