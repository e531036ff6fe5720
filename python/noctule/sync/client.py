"""The client for programs without an event loop.

Generated from ``noctule/client/client.py`` by ``tools/generate_sync.py``; change that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Literal, Self, TypeVar, Unpack

from noctule.client._handlers import Handler, Responder
from noctule.client.client import Client as AsyncClient
from noctule.client.options import ClientOptions, ConnectArguments, MessageProperties, Payload
from noctule.client.states import State
from noctule.client.subscription import Overflow
from noctule.protocol.message import Message
from noctule.protocol.options import Granted
from noctule.protocol.packets import Version
from noctule.sync._portal import Portal, Wrapper
from noctule.sync.receipt import Receipt
from noctule.sync.subscription import Subscription

_Handler = TypeVar("_Handler", bound=Handler)

__all__ = ["Client", "connect"]


def connect(url: str = "mqtt://localhost", **options: Unpack[ConnectArguments]) -> Client:
    """A client for the server at `url`, to be opened with ``with``.

        with noctule.sync.connect("mqtts://user@host:8883", password="…") as client:
            client.publish("hello", "world", qos=1)

    Schemes are mqtt, mqtts, ws, wss and unix. The options, with their defaults and units,
    are those of `ClientOptions`.
    """
    return Client(url, ClientOptions(**options))


class Client(Wrapper[AsyncClient]):
    """An MQTT client that stays connected until it is closed.

    Within ``with`` it is connected, or about to be again. What makes going on
    senseless (a refusal that will not change, an exception in a handler) ends the block:
    the error comes out of ``with``.

    All methods may be called from any thread.
    """

    def __init__(self, url: str = "mqtt://localhost", options: ClientOptions | None = None) -> None:
        super().__init__(Portal(), AsyncClient(url, options))

    def open(self) -> None:
        """Connects, and subscribes what handlers have been registered.

        Waits for the first connection, and raises ConnectionFailedError or
        ConnectionRefusedByServerError if the first attempt fails; with
        `require_connection=False` it returns at once and goes on trying.
        """
        self._portal.start()
        try:
            self._portal.call(self._wrapped.open())
        except BaseException:
            self._portal.stop()
            raise

    def close(self) -> None:
        """Sends what is on its way, disconnects and ends all iterations.

        Waits `close_timeout` seconds at most for the server's acknowledgements; what is
        not settled by then stays in an outbox on disk, and is lost in one in memory.
        """
        if not self._portal.is_running:
            return
        try:
            self._portal.call(self._wrapped.close())
        finally:
            self._portal.stop()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        failure = self._wrapped.failure
        if failure is not None and exception is None:
            raise failure

    @property
    def client_id(self) -> str:
        """The client identifier: as given, made up, or assigned by the server."""
        return self._wrapped.client_id

    @property
    def version(self) -> Version:
        """The version that is spoken; after a fall-back that is 3.1.1."""
        return self._wrapped.version

    @property
    def granted(self) -> Granted:
        """What the server has granted at the last CONNACK."""
        return self._wrapped.granted

    @property
    def is_connected(self) -> bool:
        """Whether there is an accepted connection at this moment."""
        return self._wrapped.is_connected

    @property
    def outbox_size(self) -> int:
        """Messages that have been published and are not settled: waiting or in flight."""
        return self._wrapped.outbox_size

    @property
    def unrouted(self) -> int:
        """Messages that came in for no subscription of this program, and were dropped."""
        return self._wrapped.unrouted

    @property
    def failure(self) -> Exception | None:
        """The error that has ended the client, if one has."""
        return self._wrapped.failure

    def states(self) -> Iterator[State]:
        """The state of the connection, now and whenever it changes; ends with `Closed`."""
        return self._portal.iterate(self._wrapped.states())

    def wait_connected(self) -> None:
        """Returns when there is a connection; ClientClosedError if there will be none."""
        self._portal.call(self._wrapped.wait_connected())

    def publish(
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
        return Receipt(
            self._portal,
            self._portal.call(
                self._wrapped.publish(topic, payload, qos=qos, retain=retain, **properties)
            ),
        )

    def enqueue(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        qos: int = 1,
        retain: bool = False,
        **properties: Unpack[MessageProperties],
    ) -> Receipt:
        """Publishes without waiting for the server: the receipt can be waited for later.

        Waits only while the outbox is full, or, with an outbox on disk, until the message
        is written there. A message that fails while nobody waits for its receipt is logged.
        """
        return Receipt(
            self._portal,
            self._portal.call(
                self._wrapped.enqueue(topic, payload, qos=qos, retain=retain, **properties)
            ),
        )

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
        for the program to some of the receipts, so that what it publishes does not
        pile up: the outbox holds `outbox_limit` messages.
        """
        return Receipt(
            self._portal,
            self._portal.run(
                self._wrapped.publish_nowait, topic, payload, qos=qos, retain=retain, **properties
            ),
        )

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
        """Messages of the topic filters, to be opened with ``with`` and iterated over.

        `qos` is the highest that is wanted. `no_local`, `retain_as_published` and
        `retain_handling` (0: send retained messages, 1: only if the subscription is new, 2:
        do not) are of 5.0. `queue_limit` and `overflow` say how many messages wait for the
        program and what happens beyond, `manual_acknowledgement` who acknowledges; see
        `Subscription`. With `durable` the server keeps the subscription when it is closed
        here, to queue messages for the next run of a program with the same session.
        """
        return Subscription(
            self._portal,
            self._wrapped.subscribe(
                *topic_filters,
                qos=qos,
                no_local=no_local,
                retain_as_published=retain_as_published,
                retain_handling=retain_handling,
                queue_limit=queue_limit,
                overflow=overflow,
                manual_acknowledgement=manual_acknowledgement,
                durable=durable,
            ),
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
            def temperature(message, line): ...

        ``{name}`` is one level, ``{name...}`` all that follow. The handler gets the message
        and the parameters that it names.
        With `concurrency` 1 it is called for one message after the other, in their order.
        A QoS 1 or 2 message is acknowledged when its handler has returned. An exception
        ends the client, or is logged, as `on_handler_error` says.
        """
        register = self._wrapped.on(
            pattern, qos=qos, queue_limit=queue_limit, overflow=overflow, concurrency=concurrency
        )

        def in_thread(handler: _Handler) -> _Handler:
            self._portal.register(register, handler)
            return handler

        return in_thread

    def respond(
        self, pattern: str, *, qos: int = 1, concurrency: int = 1
    ) -> Callable[[Responder], Responder]:
        """Registers a handler whose result, bytes or text, answers the request it got.

            @client.respond("service/{name}")
            def greet(message, name): return f"hello {name}"

        A message without a response topic is handled and not answered.
        """
        register = self._wrapped.respond(pattern, qos=qos, concurrency=concurrency)

        def in_thread(handler: Responder) -> Responder:
            self._portal.register(register, handler)
            return handler

        return in_thread

    def request(
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
        return self._portal.call(
            self._wrapped.request(topic, payload, qos=qos, timeout=timeout, **properties)
        )

    def reauthenticate(self) -> None:
        """Runs enhanced authentication anew on the connection there is, MQTT 5.0 §4.12.1."""
        self._portal.call(self._wrapped.reauthenticate())
