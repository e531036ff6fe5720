"""The upper layer of a client: from its opening to its end, and what happens between."""

from __future__ import annotations

import asyncio
import logging
import secrets

from noctule.client._filters import Filters
from noctule.client._handlers import HandlerTask
from noctule.client._requests import Requests
from noctule.client.options import ClientOptions
from noctule.client.outbox import SqliteOutbox
from noctule.client.receipt import Receipt
from noctule.client.states import Closed, StateStreams
from noctule.protocol.events import (
    AuthenticationContinued,
    Connected,
    Disconnected,
    Event,
    MessageReceived,
    Reauthenticated,
    Refused,
    Subscribed,
    Unsubscribed,
)
from noctule.protocol.packets import Version
from noctule.protocol.session import ClientSession, Phase

__all__ = ["Life"]

logger = logging.getLogger("noctule.client")


class Life(Filters):
    """Starts and stops what a client consists of, and deals with its session's events."""

    _requests: Requests

    def __init__(self, url: str, options: ClientOptions | None) -> None:
        super().__init__(url, options)
        self._states = StateStreams()
        self._handlers: list[HandlerTask] = []
        self._supervision: asyncio.Task[None] | None = None
        self._was_opened = False
        self._first_connection: asyncio.Future[None] | None = None
        self._body: asyncio.Task[object] | None = None
        self._has_cancelled_body = False
        self._ending: asyncio.Task[None] | None = None

    # --- Starting and stopping --------------------------------------------------------

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        state = None
        if self._options.outbox is not None:
            self._outbox = SqliteOutbox(self._options.outbox, self._fail)
            self._client_id, state = self._outbox.open(self._client_id)
        if not self._client_id and self._options.version >= Version.V3_1_1:
            self._client_id = f"noctule-{secrets.token_hex(8)}"
        elif not self._client_id:
            self._client_id = f"noctule-{secrets.token_hex(7)}"  # 3.1 allows 23 characters.
        if self._outbox is not None and state is not None:
            self._outbox.session(self._client_id, state.is_established)
        self._bind(ClientSession(self._session_options(), state))
        self._first_connection = loop.create_future()
        self._supervision = loop.create_task(self._supervise(), name="noctule supervisor")

    async def _supervise(self) -> None:
        first = self._first_connection
        assert first is not None
        try:
            await self._supervisor.run(self._connected_once)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if first.done():
                self._fail(error)
            elif self._options.require_connection:
                first.set_exception(error)
            else:
                self._fail(error)

    def _connected_once(self) -> None:
        if self._first_connection is not None and not self._first_connection.done():
            self._first_connection.set_result(None)

    def _may_retry(self) -> bool:
        """Whether an attempt that failed is followed by another, as long as none succeeded."""
        assert self._first_connection is not None
        return self._first_connection.done() or not self._options.require_connection

    async def _settle(self) -> None:
        """Waits, for a while, until nothing is on its way."""
        try:
            async with asyncio.timeout(self._options.close_timeout):
                while self._on_the_way and self._is_online:
                    future = asyncio.get_running_loop().create_future()
                    self._waiting_for_idle.append(future)
                    self._waits_for_answer(1)
                    try:
                        await future
                    finally:
                        self._waits_for_answer(-1)
        except TimeoutError:
            logger.warning("closing with %d messages not settled", self._on_the_way)

    async def _shut(self, error: Exception | None) -> None:
        """Ends everything, to the end: in a task of its own, since the caller may be cancelled.

        What is left to wait for then is cut short, so that the caller gets away.
        """
        if self._is_open:
            self._is_open = False
            if error is not None and self._failure is None:
                self._failure = error
            who = asyncio.current_task()
            self._ending = asyncio.create_task(self._end(who), name="noctule ending")
        if self._ending is None:
            return
        try:
            await asyncio.shield(self._ending)
        except asyncio.CancelledError:
            if self._supervisor.connection is not None:
                self._supervisor.connection.abort()
            await asyncio.wait([self._ending], timeout=self._options.close_timeout)
            raise

    async def _end(self, who: asyncio.Task[object] | None) -> None:
        closed = self._closed_error()
        for handler in self._handlers:
            await handler.stop(who)
        await self._requests.close()
        self._requests.fail(closed)
        await self._disconnect()
        for subscription in tuple(self._subscriptions):
            subscription._end(closed if self._failure is not None else None)
        self._wake_all(closed)
        if self._outbox is not None:
            await self._outbox.close()
        self._states.set(Closed(self._failure))

    async def _disconnect(self) -> None:
        connection = self._supervisor.connection
        if connection is not None and self._session.phase is Phase.CONNECTED:
            leaves_session = self._options.client_id is not None or self._outbox is not None
            expiry = None if leaves_session or self._version < Version.V5 else 0
            self._is_online = self._is_quick = False  # Nothing follows DISCONNECT.
            self._session.disconnect(
                asyncio.get_running_loop().time(), session_expiry_interval=expiry
            )
            connection.close()
            await connection.wait_closed(self._options.close_timeout)
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.gather(self._supervision, return_exceptions=True)
        first = self._first_connection
        if first is not None and first.done() and not first.cancelled():
            first.exception()

    def _fail(self, error: Exception) -> None:
        """Going on makes no sense: ends the program's block with `error`."""
        if self._failure is not None or not self._is_open:
            return
        self._failure = error
        body = self._body
        if body is not None and body is not asyncio.current_task() and not body.done():
            self._has_cancelled_body = True
            body.cancel()
        closed = self._closed_error()
        for subscription in tuple(self._subscriptions):
            subscription._end(closed)
        self._wake_all(closed)
        if self._supervisor.connection is not None:
            self._supervisor.connection.close()
        self._states.set(Closed(error))

    def _wake_all(self, error: Exception) -> None:
        """Nobody waits for what will not come."""
        for receipt in (*self._in_flight.values(), *self._pending):
            if isinstance(receipt, Receipt) and receipt.context is not None:
                receipt.error = error
                receipt._wake()
        self._interrupt([f for futures in self._answers.values() for f in futures], error)
        self._interrupt(self._unsubscribing.values(), error)
        self._interrupt(self._waiting_for_room, error)
        self._wake(self._waiting_for_idle)

    # --- Events -----------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        match event:
            case Connected():
                self._connected(event)
            case Subscribed():
                self._subscribed(event)
            case Unsubscribed():
                self._unsubscribed(event)
            case MessageReceived(delivery=delivery):
                self._received(delivery)  # type: ignore[arg-type]
            case AuthenticationContinued():
                self._supervisor.challenged(event, self._session)
            case Reauthenticated():
                self._supervisor.reauthenticated(event)
            case Refused():
                self._supervisor.refused(event)
            case Disconnected():
                self._is_online = self._is_quick = False
                self._supervisor.disconnected(event)

    def _connected(self, event: Connected) -> None:
        self._granted = granted = event.granted
        self._is_online = True
        self._is_flush_scheduled = False
        self._is_quick = self._outbox is None and granted.receive_maximum <= self._limit
        self._resubscribe(event)
        if self._outbox is not None:
            is_kept = granted.session_expiry_interval > 0
            self._outbox.session(self._session.client_identifier, is_kept)
            self._outbox.sending(lambda: None)
        self._supervisor.accepted(event)
        self._session.resume()

    def _received(self, receipt: Receipt) -> None:
        """PUBREC: written down before PUBREL leaves."""
        assert self._outbox is not None

        def written() -> None:
            self._session.release(receipt)
            if self._is_online:
                self._schedule_flush()

        code = self._session.received_code(receipt)
        self._outbox.received(receipt, code, written)

    def handle_end(self, error: Exception | None) -> None:
        """The connection is gone; called by the connection."""
        self._is_online = self._is_quick = False
        self._is_flush_scheduled = False
        self.before_flush()
        self._forget_requests()
        self._wake(self._waiting_for_idle)
        self._supervisor.lost(error)
