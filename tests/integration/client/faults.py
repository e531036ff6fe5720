"""A proxy between a client and a broker that does harm, at random and from a seed.

It knows the packets that pass, and cuts the connection before, inside or after one of a
chosen type; holds bytes back; splits and joins them at will; or goes silent in one
direction or both while the sockets stay open.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from noctule.protocol import PacketType, decode_fixed_header

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


@dataclass
class FaultyProxy:
    """Listens on `port`; `faults` connections get a fault each, the later ones none."""

    target: int
    seed: int
    faults: int
    with_silence: bool = False
    port: int = 0
    connections: int = 0
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
            asyncio.create_task(_Way("up", fault, dice).carry(reader, back)),
            asyncio.create_task(_Way("down", fault, dice).carry(there, writer)),
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

    def __init__(self, direction: str, fault: Fault | None, dice: random.Random) -> None:
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
