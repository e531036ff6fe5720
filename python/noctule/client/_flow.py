"""The lowest layer of a client: its session, what is written when, and back-pressure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from noctule.client._connection import Connection
from noctule.client.errors import ClientClosedError
from noctule.client.options import ClientOptions, user_pairs
from noctule.client.receipt import Receipt
from noctule.client.url import Address
from noctule.protocol._tables import ReasonCode
from noctule.protocol.message import Message
from noctule.protocol.options import Granted, SessionOptions
from noctule.protocol.packets import Version
from noctule.protocol.session import ClientSession

if TYPE_CHECKING:
    from noctule.client._supervisor import Supervisor
    from noctule.client.outbox import SqliteOutbox

__all__ = ["Flow"]

logger = logging.getLogger("noctule.client")

OUTBOX_EXPIRY_SECONDS = 7 * 24 * 3600
"""How long a server keeps the session of a client with an outbox, if nothing else is said."""

EXCESS_FACTOR = 16
"""How far over the receive maximum a server may go before it is left."""

MAX_STORED = 60_000
"""Messages in an outbox on disk, each of which needs a packet identifier of its own."""


class Flow:
    """What subscriptions, receipts and the connection of a client deal with."""

    _supervisor: Supervisor

    def __init__(self, url: str, options: ClientOptions | None) -> None:
        self._options = options or ClientOptions()
        self._address = Address.parse(url)
        self._client_id = self._options.client_id or ""
        self._version = self._options.version
        self._granted = Granted()
        self._outbox: SqliteOutbox | None = None
        self._storing = 0
        self._is_online = False
        self._is_open = False
        self._failure: Exception | None = None
        # Acknowledgements that leave with the next flush, and messages with several takers.
        self._to_acknowledge: list[Message] = []
        self._takers: dict[Message, int] = {}
        # Back-pressure: full queues, and programs that wait for the server all the same.
        self._blocked: set[object] = set()
        self._awaited_answers = 0
        self._waiting_for_room: list[asyncio.Future[None]] = []
        self._waiting_for_idle: list[asyncio.Future[None]] = []
        self._is_flush_scheduled = False
        self._is_quick = False
        self._limit = 0
        self._bind(ClientSession(self._session_options()))

    @property
    def _on_the_way(self) -> int:
        """How many messages have been published and are not settled."""
        return self._storing + len(self._in_flight) + len(self._pending)

    # --- Writing ----------------------------------------------------------------------

    def _schedule_flush(self) -> None:
        if not self._is_flush_scheduled and self._supervisor.connection is not None:
            self._is_flush_scheduled = True
            self._supervisor.connection.schedule_flush()

    def before_flush(self) -> None:
        """Acknowledgements join what is about to be written; called by the connection."""
        self._is_flush_scheduled = False
        if self._to_acknowledge:
            self._session.acknowledge_all(self._to_acknowledge)
            self._to_acknowledge.clear()

    def _acknowledge(self, message: Message, reason_code: ReasonCode = ReasonCode.SUCCESS) -> None:
        """Answers a message, once all who got it have taken it."""
        if self._takers and message in self._takers:
            self._takers[message] -= 1
            if self._takers[message] and reason_code < 0x80:
                return
            del self._takers[message]
        if reason_code:
            self._session.acknowledge(message, reason_code)
        else:
            self._to_acknowledge.append(message)
        if not self._is_flush_scheduled:
            self._schedule_flush()

    def _connection_now(self) -> Connection:
        connection = self._supervisor.connection
        assert connection is not None
        return connection

    # --- Back-pressure ----------------------------------------------------------------

    def _block(self, who: object) -> None:
        self._blocked.add(who)
        self._update_reading()

    def _unblock(self, who: object) -> None:
        self._blocked.discard(who)
        self._update_reading()

    def _waits_for_answer(self, change: int) -> None:
        """Somebody begins (1) or stops (-1) to wait for the server, so reading must go on."""
        self._awaited_answers += change
        if self._blocked:
            self._update_reading()

    def _update_reading(self) -> None:
        connection = self._supervisor.connection
        if connection is not None:
            connection.pause_reading(bool(self._blocked) and not self._awaited_answers)

    @staticmethod
    def _interrupt(futures: Iterable[asyncio.Future[Any]], error: Exception) -> None:
        for future in futures:
            if not future.done():
                future.set_exception(error)

    @staticmethod
    def _wake(futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            if not future.done():
                future.set_result(None)
        futures.clear()

    # --- The session ------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._is_open or self._failure is not None:
            raise self._closed_error()

    def _closed_error(self) -> ClientClosedError:
        error = ClientClosedError(
            f"the client is closed{f': {self._failure}' if self._failure else ''}"
        )
        error.__cause__ = self._failure
        return error

    def _session_options(self) -> SessionOptions:
        options = self._options
        expiry = options.session_expiry_interval
        if expiry is None and options.outbox is not None:
            expiry = OUTBOX_EXPIRY_SECONDS
        return SessionOptions(
            version=self._version,
            client_identifier=self._client_id,
            clean_start=options.clean_start,
            keep_alive=options.keep_alive,
            session_expiry_interval=expiry,
            receive_maximum=options.receive_maximum,
            send_maximum=options.send_maximum,
            maximum_packet_size=options.maximum_packet_size,
            topic_alias_maximum=options.topic_alias_maximum,
            request_response_information=options.request_response_information,
            request_problem_information=options.request_problem_information,
            user_properties=user_pairs(options.user_properties),
            will=None if options.will is None else options.will.packet(self._version),
            authentication_method=options.authentication().method
            if options.authentication
            else None,
            use_topic_aliases=options.use_topic_aliases,
            adopt_session=not options.clean_start,
            receive_excess=(EXCESS_FACTOR - 1) * options.receive_maximum,
            hold_messages=True,
            hold_releases=options.outbox is not None,
            resend_unknown=options.resend_unknown,
        )

    def _method(self) -> str | None:
        return self._options.authentication().method if self._options.authentication else None

    def _bind(self, session: ClientSession) -> None:
        """Takes up a session, with what the quick ways need of it at hand."""
        self._session = session
        self._encoder = session._outgoing.encoder
        self._in_flight = session._outgoing.in_flight
        self._pending = session._outgoing.pending
        self._publish = session.publish
        self._publish_at_most_once = session.publish_at_most_once
        self._is_flush_scheduled = False
        self._is_quick = False
        self._limit = self._options.outbox_limit
        if self._options.outbox is not None:
            self._limit = min(self._limit, MAX_STORED)
        for delivery in (*self._in_flight.values(), *self._pending):
            if isinstance(delivery, Receipt):
                delivery._client = self

    def _fall_back(self) -> None:
        """The server does not know 5.0: goes on with 3.1.1, and with what is pending."""
        state = self._session.state()
        self._version = Version.V3_1_1
        self._bind(ClientSession(self._session_options(), state))
