"""The network half of the shim: an event loop that any thread may drive, one at a time.

paho-mqtt leaves it to the program who runs the network: a thread (`loop_start`), the program
itself for good (`loop_forever`), or for a moment (`loop`). Here all three run the same event
loop, and what programs ask for from other threads is handed to it.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from noctule.client._connection import Connection
from noctule.client._transports import open_transport
from noctule.client.url import Address
from noctule.protocol.events import Event
from noctule.protocol.session import ClientSession

__all__ = ["Network", "Program"]

_Result = TypeVar("_Result")


class Program(Protocol):
    """Who the network tells what has happened."""

    def handle_events(self, events: list[Event]) -> None:
        """What has happened in the session."""

    def handle_end(self, error: Exception | None) -> None:
        """The connection is gone."""


class Network:
    """An event loop, and the connection that lives in it."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.loop = asyncio.new_event_loop()
        self.connection: Connection | None = None
        self.error: BaseException | None = None
        self._jobs: deque[Callable[[], None]] = deque()
        self._driver: int | None = None
        self._driving = threading.Lock()

    # --- Driving ----------------------------------------------------------------------

    @property
    def is_here(self) -> bool:
        """Whether this thread is the one that runs the network now."""
        return self._driver == threading.get_ident()

    def drive(self, until: asyncio.Future[_Result]) -> _Result:
        """Runs the network in this thread until the future is done."""
        with self._driving:
            self._driver = threading.get_ident()
            try:
                self._work()
                result = self.loop.run_until_complete(until)
            finally:
                self._driver = None
        self._raise()
        return result

    def future(self) -> asyncio.Future[None]:
        return self.loop.create_future()

    def do(self, job: Callable[[], None]) -> None:
        """Runs `job` in the event loop: at once from within, else as soon as it is driven."""
        if self.is_here:
            job()
            return
        self._jobs.append(job)
        self.loop.call_soon_threadsafe(self._work)

    def _work(self) -> None:
        while self._jobs:
            try:
                self._jobs.popleft()()
            except Exception as error:
                self.fail(error)

    def fail(self, error: BaseException) -> None:
        """An exception of a callback: comes out of the loop that is driven."""
        self.error = error
        if self.connection is not None:
            self.connection.abort()

    def _raise(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error

    def close(self) -> None:
        if not self.loop.is_closed() and not self.loop.is_running():
            self.loop.close()

    # --- The connection ---------------------------------------------------------------

    async def open(
        self,
        session: ClientSession,
        address: Address,
        tls: ssl.SSLContext | None,
        proxy: str | None,
        headers: Mapping[str, str] | None,
        timeout: float,
    ) -> None:
        """Connects, without MQTT; ConnectionFailedError if that fails."""
        connection = Connection(session, self)
        await open_transport(
            address,
            connection,
            tls=tls,
            proxy=proxy,
            websocket_headers=headers,
            timeout=timeout,
        )
        self.connection = connection

    def flush(self) -> None:
        if self.connection is not None:
            self.connection.schedule_flush()

    # --- The connection's owner -------------------------------------------------------

    def handle_events(self, events: list[Event]) -> None:
        try:
            self._program.handle_events(events)
        except Exception as error:
            self.fail(error)

    def handle_end(self, error: Exception | None) -> None:
        self.connection = None
        try:
            self._program.handle_end(error)
        except Exception as failure:
            self.error = failure

    def before_flush(self) -> None:
        pass
