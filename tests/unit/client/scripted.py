"""A server that does what a test says, on a socket of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

from noctule.protocol import (
    Properties,
    ReasonCode,
    Version,
    decode_fixed_header,
    decode_packet,
    encode_packet,
)
from noctule.protocol.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)


class Peer:
    """One connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = b""
        self.version = Version.V5
        self.seen: list[Packet] = []

    async def read(self) -> Packet:
        """The next packet; EOFError at the end."""
        while True:
            header = decode_fixed_header(self._buffer)
            if header is not None and header.stop <= len(self._buffer):
                data, self._buffer = self._buffer[: header.stop], self._buffer[header.stop :]
                packet = decode_packet(self.version, data)
                if isinstance(packet, Connect):
                    self.version = packet.version
                self.seen.append(packet)
                return packet
            more = await self._reader.read(65_536)
            if not more:
                raise EOFError
            self._buffer += more

    def send(self, *packets: Packet) -> None:
        self._writer.write(b"".join(encode_packet(self.version, p) for p in packets))

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    async def accept(
        self, *, session_present: bool = False, properties: Properties | None = None
    ) -> Connect:
        """Takes CONNECT and answers it."""
        packet = await self.read()
        assert isinstance(packet, Connect)
        self.send(Connack(session_present, 0, properties or Properties()))
        return packet

    async def serve(self) -> None:
        """Answers everything as a server does, until the end."""
        try:
            while True:
                self.answer(await self.read())
        except (EOFError, ConnectionError):
            return

    def answer(self, packet: Packet) -> None:
        match packet:
            case Publish(qos=1, packet_identifier=identifier):
                self.send(Puback(identifier))
            case Publish(qos=2, packet_identifier=identifier):
                self.send(Pubrec(identifier))
            case Pubrel(packet_identifier=identifier):
                self.send(Pubcomp(identifier))
            case Subscribe(packet_identifier=identifier, requests=requests):
                self.send(Suback(identifier, tuple(ReasonCode(r.qos) for r in requests)))
            case Unsubscribe(packet_identifier=identifier, topic_filters=filters):
                codes = tuple(ReasonCode.SUCCESS for _ in filters) if self.version == 5 else ()
                self.send(Unsuback(identifier, codes))
            case Pingreq():
                self.send(Pingresp())
            case Disconnect():
                self._writer.close()

    async def skip(self, size: int) -> None:
        """Takes `size` bytes without looking at them."""
        size -= len(self._buffer)
        self._buffer = b""
        if size > 0:
            while size:
                size -= len(await self._reader.read(min(size, 65_536)))

    async def drain(self) -> None:
        await self._writer.drain()

    def pause(self) -> None:
        """Stops reading: the client's bytes stay in the network."""
        self._transport.pause_reading()

    def resume(self) -> None:
        self._transport.resume_reading()

    @property
    def _transport(self) -> asyncio.Transport:
        return cast("asyncio.Transport", self._writer.transport)

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class ScriptedServer:
    """Each connection is handled by the next script; the last one serves for all others."""

    def __init__(self, scripts: tuple[Script, ...]) -> None:
        self._scripts = scripts
        self.peers: list[Peer] = []
        self.errors: list[BaseException] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        peer = Peer(reader, writer)
        script = self._scripts[min(len(self.peers), len(self._scripts) - 1)]
        self.peers.append(peer)
        try:
            await script(peer)
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            writer.close()


async def serving(peer: Peer) -> None:
    """The script of a plain server."""
    await peer.accept()
    await peer.serve()


@asynccontextmanager
async def scripted(*scripts: Script) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer(scripts or (serving,))
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        for peer in server.peers:
            peer.abort()
        listener.close()
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)
    assert not server.errors, server.errors
