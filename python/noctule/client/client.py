"""The client of a program: connected for as long as it is open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Literal, Self, TypeVar, Unpack

from noctule.client._handlers import Call, Handler, HandlerTask, Pattern, Responder
from noctule.client._life import Life
from noctule.client._requests import Requests
from noctule.client._supervisor import Supervisor
from noctule.client.errors import ClientClosedError, OutboxFullError
from noctule.client.options import (
    ClientOptions,
    ConnectArguments,
    MessageProperties,
    Payload,
    message_properties,
    payload_bytes,
)
from noctule.client.receipt import Receipt
from noctule.client.states import Closed, State
from noctule.client.subscription import Overflow, Subscription
from noctule.protocol._tables import ReasonCode
from noctule.protocol.errors import (
    InvalidArgumentError,
    NoctuleError,
    NotConnectedError,
)
from noctule.protocol.message import Message
from noctule.protocol.options import Granted
from noctule.protocol.packets import SubscriptionRequest, Version
from noctule.protocol.properties import NO_PROPERTIES

__all__ = ["Client", "connect"]

logger = logging.getLogger("noctule.client")

FLUSH_BYTES = 65_536
"""How much a program may publish before it is written, and the loop gets its turn."""

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


class Client(Life):
    """An MQTT client that stays connected until it is closed.

    Within ``async with`` it is connected, or about to be again. What makes going on
    senseless (a refusal that will not change, an exception in a handler) ends the block:
    its task is cancelled, and the error comes out of ``async with``.

    All methods belong to the event loop that it was opened in.
    """

    def __init__(self, url: str = "mqtt://localhost", options: ClientOptions | None = None) -> None:
        super().__init__(url, options)
        self._requests = Requests(self)
        self._supervisor = Supervisor(self, self._address, self._options, self._states)

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
        return self._on_the_way

    @property
    def unrouted(self) -> int:
        """Messages that came in for no subscription of this program, and were dropped."""
        return self._unrouted

    @property
    def failure(self) -> Exception | None:
        """The error that has ended the client, if one has."""
        return self._failure

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

    async def close(self) -> None:
        """Sends what is on its way, disconnects and ends all iterations.

        Waits `close_timeout` seconds at most for the server's acknowledgements; what is
        not settled by then stays in an outbox on disk, and is lost in one in memory. To
        cancel it is to wait no longer; the client is closed all the same.
        """
        try:
            if self._is_open and self._failure is None:
                await self._settle()
        finally:
            await self._shut(None)

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
        if self._on_the_way >= self._limit:
            raise OutboxFullError(f"the outbox holds {self._on_the_way} messages")
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
        if self._on_the_way >= self._limit:
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
            raise OutboxFullError(f"the outbox holds {self._on_the_way} messages")
        while self._on_the_way >= self._limit:
            future = asyncio.get_running_loop().create_future()
            self._waiting_for_room.append(future)
            self._waits_for_answer(1)
            try:
                await future
            finally:
                self._waits_for_answer(-1)

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

        ``{name}`` is one level, ``{name...}`` all that follow. The handler gets the message
        and the parameters that it names; it is a function or a coroutine function.
        With `concurrency` 1 it is called for one message after the other, in their order.
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
