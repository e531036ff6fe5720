"""paho-mqtt's `Client` 2.x, its common part, on top of this package's session.

Callbacks have the arguments of `CallbackAPIVersion.VERSION2`. What is not there: callback
API version 1, `connect_srv`, the socket callbacks and `loop_read`/`loop_write`/`loop_misc`
for foreign event loops (this package has an asyncio client for those).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import string
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from noctule.client.errors import ConnectionFailedError
from noctule.client.url import Address
from noctule.compat.paho._network import Network
from noctule.compat.paho._settings import Settings, check_publish, payload_bytes
from noctule.compat.paho._values import _RETURN_CODES as RETURN_CODES
from noctule.compat.paho._values import (
    CallbackAPIVersion,
    ConnectFlags,
    DisconnectFlags,
    MQTTErrorCode,
    MQTTMessage,
    MQTTMessageInfo,
    MQTTProtocolVersion,
    PacketTypes,
    Properties,
    ReasonCode,
    SubscribeOptions,
    topic_matches_sub,
)
from noctule.protocol import (
    ClientSession,
    Delivery,
    Message,
    Phase,
    PropertyId,
    SessionOptions,
    SubscriptionRequest,
    Version,
    check_topic_filter,
)
from noctule.protocol import Properties as Section
from noctule.protocol._tables import ReasonCode as Code
from noctule.protocol.errors import InvalidTopicError, NoctuleError, NotConnectedError
from noctule.protocol.events import (
    Connected,
    Disconnected,
    Event,
    Refused,
    Subscribed,
    Unsubscribed,
)
from noctule.protocol.properties import NO_PROPERTIES

__all__ = ["Client"]

SUCCESS = MQTTErrorCode.MQTT_ERR_SUCCESS
NO_CONNECTION = MQTTErrorCode.MQTT_ERR_NO_CONN
IDENTIFIER_LETTERS = string.ascii_letters + string.digits
CALLBACKS = (
    "on_connect",
    "on_connect_fail",
    "on_disconnect",
    "on_log",
    "on_message",
    "on_pre_connect",
    "on_publish",
    "on_subscribe",
    "on_unsubscribe",
)

Callback = Callable[..., Any]


class Client(Settings):
    """An MQTT client as paho-mqtt has it: methods that return codes, and callbacks."""

    on_connect: Callback | None = None
    on_connect_fail: Callback | None = None
    on_disconnect: Callback | None = None
    on_log: Callback | None = None
    on_message: Callback | None = None
    on_pre_connect: Callback | None = None
    on_publish: Callback | None = None
    on_subscribe: Callback | None = None
    on_unsubscribe: Callback | None = None

    def __init__(
        self,
        callback_api_version: CallbackAPIVersion = CallbackAPIVersion.VERSION2,
        client_id: str | None = "",
        clean_session: bool | None = None,
        userdata: Any = None,
        protocol: int = MQTTProtocolVersion.MQTTv311,
        transport: str = "tcp",
        reconnect_on_failure: bool = True,
        manual_ack: bool = False,
    ) -> None:
        super().__init__(
            callback_api_version,
            client_id,
            clean_session,
            userdata,
            protocol,
            transport,
            reconnect_on_failure,
            manual_ack,
        )
        self._network = Network(self)
        self._session: ClientSession | None = None
        self._waiting: deque[Delivery] = deque()
        self._mids = itertools.count(1)
        self._mid_of_request: dict[int, int] = {}
        self._before_connack: list[Callable[[], None]] = []
        self._topic_callbacks: dict[str, Callback] = {}
        self._is_connected = False
        self._is_wanted = False
        self._changed = self._network.future()
        self._ended_by: tuple[bool, ReasonCode, Section] | None = None
        self._thread: threading.Thread | None = None
        self._received: dict[tuple[int, int], Message] = {}
        self._is_first = True

    # --- Connecting -------------------------------------------------------------------

    def connect(
        self,
        host: str,
        port: int = 1883,
        keepalive: int = 60,
        bind_address: str = "",
        bind_port: int = 0,
        clean_start: bool | int = 3,
        properties: Properties | None = None,
    ) -> MQTTErrorCode:
        """Connects and sends CONNECT; OSError if that fails. CONNACK is for the loop."""
        self.connect_async(host, port, keepalive, bind_address, bind_port, clean_start, properties)
        return self.reconnect()

    def connect_async(
        self,
        host: str,
        port: int = 1883,
        keepalive: int = 60,
        bind_address: str = "",
        bind_port: int = 0,
        clean_start: bool | int = 3,
        properties: Properties | None = None,
    ) -> None:
        """Connects once a loop runs."""
        if not host:
            raise ValueError("Invalid host.")
        if not 0 < port <= 65_535 and self._transport != "unix":
            raise ValueError("Invalid port number.")
        if keepalive < 0:
            raise ValueError("Keepalive must be >=0.")
        if bind_address or bind_port:
            raise ValueError("noctule's shim binds to no address")
        self._host, self._port, self._keep_alive = host, port, keepalive
        self._clean_start = self._clean if self._version < Version.V5 else clean_start is not False
        self._connect_properties = NO_PROPERTIES if properties is None else properties.section()
        self._session = None
        self._is_wanted = True

    def reconnect(self) -> MQTTErrorCode:
        """Connects as the last `connect` said."""
        if not self._host:
            raise ValueError("Invalid host.")
        self._is_wanted = True
        if self._thread is not None and not self._network.is_here:
            asyncio.run_coroutine_threadsafe(self._open(), self._network.loop).result()
        elif self._network.is_here:
            raise RuntimeError("reconnect in a callback: the loop does that by itself")
        else:
            self._network.drive(self._network.loop.create_task(self._open_unread()))
        return SUCCESS

    async def _open_unread(self) -> None:
        await self._open()
        self._reads(False)

    async def _open(self) -> None:
        session = self._session
        if session is None:
            session = self._session = ClientSession(self._options())
        if session.phase is not Phase.OFFLINE:
            assert self._network.connection is not None
            self._network.connection.abort()
        self._call("on_pre_connect")
        self._ended_by = None
        try:
            await self._network.open(
                session,
                self._address(),
                self._tls,
                self._proxy,
                self._headers,
                self.connect_timeout,
            )
        except ConnectionFailedError as error:
            cause = error.__cause__
            raise cause if isinstance(cause, OSError) else OSError(str(error)) from error
        session.connect(
            self._network.loop.time(), user_name=self._user_name, password=self._password
        )
        self._flush_now()

    def _address(self) -> Address:
        if self._transport == "unix":
            return Address(scheme="unix", path=self._host)
        schemes = {"tcp": ("mqtt", "mqtts"), "websockets": ("ws", "wss")}[self._transport]
        path = self._path if self._transport == "websockets" else ""
        return Address(
            scheme=schemes[self._tls is not None], host=self._host, port=self._port, path=path
        )

    def _options(self) -> SessionOptions:
        given = self._connect_properties
        expiry = given.integer(PropertyId.SESSION_EXPIRY_INTERVAL, 0) or 0
        if self._version < Version.V5:
            expiry = 0 if self._clean_start else 0xFFFF_FFFF
        response = given.integer(PropertyId.REQUEST_RESPONSE_INFORMATION, 0)
        problem = given.integer(PropertyId.REQUEST_PROBLEM_INFORMATION, 1)
        identifier = self._client_id
        if not identifier and self._version < Version.V5:
            identifier = "".join(random.choices(IDENTIFIER_LETTERS, k=23))  # noqa: S311
        return SessionOptions(
            version=self._version,
            client_identifier=identifier,
            clean_start=self._clean_start,
            keep_alive=self._keep_alive,
            session_expiry_interval=expiry,
            receive_maximum=given.integer(PropertyId.RECEIVE_MAXIMUM, 0xFFFF) or 0xFFFF,
            send_maximum=self._max_in_flight or 0xFFFF,
            maximum_packet_size=given.integer(PropertyId.MAXIMUM_PACKET_SIZE),
            topic_alias_maximum=given.integer(PropertyId.TOPIC_ALIAS_MAXIMUM, 0) or 0,
            request_response_information=bool(response),
            request_problem_information=bool(problem),
            user_properties=tuple(given.user_properties),
            will=self._will,
            use_topic_aliases=False,
            adopt_session=True,
            hold_messages=True,
            resend_unknown=True,
        )

    def disconnect(
        self, reasoncode: ReasonCode | None = None, properties: Properties | None = None
    ) -> MQTTErrorCode:
        """DISCONNECT; the loop ends after it."""
        was_connected = self._is_connected
        self._is_wanted = False
        code = Code.NORMAL_DISCONNECTION if reasoncode is None else Code(reasoncode.value)
        section = NO_PROPERTIES if properties is None else properties.section()

        def leave() -> None:
            session, connection = self._session, self._network.connection
            if session is None or connection is None:
                self._change()
                return
            session.resume()  # What `on_connect` has published goes out before.
            session.disconnect(
                self._network.loop.time(),
                code,
                session_expiry_interval=section.integer(PropertyId.SESSION_EXPIRY_INTERVAL),
                reason_string=section.string(PropertyId.REASON_STRING),
                user_properties=section.user_properties,
            )
            connection.close()

        self._network.do(leave)
        return SUCCESS if was_connected else NO_CONNECTION

    def is_connected(self) -> bool:
        """Whether CONNACK has come, and the connection stands."""
        return self._is_connected

    # --- Publishing and subscribing ---------------------------------------------------

    def publish(
        self,
        topic: str,
        payload: str | bytes | bytearray | float | None = None,
        qos: int = 0,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> MQTTMessageInfo:
        """Publishes, now or when there is a connection."""
        check_publish(topic, qos)
        info = MQTTMessageInfo(self._next_mid())
        section = NO_PROPERTIES if properties is None else properties.section()
        delivery = Delivery(topic, payload_bytes(payload), qos, retain, section)
        delivery.context = info
        if self._max_queued and self._queued() >= self._max_queued:
            info.rc = MQTTErrorCode.MQTT_ERR_QUEUE_SIZE
            return info
        if not self._has_socket:
            info.rc = NO_CONNECTION
        self._network.do(lambda: self._publish(delivery))
        return info

    @property
    def _has_socket(self) -> bool:
        """What paho-mqtt means by a connection when it says that there is none."""
        return self._network.connection is not None

    def _queued(self) -> int:
        session = self._session
        on_the_way = 0 if session is None else session.pending + session.in_flight
        return len(self._waiting) + on_the_way

    def _publish(self, delivery: Delivery) -> None:
        session = self._session
        if session is None or (not self._is_connected and delivery.qos == 0):
            self._waiting.append(delivery)
            return
        try:
            session.publish(delivery)
        except NoctuleError as error:
            self._log(logging.ERROR, f"publish to {delivery.topic!r}: {error}")
            return
        if delivery.is_settled:
            self._settled(delivery)
        self._network.flush()

    def subscribe(
        self,
        topic: str | tuple[str, Any] | list[tuple[str, Any]],
        qos: int = 0,
        options: SubscribeOptions | None = None,
        properties: Properties | None = None,
    ) -> tuple[MQTTErrorCode, int | None]:
        """Subscribes to a filter, a pair of filter and QoS, or a list of pairs."""
        requests = [_request(filter_, how) for filter_, how in _pairs(topic, qos, options)]
        if not self._has_socket:
            return NO_CONNECTION, None
        section = NO_PROPERTIES if properties is None else properties.section()
        mid = self._next_mid()

        def ask() -> None:
            identifier = section.subscription_identifiers
            self._ask(
                mid,
                lambda session: session.subscribe(
                    requests,
                    subscription_identifier=identifier[0] if identifier else None,
                    user_properties=section.user_properties,
                ),
            )

        self._network.do(ask)
        return SUCCESS, mid

    def unsubscribe(
        self, topic: str | list[str], properties: Properties | None = None
    ) -> tuple[MQTTErrorCode, int | None]:
        """Unsubscribes from a filter, or from several."""
        filters = [topic] if isinstance(topic, str) else list(topic)
        if not filters or not all(filters):
            raise ValueError("Invalid topic.")
        if not self._has_socket:
            return NO_CONNECTION, None
        section = NO_PROPERTIES if properties is None else properties.section()
        mid = self._next_mid()
        self._network.do(
            lambda: self._ask(
                mid,
                lambda session: session.unsubscribe(
                    filters, user_properties=section.user_properties
                ),
            )
        )
        return SUCCESS, mid

    def _ask(self, mid: int, request: Callable[[ClientSession], int]) -> None:
        assert self._session is not None
        if not self._is_connected:
            self._before_connack.append(lambda: self._ask(mid, request))
            return
        try:
            self._mid_of_request[request(self._session)] = mid
        except (NoctuleError, NotConnectedError) as error:
            self._log(logging.ERROR, str(error))
            return
        self._network.flush()

    def ack(self, mid: int, qos: int) -> MQTTErrorCode:
        """Acknowledges a message, with `manual_ack`."""

        def acknowledge() -> None:
            message = self._received.pop((qos, mid), None)
            if message is not None and self._session is not None:
                self._session.acknowledge(message)
                self._network.flush()

        if self._manual_ack:
            self._network.do(acknowledge)
        return SUCCESS

    def message_callback_add(self, sub: str, callback: Callback) -> None:
        """`callback` gets the messages that match `sub`, instead of `on_message`."""
        if not sub or callback is None:
            raise ValueError("sub and callback must both be defined.")
        self._topic_callbacks[sub] = callback

    def message_callback_remove(self, sub: str) -> None:
        """Undoes `message_callback_add`."""
        if not sub:
            raise ValueError("sub must defined.")
        self._topic_callbacks.pop(sub, None)

    def topic_callback(self, sub: str) -> Callable[[Callback], Callback]:
        """`message_callback_add` as a decorator."""

        def register(callback: Callback) -> Callback:
            self.message_callback_add(sub, callback)
            return callback

        return register

    def _next_mid(self) -> int:
        return (next(self._mids) - 1) % 0xFFFF + 1

    # --- Loops ------------------------------------------------------------------------

    def loop_start(self) -> MQTTErrorCode:
        """Runs the network in a thread until `loop_stop`."""
        if self._thread is not None:
            return MQTTErrorCode.MQTT_ERR_INVAL
        self._stops = False
        self._thread = threading.Thread(
            target=self._run_thread, name=f"paho-mqtt-client-{self._client_id}", daemon=True
        )
        self._thread.start()
        return SUCCESS

    def loop_stop(self) -> MQTTErrorCode:
        """Ends the thread."""
        thread = self._thread
        if thread is None:
            return MQTTErrorCode.MQTT_ERR_INVAL
        self._stops = True
        self._network.do(self._change)
        if thread is not threading.current_thread():
            thread.join()
        self._thread = None
        return SUCCESS

    def _run_thread(self) -> None:
        try:
            self.loop_forever(retry_first_connection=True)
        finally:
            self._thread = None if self._stops else self._thread

    _stops = False

    def loop_forever(
        self, timeout: float = 1.0, retry_first_connection: bool = False
    ) -> MQTTErrorCode:
        """Runs the network here until `disconnect`, connecting again whenever that is lost."""
        return self._network.drive(
            self._network.loop.create_task(self._forever(retry_first_connection))
        )

    async def _forever(self, retry_first_connection: bool) -> MQTTErrorCode:
        delay = self._delays[0]
        self._reads(True)
        while not self._stops and self._network.error is None:
            if not self._is_wanted and self._network.connection is None:
                if self._thread is None or self._host:
                    return NO_CONNECTION
                await self._wait(None)
                continue
            if self._network.connection is None:
                try:
                    await self._open()
                except OSError as error:
                    self._log(logging.ERROR, f"connecting failed: {error}")
                    self._call("on_connect_fail")
                    if not retry_first_connection and self._is_first:
                        raise
                    await self._wait(delay)
                    delay = min(self._delays[1], delay * 2)
                continue
            was_connected = self._is_connected
            await self._wait(None)
            if self._is_connected and not was_connected:
                delay = self._delays[0]
            if self._network.connection is None and self._is_wanted:
                if not self._reconnects:
                    return MQTTErrorCode.MQTT_ERR_CONN_LOST
                await self._wait(delay)
                delay = min(self._delays[1], delay * 2)
        return SUCCESS

    async def _moment(self, timeout: float) -> None:
        self._reads(True)
        await self._wait(timeout)
        self._reads(False)

    async def _wait(self, timeout: float | None) -> None:
        """Until something has changed."""
        try:
            async with asyncio.timeout(timeout):
                await self._changed
        except TimeoutError:
            pass
        if self._changed.done():
            self._changed = self._network.future()

    def loop(self, timeout: float = 1.0) -> MQTTErrorCode:
        """Runs the network here for up to `timeout` seconds, or until something happens."""
        if self._network.connection is None and not self._network._jobs:
            return NO_CONNECTION
        self._network.drive(self._network.loop.create_task(self._moment(timeout)))
        return SUCCESS if self._network.connection else MQTTErrorCode.MQTT_ERR_CONN_LOST

    def _change(self) -> None:
        if not self._changed.done():
            self._changed.set_result(None)

    def _reads(self, is_reading: bool) -> None:
        """Callbacks are for the loops: outside of them nothing is read."""
        if self._network.connection is not None:
            self._network.connection.pause_reading(not is_reading)

    def _flush_now(self) -> None:
        if self._network.connection is not None:
            self._network.connection.flush()

    # --- Events -----------------------------------------------------------------------

    def handle_events(self, events: list[Event]) -> None:
        """What has happened in the session; called by the network."""
        for event in events:
            self._handle(event)
        self._change()

    def _handle(self, event: Event) -> None:
        match event:
            case Message():
                self._message(event)
            case Delivery():
                self._settled(event)
            case Connected(granted, properties):
                self._connected(granted.session_present, properties)
            case Refused(code, properties):
                value = int(code) if self._version >= Version.V5 else RETURN_CODES[int(code)]
                reason = ReasonCode(PacketTypes.CONNACK, identifier=value)
                self._ended_by = (
                    False,
                    ReasonCode(PacketTypes.DISCONNECT, "Unspecified error"),
                    NO_PROPERTIES,
                )
                self._call(
                    "on_connect",
                    ConnectFlags(False),
                    reason,
                    self._properties(PacketTypes.CONNACK, properties),
                )
            case Disconnected(code, properties, error):
                reason = ReasonCode(PacketTypes.DISCONNECT, identifier=int(code))
                self._ended_by = error is None, reason, properties
            case Subscribed(identifier, codes, properties):
                self._answered("on_subscribe", PacketTypes.SUBACK, identifier, codes, properties)
            case Unsubscribed(identifier, codes, properties):
                self._answered(
                    "on_unsubscribe", PacketTypes.UNSUBACK, identifier, codes, properties
                )

    def _connected(self, session_present: bool, properties: Section) -> None:
        self._is_connected = True
        self._is_first = False
        assert self._network.connection is not None
        self._network.connection.start_timer()
        self._call(
            "on_connect",
            ConnectFlags(session_present),
            ReasonCode(PacketTypes.CONNACK, "Success"),
            self._properties(PacketTypes.CONNACK, properties),
        )
        jobs, self._before_connack = self._before_connack, []
        for job in jobs:
            job()
        if self._session is not None:
            self._session.resume()
        waiting, self._waiting = self._waiting, deque()
        for delivery in waiting:
            self._publish(delivery)

    def _message(self, message: Message) -> None:
        given = MQTTMessage.of(message, self._version >= Version.V5)
        if self._manual_ack and message.packet_identifier:
            self._received[given.qos, given.mid] = message
        callbacks = [
            callback
            for sub, callback in list(self._topic_callbacks.items())
            if topic_matches_sub(sub, message.topic)
        ]
        for callback in callbacks:
            callback(self, self._userdata, given)
        if not callbacks:
            self._call("on_message", given)
        if not self._manual_ack and self._session is not None:
            self._session.acknowledge(message)

    def _settled(self, delivery: Delivery) -> None:
        info = delivery.context
        assert isinstance(info, MQTTMessageInfo)
        kind = PacketTypes.PUBACK if delivery.qos < 2 else PacketTypes.PUBREC
        code = delivery.reason_code if delivery.reason_code is not None else Code.UNSPECIFIED_ERROR
        self._call(
            "on_publish",
            info.mid,
            ReasonCode(kind, identifier=int(code)),
            Properties.of(PacketTypes.PUBACK, delivery.answer),
        )
        info._published.set()

    def _answered(
        self, name: str, kind: PacketTypes, identifier: int, codes: Iterable[Code], given: Section
    ) -> None:
        mid = self._mid_of_request.pop(identifier, 0)
        reasons = [ReasonCode(kind, identifier=int(code)) for code in codes]
        self._call(name, mid, reasons, self._properties(kind, given))

    def _properties(self, kind: PacketTypes, section: Section) -> Properties | None:
        return Properties.of(kind, section) if self._version >= Version.V5 else None

    def handle_end(self, error: Exception | None) -> None:
        """The connection is gone; called by the network."""
        self._is_connected = False
        self._before_connack.clear()
        self._mid_of_request.clear()
        self._received.clear()
        from_server, reason, section = self._ended_by or (
            False,
            ReasonCode(
                PacketTypes.DISCONNECT,
                "Unspecified error" if self._is_wanted else "Normal disconnection",
            ),
            NO_PROPERTIES,
        )
        self._call(
            "on_disconnect",
            DisconnectFlags(from_server),
            reason,
            self._properties(PacketTypes.DISCONNECT, section),
        )
        self._change()

    def _call(self, name: str, *arguments: Any) -> None:
        callback = getattr(self, name)
        if callback is not None:
            callback(self, self._userdata, *arguments)

    def _log(self, level: int, text: str) -> None:
        self._call("on_log", level, text)
        if self._logger is not None:
            self._logger.log(level, text)


def _decorator(name: str) -> Callable[[Client], Callable[[Callback], Callback]]:
    def decorate(client: Client) -> Callable[[Callback], Callback]:
        def register(callback: Callback) -> Callback:
            setattr(client, name, callback)
            return callback

        return register

    return decorate


for _callback in CALLBACKS:  # connect_callback() and its kin, as decorators.
    setattr(Client, f"{_callback.removeprefix('on_')}_callback", _decorator(_callback))


def _pairs(topic: Any, qos: int, options: SubscribeOptions | None) -> list[tuple[str, Any]]:
    if isinstance(topic, tuple):
        return [(topic[0], topic[1])]
    if isinstance(topic, list):
        if not topic:
            raise ValueError("Empty topic list")
        return topic
    return [(topic, options if options is not None else qos)]


def _request(topic_filter: str, how: Any) -> SubscriptionRequest:
    try:
        check_topic_filter(topic_filter)
    except InvalidTopicError as error:
        raise ValueError("Invalid subscription filter.") from error
    if isinstance(how, SubscribeOptions):
        return SubscriptionRequest(
            topic_filter, how.QoS, how.noLocal, how.retainAsPublished, how.retainHandling
        )
    if how not in (0, 1, 2):
        raise ValueError("Invalid QoS level.")
    return SubscriptionRequest(topic_filter, how)
