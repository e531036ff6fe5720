"""The client of a program: connected for as long as it is open."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack

from noctule.client._connection import Connection
from noctule.client._handlers import Call, Handler, HandlerTask, Pattern, Responder
from noctule.client._requests import Requests
from noctule.client._routing import FilterEntry, Routes
from noctule.client._supervisor import Supervisor
from noctule.client.errors import ClientClosedError, OutboxFullError, SubscribeRefusedError
from noctule.client.options import (
    ClientOptions,
    ConnectArguments,
    MessageProperties,
    Payload,
    message_properties,
    payload_bytes,
    user_pairs,
)
from noctule.client.outbox import SqliteOutbox
from noctule.client.receipt import Receipt
from noctule.client.states import Closed, State, StateStreams
from noctule.client.subscription import Overflow, Subscription
from noctule.client.url import Address
from noctule.protocol._tables import ReasonCode
from noctule.protocol.errors import (
    InvalidArgumentError,
    NoctuleError,
    NotConnectedError,
)
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
from noctule.protocol.message import Message
from noctule.protocol.options import Granted, SessionOptions
from noctule.protocol.packets import SubscriptionRequest, Version
from noctule.protocol.properties import NO_PROPERTIES
from noctule.protocol.session import ClientSession, Phase

__all__ = ["Client", "connect"]

logger = logging.getLogger("noctule.client")

FLUSH_BYTES = 65_536
"""How much a program may publish before it is written, and the loop gets its turn."""

OUTBOX_EXPIRY_SECONDS = 7 * 24 * 3600
"""How long a server keeps the session of a client with an outbox, if nothing else is said."""

UNCLAIMED_LIMIT = 1000
"""Messages of a continued session that wait for their subscription, before reading stops."""

MAX_STORED = 60_000
"""Messages in an outbox on disk, each of which needs a packet identifier of its own."""

_SENT = Receipt(None, "", b"", 0)
_SENT.reason_code = ReasonCode.SUCCESS

_Handler = TypeVar("_Handler", bound=Handler)


def connect(url: str = "mqtt://localhost", **options: Unpack[ConnectArguments]) -> Client:
    """A client for the server at `url`, to be opened with ``async with``.

        async with noctule.connect("mqtts://user@host:8883", password="…") as client:
            await client.publish("hello", "world", qos=1)

    Schemes are mqtt, mqtts, ws, wss and unix. The options, with their defaults and units,
    are those of `ClientOptions`.
    """
    return Client(url, ClientOptions(**options))


class Client:
    """An MQTT client that stays connected until it is closed.

    Within ``async with`` it is connected, or about to be again. What makes going on
    senseless (a refusal that will not change, an exception in a handler) ends the block: its
    task is cancelled, and the error comes out of ``async with``.

    All methods belong to the event loop that it was opened in.
    """

    def __init__(self, url: str = "mqtt://localhost", options: ClientOptions | None = None) -> None:
        self._options = options or ClientOptions()
        self._address = Address.parse(url)
        self._client_id = self._options.client_id or ""
        self._states = StateStreams()
        self._routes = Routes()
        self._requests = Requests(self)
        self._handlers: list[HandlerTask] = []
        self._outbox: SqliteOutbox | None = None
        self._supervisor = Supervisor(self, self._address, self._options, self._states)
        self._supervision: asyncio.Task[None] | None = None
        self._subscriptions: set[Subscription] = set()
        self._granted = Granted()
        self._is_online = False
        self._is_open = False
        self._was_opened = False
        self._first_connection: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._body: asyncio.Task[object] | None = None
        self._has_cancelled_body = False
        # Acknowledgements that leave with the next flush, and messages with several takers.
        self._to_acknowledge: list[Message] = []
        self._takers: dict[Message, int] = {}
        # Back-pressure: full queues, and programs that wait for the server all the same.
        self._blocked: set[object] = set()
        self._awaited_answers = 0
        self._waiting_for_room: list[asyncio.Future[None]] = []
        self._waiting_for_idle: list[asyncio.Future[None]] = []
        self._storing = 0
        # Requests under way: packet identifier → what is done with the answer.
        self._subscribing: dict[int, list[FilterEntry]] = {}
        self._answers: dict[FilterEntry, list[asyncio.Future[ReasonCode]]] = {}
        self._confirmed: set[FilterEntry] = set()
        self._unsubscribing: dict[int, asyncio.Future[None]] = {}
        self._to_unsubscribe: dict[str, None] = {}
        # Messages of a session that goes on, for which there is no subscription yet.
        self._keeps_unclaimed = False
        self._unclaimed: list[Message] = []
        self._unrouted = 0
        self._version = self._options.version
        self._is_flush_scheduled = False
        self._is_quick = False
        self._limit = 0
        self._bind(ClientSession(self._session_options()))

    # --- What it is -------------------------------------------------------------------

    @property
    def client_id(self) -> str:
        """The client identifier: as given, made up, or assigned by the server."""
        return self._session.client_identifier

    @property
    def version(self) -> Version:
        """The version that is spoken; after a fall-back that is 3.1.1."""
        return self._version

    @property
    def granted(self) -> Granted:
        """What the server has granted at the last CONNACK."""
        return self._granted

    @property
    def is_connected(self) -> bool:
        """Whether there is an accepted connection at this moment."""
        return self._is_online

    @property
    def outbox_size(self) -> int:
        """Messages that have been published and are not settled: waiting or in flight."""
        return self._storing + len(self._in_flight) + len(self._pending)

    @property
    def unrouted(self) -> int:
        """Messages that came in for no subscription of this program, and were dropped."""
        return self._unrouted

    def states(self) -> AsyncIterator[State]:
        """The state of the connection, now and whenever it changes; ends with `Closed`."""
        return self._states.watch()

    async def wait_connected(self) -> None:
        """Returns when there is a connection; ClientClosedError if there will be none."""
        async for state in self._states.watch():
            if self._is_online:
                return
            if isinstance(state, Closed):
                raise self._closed_error()

    # --- Opening and closing ----------------------------------------------------------

    async def open(self) -> None:
        """Connects, and subscribes what handlers have been registered.

        Waits for the first connection, and raises ConnectionFailedError or
        ConnectionRefusedByServerError if the first attempt fails; with
        `require_connection=False` it returns at once and goes on trying.
        """
        if self._was_opened:
            raise InvalidArgumentError("a client is opened once; make another one")
        self._was_opened = self._is_open = True
        try:
            self._start()
            if self._options.require_connection:
                assert self._first_connection is not None
                await asyncio.shield(self._first_connection)
            for handler in self._handlers:
                await handler.start(waits=self._options.require_connection)
        except BaseException as error:
            await self._shut(error if isinstance(error, Exception) else None)
            raise

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        state = None
        if self._options.outbox is not None:
            self._outbox = SqliteOutbox(self._options.outbox)
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

    async def close(self) -> None:
        """Sends what is on its way, disconnects and ends all iterations.

        Waits `close_timeout` seconds at most for the server's acknowledgements; what is
        not settled by then stays in an outbox on disk, and is lost in one in memory.
        """
        if not self._is_open:
            return
        if self._failure is None:
            await self._settle()
        await self._shut(None)

    async def _settle(self) -> None:
        """Waits, for a while, until nothing is on its way."""
        try:
            async with asyncio.timeout(self._options.close_timeout):
                while self.outbox_size and self._is_online:
                    future = asyncio.get_running_loop().create_future()
                    self._waiting_for_idle.append(future)
                    self._waits_for_answer(1)
                    try:
                        await future
                    finally:
                        self._waits_for_answer(-1)
        except TimeoutError:
            logger.warning("closing with %d messages not settled", self.outbox_size)

    async def _shut(self, error: Exception | None) -> None:
        if not self._is_open:
            return
        self._is_open = False
        if error is not None and self._failure is None:
            self._failure = error
        closed = self._closed_error()
        for handler in self._handlers:
            await handler.stop()
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

    def _closed_error(self) -> ClientClosedError:
        error = ClientClosedError(
            f"the client is closed{f': {self._failure}' if self._failure else ''}"
        )
        error.__cause__ = self._failure
        return error

    async def __aenter__(self) -> Self:
        self._body = asyncio.current_task()
        try:
            await self.open()
        except BaseException as error:
            body, self._body = self._body, None
            if self._has_cancelled_body and body is not None:
                body.uncancel()
                if self._failure is not None and isinstance(error, asyncio.CancelledError):
                    raise self._failure from None
            raise
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        body, self._body = self._body, None
        if self._has_cancelled_body and body is not None:
            body.uncancel()
        if exception is None:
            await self.close()
        else:
            await self._shut(None)
        is_ours = self._has_cancelled_body and isinstance(exception, asyncio.CancelledError)
        if self._failure is not None and (
            exception is None or is_ours or isinstance(exception, ClientClosedError)
        ):
            raise self._failure

    # --- Publishing -------------------------------------------------------------------

    async def publish(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        **properties: Unpack[MessageProperties],
    ) -> Receipt:
        """Publishes, and waits as long as the QoS asks for: not at all at 0, else for the server.

        Returns a receipt with the server's reason code, such as 0x10 "no matching
        subscribers", and raises PublishRefusedError for an error. `enqueue` does the same
        without the waiting. Without a connection the message waits in the outbox.

        InvalidArgumentError is for what no server takes, NotOfferedError and
        PacketTooLargeError for what this one does not.
        """
        if qos == 0 and self._is_online and not retain and not properties:
            # The quick way, see bench/client: no receipt, and no suspension if none is due.
            if type(payload) is not bytes:
                payload = payload_bytes(payload)
            self._publish_at_most_once(topic, payload)
            encoder = self._encoder
            if encoder.unsent_bytes > FLUSH_BYTES:
                await self._connection_now().room()
            elif not self._is_flush_scheduled:
                self._schedule_flush()
            return _SENT
        receipt = self._receipt(topic, payload, qos, retain, properties)
        await self._accept(receipt)
        if qos == 0:
            return receipt
        return await receipt

    async def enqueue(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        qos: int = 1,
        retain: bool = False,
        **properties: Unpack[MessageProperties],
    ) -> Receipt:
        """Publishes without waiting for the server: the receipt can be awaited later.

        Waits only while the outbox is full, or, with an outbox on disk, until the message
        is written there. A message that fails while nobody awaits its receipt is logged.
        """
        receipt = self._receipt(topic, payload, qos, retain, properties)
        await self._accept(receipt)
        return receipt

    def publish_nowait(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        qos: int = 1,
        retain: bool = False,
        **properties: Unpack[MessageProperties],
    ) -> Receipt:
        """As `enqueue`, but never waits: OutboxFullError where that would.

        With an outbox on disk the message is written there soon, and not sent before. It is
        for the program to await some of the receipts, so that what it publishes does not
        pile up: the outbox holds `outbox_limit` messages.
        """
        receipt = Receipt(
            self,
            topic,
            payload if type(payload) is bytes else payload_bytes(payload),
            qos,
            retain,
            message_properties(properties) if properties else NO_PROPERTIES,
        )
        if self._is_quick and not self._pending:
            # For speed (bench/client): open, connected, room for it, nothing to write down.
            self._publish(receipt)
            if not self._is_flush_scheduled:
                self._schedule_flush()
            return receipt
        self._check_open()
        if self.outbox_size >= self._limit:
            raise OutboxFullError(f"the outbox holds {self.outbox_size} messages")
        if self._outbox is not None and qos:
            self._store(receipt)
        else:
            self._session.publish(receipt)
        self._schedule_flush()
        return receipt

    def _receipt(
        self, topic: str, payload: Payload, qos: int, retain: bool, properties: MessageProperties
    ) -> Receipt:
        section = message_properties(properties) if properties else NO_PROPERTIES
        return Receipt(self, topic, payload_bytes(payload), qos, retain, section)

    async def _accept(self, receipt: Receipt) -> None:
        """Puts a message on its way, as soon as there is room for it."""
        self._check_open()
        if self.outbox_size >= self._limit:
            self._session.check(receipt)
            await self._room()
        if self._outbox is not None and receipt.qos:
            await self._store(receipt)
        else:
            self._session.publish(receipt)
        if self._is_online:
            if self._encoder.unsent_bytes > FLUSH_BYTES:
                await self._connection_now().room()
            else:
                self._schedule_flush()

    async def _room(self) -> None:
        if self._options.outbox_full == "raise":
            raise OutboxFullError(f"the outbox holds {self.outbox_size} messages")
        while self.outbox_size >= self._limit:
            future = asyncio.get_running_loop().create_future()
            self._waiting_for_room.append(future)
            self._waits_for_answer(1)
            try:
                await future
            finally:
                self._waits_for_answer(-1)

    def _check_open(self) -> None:
        if not self._is_open or self._failure is not None:
            raise self._closed_error()

    def _store(self, receipt: Receipt) -> asyncio.Future[None]:
        """On disk first, with the packet identifier that it will have."""
        outbox = self._outbox
        assert outbox is not None
        self._session.check(receipt)
        receipt.packet_identifier = self._session.reserve_identifier()
        self._storing += 1

        def stored() -> None:
            self._storing -= 1
            try:
                self._session.publish(receipt)
            except NoctuleError as error:
                self._session.fail(receipt, error)
                self.handle_events(self._session.events())
            if self._is_online:
                self._schedule_flush()

        return outbox.store(receipt, self._is_online, stored)

    def _schedule_flush(self) -> None:
        if not self._is_flush_scheduled and self._supervisor.connection is not None:
            self._is_flush_scheduled = True
            self._supervisor.connection.schedule_flush()

    # --- Subscribing ------------------------------------------------------------------

    def subscribe(
        self,
        *topic_filters: str,
        qos: int = 0,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: Literal[0, 1, 2] = 0,
        queue_limit: int = 1000,
        overflow: Overflow = "block",
        manual_acknowledgement: bool = False,
        durable: bool = False,
    ) -> Subscription:
        """Messages of the topic filters, to be opened with ``async with`` and iterated over.

        `qos` is the highest that is wanted. `no_local`, `retain_as_published` and
        `retain_handling` (0: send retained messages, 1: only if the subscription is new, 2:
        do not) are of 5.0. `queue_limit` and `overflow` say how many messages wait for the
        program and what happens beyond, `manual_acknowledgement` who acknowledges; see
        `Subscription`. With `durable` the server keeps the subscription when it is closed
        here, to queue messages for the next run of a program with the same session.
        """
        if not topic_filters:
            raise InvalidArgumentError("subscribe needs a topic filter")
        if qos not in (0, 1, 2):
            raise InvalidArgumentError(f"QoS {qos}; it can be 0, 1 or 2")
        requests = tuple(
            SubscriptionRequest(f, qos, no_local, retain_as_published, retain_handling)
            for f in topic_filters
        )
        return Subscription(
            self,
            requests,
            queue_limit=queue_limit,
            overflow=overflow,
            manual_acknowledgement=manual_acknowledgement,
            durable=durable,
        )

    def on(
        self,
        pattern: str,
        *,
        qos: int = 0,
        queue_limit: int = 1000,
        overflow: Overflow = "block",
        concurrency: int = 1,
    ) -> Callable[[_Handler], _Handler]:
        """Registers a handler for a topic filter with names for its wildcards.

            @client.on("plant/{line}/temp", qos=1)
            async def temperature(message, line): ...

        ``{name}`` is one level, ``{name...}`` all that follow. The handler, a function or a
        coroutine function, gets the message and the parameters that it names. With
        `concurrency` 1 it is called for one message after the other, in their order.
        A QoS 1 or 2 message is acknowledged when its handler has returned. An exception
        ends the client, or is logged, as `on_handler_error` says.
        """
        parsed = Pattern(pattern)

        def register(handler: _Handler) -> _Handler:
            messages = self.subscribe(
                parsed.topic_filter,
                qos=qos,
                queue_limit=queue_limit,
                overflow=overflow,
                manual_acknowledgement=True,
                durable=True,
            )
            self._register(HandlerTask(self, Call(handler, parsed), messages, concurrency))
            return handler

        return register

    def respond(
        self, pattern: str, *, qos: int = 1, concurrency: int = 1
    ) -> Callable[[Responder], Responder]:
        """Registers a handler whose result, bytes or text, answers the request it got.

            @client.respond("service/{name}")
            async def greet(message, name): return f"hello {name}"

        A message without a response topic is handled and not answered.
        """

        def register(responder: Responder) -> Responder:
            call = Call(responder, Pattern(pattern))

            async def answer(message: Message) -> None:
                result = await call(message)
                if message.response_topic is None:
                    return
                properties = MessageProperties()
                if message.correlation_data is not None:
                    properties["correlation_data"] = message.correlation_data
                if not isinstance(result, bytes | bytearray | memoryview | str):
                    raise InvalidArgumentError(
                        f"the responder of {pattern!r} returned {type(result).__name__}"
                    )
                await self.publish(message.response_topic, result, qos=message.qos, **properties)

            self.on(call.pattern.topic_filter, qos=qos, concurrency=concurrency)(answer)
            return responder

        return register

    async def request(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        qos: int = 1,
        timeout: float | None = 10.0,
        **properties: Unpack[MessageProperties],
    ) -> Message:
        """Publishes a request and returns the answer, MQTT 5.0 §4.10.

        TimeoutError if there is none within `timeout` seconds. A `response_topic` and
        `correlation_data` are put in by this method.
        """
        return await self._requests.request(topic, payload, qos, timeout, properties)

    async def reauthenticate(self) -> None:
        """Runs enhanced authentication anew on the connection there is, MQTT 5.0 §4.12.1."""
        if self._options.authentication is None:
            raise InvalidArgumentError("the client was made without authentication")
        if not self._is_online:
            raise NotConnectedError("reauthenticate: there is no connection")
        await self._supervisor.reauthenticate(self._session)

    def _register(self, handler: HandlerTask) -> None:
        self._handlers.append(handler)
        if self._is_open:
            handler.start_soon()

    # --- Subscriptions at the server --------------------------------------------------

    async def _subscribe(
        self, subscription: Subscription, requests: Iterable[SubscriptionRequest]
    ) -> None:
        self._check_open()
        self._subscriptions.add(subscription)
        waiting: dict[str, asyncio.Future[ReasonCode]] = {}
        news: list[FilterEntry] = []
        for request in requests:
            entry, is_news = self._routes.attach(subscription, request)
            future = asyncio.get_running_loop().create_future()
            waiting[request.topic_filter] = future
            self._to_unsubscribe.pop(request.topic_filter, None)
            if is_news or entry not in self._confirmed:
                self._answers.setdefault(entry, []).append(future)
                self._confirmed.discard(entry)
                news.append(entry)
            else:
                future.set_result(ReasonCode(entry.request.qos))
        self._claim()
        if self._is_online and news:
            try:
                self._send_subscribe(news)
            except NoctuleError:
                for entry in news:
                    self._answers.pop(entry, None)
                raise
        self._waits_for_answer(1)
        try:
            codes = {f: await future for f, future in waiting.items()}
        finally:
            self._waits_for_answer(-1)
            for future in waiting.values():
                if future.done() and not future.cancelled():
                    future.exception()
        subscription._reason_codes.update(codes)
        if any(code >= 0x80 for code in codes.values()):
            raise SubscribeRefusedError(codes)

    def _send_subscribe(self, entries: list[FilterEntry]) -> None:
        """One SUBSCRIBE for each filter where it gets an identifier, else one for all."""
        if self._granted.subscription_identifier_available and self._version >= Version.V5:
            for entry in entries:
                number = self._session.subscribe(
                    [entry.request], subscription_identifier=entry.identifier
                )
                self._subscribing[number] = [entry]
        else:
            number = self._session.subscribe([entry.request for entry in entries])
            self._subscribing[number] = list(entries)
        self._schedule_flush()

    def _subscribed(self, event: Subscribed) -> None:
        entries = self._subscribing.pop(event.packet_identifier, [])
        for entry, code in zip(entries, event.reason_codes, strict=False):
            if code < 0x80:
                self._confirmed.add(entry)
            futures = self._answers.pop(entry, [])
            if not futures and code >= 0x80:
                logger.error("%r could not be subscribed again: 0x%02X", entry.topic_filter, code)
            for future in futures:
                if not future.done():
                    future.set_result(code)

    async def _unsubscribe(self, subscription: Subscription, *, is_durable: bool) -> None:
        """Tells the server of the filters that nobody wants any more, and waits for it."""
        self._subscriptions.discard(subscription)
        unwanted = []
        for topic_filter in subscription.filters:
            entry = self._routes.entries.get(topic_filter)
            if self._routes.detach(subscription, topic_filter):
                assert entry is not None
                self._confirmed.discard(entry)
                self._answers.pop(entry, None)
                unwanted.append(topic_filter)
        if is_durable:
            self._keeps_unclaimed = True
            return
        if not unwanted or not self._is_open or self._failure is not None:
            return
        if not self._is_online:
            self._to_unsubscribe.update(dict.fromkeys(unwanted))
            return
        number = self._session.unsubscribe(unwanted)
        future = self._unsubscribing[number] = asyncio.get_running_loop().create_future()
        self._schedule_flush()
        self._waits_for_answer(1)
        try:
            async with asyncio.timeout(self._options.close_timeout):
                await future
        except (NoctuleError, TimeoutError):
            pass  # The client is gone, or the server does not answer; it is not ours to wait.
        finally:
            self._waits_for_answer(-1)

    def _unsubscribed(self, event: Unsubscribed) -> None:
        future = self._unsubscribing.pop(event.packet_identifier, None)
        if future is not None and not future.done():
            future.set_result(None)

    # --- Events -----------------------------------------------------------------------

    def handle_events(self, events: list[Event]) -> None:
        """What has happened in the session; called by the connection."""
        # For speed (bench/client): runs of messages of one topic go to one queue, which is
        # told once at the end.
        by_topic = self._routes.by_topic
        by_identifiers = self._routes.by_identifiers
        touched: set[Subscription] = set()
        is_quick = self._is_quick
        last_topic: object = None
        last_header: object = None
        put: Callable[[Message], None] | None = None
        for event in events:
            kind = type(event)
            if kind is Message:
                topic, _, header, _ = event  # type: ignore[misc]
                if put is None or topic is not last_topic or header is not last_header:
                    last_topic, last_header = topic, header
                    identifiers = header.subscription_identifiers
                    route = by_identifiers.get(identifiers) if identifiers else by_topic.get(topic)
                    if route is None:
                        route = self._routes.find(event)  # type: ignore[arg-type]
                    if len(route) != 1:
                        put = None
                        self._distribute(event, route, touched)  # type: ignore[arg-type]
                        continue
                    put = route[0]._items.append
                    touched.add(route[0])
                put(event)  # type: ignore[arg-type]
            elif kind is Receipt:
                if event.context is not None or not is_quick or event.reason_code >= 0x80:  # type: ignore[union-attr, operator]
                    self._settled(event)  # type: ignore[arg-type]
            else:
                self._handle(event)
                put = None
        for subscription in touched:
            subscription._arrived()
        if self._waiting_for_room and self.outbox_size < self._limit:
            self._wake(self._waiting_for_room)
        if self._waiting_for_idle and not self.outbox_size:
            self._wake(self._waiting_for_idle)

    def _settled(self, receipt: Receipt) -> None:
        if receipt.context is not None:
            receipt._wake()
        elif receipt.error is not None or (receipt.reason_code or 0) >= 0x80:
            logger.error("a message that nobody waits for has failed: %r", receipt)
        if self._outbox is not None and receipt.qos:
            self._outbox.settled(receipt)

    def _distribute(
        self, message: Message, route: tuple[Subscription, ...], touched: set[Subscription]
    ) -> None:
        """A message for several subscriptions, or for none."""
        if not route:
            self._unclaimed_message(message)
            return
        if message.packet_identifier:
            self._takers[message] = len(route)
        for subscription in route:
            subscription._items.append(message)
            touched.add(subscription)

    def _unclaimed_message(self, message: Message) -> None:
        if not self._keeps_unclaimed:
            self._unrouted += 1
            self._acknowledge(message)
            return
        self._unclaimed.append(message)
        if len(self._unclaimed) >= UNCLAIMED_LIMIT:
            self._block(self._unclaimed_message)

    def _claim(self) -> None:
        """Gives messages of a continued session to the subscription that came for them."""
        waiting, self._unclaimed = self._unclaimed, []
        if not waiting:
            return
        self._unblock(self._unclaimed_message)
        self.handle_events(list(waiting))

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
                self._supervisor.disconnected(event)

    def _connected(self, event: Connected) -> None:
        self._granted = granted = event.granted
        self._is_online = True
        self._is_flush_scheduled = False
        self._is_quick = self._outbox is None and granted.receive_maximum <= self._limit
        if not granted.session_present:
            self._confirmed.clear()
            self._to_unsubscribe.clear()
        elif not self._options.clean_start or self._outbox is not None:
            self._keeps_unclaimed = True
        if self._to_unsubscribe:
            self._session.unsubscribe(self._to_unsubscribe)
            self._to_unsubscribe.clear()
        news = [entry for entry in self._routes.entries.values() if entry not in self._confirmed]
        if news:
            self._send_subscribe(news)
        if self._outbox is not None:
            is_kept = granted.session_expiry_interval > 0
            self._outbox.session(self._session.client_identifier, is_kept)
            self._outbox.sending(lambda: None)
        self._supervisor.accepted(event)

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
        self._subscribing.clear()
        for future in self._unsubscribing.values():
            if not future.done():
                future.set_result(None)
        self._unsubscribing.clear()
        self._wake(self._waiting_for_idle)
        self._supervisor.lost(error)

    def before_flush(self) -> None:
        """Acknowledgements join what is about to be written; called by the connection."""
        self._is_flush_scheduled = False
        if self._to_acknowledge:
            self._session.acknowledge_all(self._to_acknowledge)
            self._to_acknowledge.clear()

    # --- For subscriptions and receipts -----------------------------------------------

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

    # --- The session ------------------------------------------------------------------

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

    def _connection_now(self) -> Connection:
        connection = self._supervisor.connection
        assert connection is not None
        return connection

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
