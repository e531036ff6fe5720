"""One connection: a transport, and the session that speaks over it for as long as it lasts."""

from __future__ import annotations

import asyncio
from typing import Protocol

from noctule.protocol.events import Event
from noctule.protocol.session import ClientSession, Phase

__all__ = ["ByteTransport", "Connection", "Owner"]

FLUSH_BYTES = 65_536
"""Written at once where a program publishes without a pause."""


class ByteTransport(Protocol):
    """What a connection needs of a transport; asyncio's have it, and our WebSocket."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def get_extra_info(self, name: str, default: object = None) -> object: ...


class Owner(Protocol):
    """Who has the connection."""

    def handle_events(self, events: list[Event]) -> None:
        """What has happened in the session, in its order."""

    def handle_end(self, error: Exception | None) -> None:
        """The transport is closed; None without an error of the network."""

    def before_flush(self) -> None:
        """Last chance to put something into what is about to be written."""


class Connection(asyncio.Protocol):
    """Moves bytes between transport and session: one write for each turn of the loop."""

    def __init__(self, session: ClientSession, owner: Owner) -> None:
        self._session = session
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._transport: ByteTransport | None = None
        self._is_flush_scheduled = False
        self._is_write_paused = False
        self._is_read_paused = False
        self._drained: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed = self._loop.create_future()

    # --- asyncio's side ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport | ByteTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        session = self._session
        session.receive_data(data, self._loop.time())
        while events := session.events():  # To handle them may make more.
            self._owner.handle_events(events)
        self._write()
        if session.phase is Phase.ENDING:
            self.close()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closed.done():
            return
        self._closed.set_result(None)
        self._session.connection_lost()
        self._wake_writers()
        self._owner.handle_end(exc)

    def pause_writing(self) -> None:
        self._is_write_paused = True

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self.flush()
        if not self._is_write_paused:
            self._wake_writers()

    # --- The owner's side -------------------------------------------------------------

    def schedule_flush(self) -> None:
        """Writes what the session has to send, at the end of this turn of the loop."""
        if not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Writes what owner and session have to send, unless the transport has enough for now."""
        self._is_flush_scheduled = False
        self._owner.before_flush()
        self._write()

    def _write(self) -> None:
        if self._transport is None or self._is_write_paused:
            return
        data = self._session.data_to_send(self._loop.time())
        if data:
            self._transport.write(data)

    async def room(self) -> None:
        """Flushes, lets the loop turn, and waits until the transport takes more."""
        self.flush()
        if not self._is_write_paused or self._transport is None:
            await asyncio.sleep(0)
            return
        future = self._loop.create_future()
        self._drained.append(future)
        await future

    def _wake_writers(self) -> None:
        for future in self._drained:
            if not future.done():
                future.set_result(None)
        self._drained.clear()

    def pause_reading(self, is_paused: bool) -> None:
        """Stops reading, or goes on; the session is told, since answers stay out meanwhile."""
        if self._transport is None or is_paused == self._is_read_paused:
            return
        self._is_read_paused = is_paused
        if is_paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
        self._session.receiving_paused(is_paused, self._loop.time())
        self.start_timer()

    def start_timer(self) -> None:
        """Keeps the session's time, from CONNACK to the end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._session.next_timeout(self._loop.time())
        if deadline is not None and self._transport is not None:
            self._timer = self._loop.call_at(deadline, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        self._session.handle_timeout(self._loop.time())
        events = self._session.events()
        if events:
            self._owner.handle_events(events)
        self.flush()
        if self._session.phase is Phase.ENDING:
            self.close()
        else:
            self.start_timer()

    def close(self) -> None:
        """Closes the transport once all is written; reading need not go on for that."""
        if self._transport is not None:
            self._is_write_paused = False
            self.flush()
            self._transport.close()

    def abort(self) -> None:
        """Closes the transport at once, and tells the owner now."""
        transport = self._transport
        if transport is not None:
            transport.abort()
        self.connection_lost(None)

    async def wait_closed(self, timeout: float) -> None:
        """Until the transport is closed, or aborted after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._closed)
        except TimeoutError:
            self.abort()
