"""A relay that stops in the middle: it holds a connection after some pieces, sockets open."""

from __future__ import annotations

import asyncio


class Gate:
    """Listens on `port` for a server on `target`; lets `limit` pieces of each connection pass.

    `held` is set when a piece does not pass, `left` when the client has closed a connection
    that was held.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.limit: int | None = None
        self.held = asyncio.Event()
        self.left = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()
        self._target = target

    async def __aenter__(self) -> Gate:
        self._listener = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        await self.cut()

    async def cut(self) -> None:
        """Ends all connections."""
        tasks = tuple(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # Aborted transports close in the next turn of the loop.

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        pieces = 0

        async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            nonlocal pieces
            while data := await source.read(65_536):
                if self.limit is not None and pieces >= self.limit:
                    self.held.set()
                    continue
                pieces += 1
                sink.write(data)
            if self.limit is not None and pieces >= self.limit and source is reader:
                self.left.set()

        ways = [asyncio.create_task(carry(reader, back)), asyncio.create_task(carry(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            writer.transport.abort()
            back.transport.abort()
            self.tasks.discard(task)
