"""The broker as an asyncio object: it starts the engine, stops it, and hands its events out."""

import asyncio
import errno
import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack

from noctule._engine import Engine
from noctule.broker.authentication import (
    AccessControl,
    Authenticator,
    Client,
    EngineRule,
)
from noctule.broker.ban_requests import BanWatch
from noctule.broker.bans import Ban, ban_from, how_long, whom
from noctule.broker.consultant import Consultant
from noctule.broker.door import Door, all_clients, rules_json
from noctule.broker.errors import BrokerError, EngineFailedError, PluginError, StartError
from noctule.broker.events import EventStream, Reports
from noctule.broker.exposure import refuse_exposed
from noctule.broker.hooking import Hooking
from noctule.broker.listener import Listener
from noctule.broker.options import (
    BanOptions,
    BrokerOptions,
    Durability,
    DurabilityRule,
    Limits,
    ProtocolOptions,
)
from noctule.broker.plugins import Plugin, Plugins
from noctule.broker.present import HookedAuthenticator
from noctule.broker.properties import MessageProperties
from noctule.broker.retained import Retained
from noctule.broker.subscription import Subscription
from noctule.broker.topics import check_filter

__all__ = ["Broker"]

STOP_TIMEOUT_SECONDS = 5.0
AUTHENTICATION_TIMEOUT_SECONDS = 10.0
HOOK_TIMEOUT_SECONDS = 5.0
ADMINISTRATIVE_ACTION = 0x98
BUSY_SECONDS = 0.001

REMEDIES = {
    errno.EADDRINUSE: "another program listens there: stop it, or listen on another port",
    errno.EACCES: "ports below 1024 are for privileged programs: listen on a higher one",
    errno.EADDRNOTAVAIL: "this machine has no such address: listen on one that it has",
}

logger = logging.getLogger("noctule.broker")


class OptionKeywords(TypedDict, total=False):
    """The fields of BrokerOptions as keyword arguments, in the forms a TOML file would hold."""

    listeners: str | Sequence[str | Listener | Mapping[str, Any]]
    workers: int
    durability: Durability | None
    durability_rules: Sequence[DurabilityRule | Mapping[str, str]]
    interval_milliseconds: int
    data_dir: str | Path | None
    system_topics_interval_seconds: int
    plugins: Sequence[str | Plugin | Mapping[str, Any]]
    limits: Limits | Mapping[str, Any]
    protocol: ProtocolOptions | Mapping[str, Any]
    bans: BanOptions | Mapping[str, Any]


class Broker(Hooking):
    """An MQTT broker that runs beside your coroutines, on threads of its own.

    Takes BrokerOptions, or the same options as keyword arguments, which win where both are
    given. Several brokers may run in one process. A broker starts once.

    `authenticator` decides who is let in (see `noctule.broker.Authenticator`) and has
    `authentication_timeout_seconds` for each answer; without one everybody is. "hooks": the
    functions that `@broker.authenticate` will name are all there is. Hooks are said in `Hooking`,
    `plugins` in `noctule.broker.plugins`.

    Raises pydantic's ValidationError, a ValueError, for a wrong option, and
    ExposedListenerError for a listener open to other machines without authentication, and
    PluginError for a plug-in that cannot be loaded.
    """

    def __init__(
        self,
        options: BrokerOptions | None = None,
        *,
        authenticator: Authenticator | Literal["hooks"] | None = None,
        authentication_timeout_seconds: float = AUTHENTICATION_TIMEOUT_SECONDS,
        hook_timeout_seconds: float = HOOK_TIMEOUT_SECONDS,
        **keywords: Unpack[OptionKeywords],
    ) -> None:
        super().__init__(hook_timeout_seconds)
        self.options = with_keywords(options or BrokerOptions(), keywords)
        self._authenticator = None if authenticator == "hooks" else authenticator
        self._door: Door | None = None
        self._authentication_timeout_seconds = authentication_timeout_seconds
        if authenticator is None:
            refuse_exposed(self.options.listeners)
        self._engine = Engine(self.options.engine_json(authentication=authenticator is not None))
        self._reports = Reports(self._engine)
        self._authenticates = authenticator is not None
        data_dir = self.options.data_dir
        self._ban_watch = None if data_dir is None else BanWatch(data_dir, self._engine)
        self._consultant = Consultant(self._engine, self._present)
        self._plugins = Plugins(self.options.plugins)
        self._plugins.set_up(self)

    async def start(self) -> None:
        """Bind the listeners and start serving; StartError names what was refused."""
        self._set_hooks()
        starting = asyncio.create_task(asyncio.to_thread(self._engine.start))
        try:
            await asyncio.shield(starting)
        except OSError as error:
            raise StartError(start_text(error)) from error
        except asyncio.CancelledError:
            # The thread goes on: what it starts must not outlive the caller's wish.
            await asyncio.wait([starting])
            await self.stop()
            raise
        self._reports.start()
        if self._ban_watch is not None:
            self._ban_watch.start()
        self._hooks.start(self.events)
        self._consultant.start()
        if self._door is not None:
            self._door.start()
        if isinstance(self._authenticator, AccessControl):
            await self._authenticator.attach(self)
        for tap in self._taps:
            await tap.start(self._engine)
        try:
            await self._plugins.start()
        except PluginError:
            await self.stop()
            raise

    def _set_hooks(self) -> None:
        """Tell the engine who is to be asked; where nobody is, it never asks."""
        if self._hooks_are_set:
            return
        self._hooks_are_set = True
        if not self._present.is_empty:
            self._consultant.announce()
        if self._authenticates or self._present.wants_connects:
            knows = HookedAuthenticator(
                self._present, self._authenticator, refuses=self._authenticates
            )
            self._door = Door(
                self._engine, knows, self._authentication_timeout_seconds, self._present.enter
            )
        self._engine.observe_deliveries(self._hooks.wants("delivered"))

    async def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """Disconnect every client, end the threads and let `serve_forever` return.

        Connections that have not taken what waits for them after `timeout_seconds` are cut.
        Stopping a broker that does not run does nothing. EngineFailedError where the engine had
        stopped by itself.
        """
        await self._plugins.stop()
        if self._ban_watch is not None:
            await self._ban_watch.stop()
        for tap in self._taps:
            await tap.stop()
        try:
            await asyncio.to_thread(self._engine.stop, timeout_seconds)
        except RuntimeError as error:
            raise EngineFailedError(str(error)) from error
        finally:
            await self._reports.finished()
            await self._hooks.finished()
            await self._consultant.finished()
            if self._door is not None:
                await self._door.finished()
            if isinstance(self._authenticator, AccessControl):
                await self._authenticator.detach()

    async def serve_forever(self) -> None:
        """Wait until the broker is stopped, or until the task is cancelled.

        EngineFailedError where the engine stops by itself.
        """
        await self._reports.finished()
        if self._engine.failure is not None:
            raise EngineFailedError(self._engine.failure)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.stop()
        except EngineFailedError:
            if not isinstance(exception, EngineFailedError):
                raise

    @property
    def is_running(self) -> bool:
        """Whether clients can connect."""
        return self._engine.is_running

    @property
    def addresses(self) -> list[str]:
        """Each listener as bound, `mqtt://127.0.0.1:1883`, in the order of the options."""
        listeners = self.options.listeners
        return [
            listeners[place].model_copy(update={"host": host, "port": port}).url
            for place, host, port in self._engine.addresses()
        ]

    @property
    def ports(self) -> list[int]:
        """The port of each listener as bound, in the order of the options."""
        return [port for _, _, port in self._engine.addresses()]

    @property
    def port(self) -> int:
        """The port of the first listener; BrokerError before the start."""
        ports = self.ports
        if not ports:
            raise BrokerError("the broker listens on no port yet: start it first")
        return ports[0]

    def statistics(self) -> dict[str, int | float]:
        """Counters since the start and gauges of the moment, by name."""
        return self._engine.statistics()

    def drain(self, server_reference: str | None = None, *, moved: bool = False) -> None:
        """Send every client elsewhere, for the time being or, where `moved`, for good.

        MQTT 5.0 §4.11: 0x9C "use another server" or 0x9D "server moved".
        """
        self._engine.drain(server_reference, moved)

    @property
    def access(self) -> AccessControl:
        """The authenticator, where it is one that also says what clients may do."""
        if not isinstance(self._authenticator, AccessControl):
            raise BrokerError("the broker has no access control: pass it as authenticator")
        return self._authenticator

    async def clients(self) -> list[Client]:
        """Every session there is, connected or not."""
        found = await all_clients(self._engine)
        return [Client(**{name: each[name] for name in CLIENT_FIELDS}) for each in found]

    async def disconnect(
        self,
        client: str | None = None,
        reason_code: int = ADMINISTRATIVE_ACTION,
        *,
        user: str | None = None,
    ) -> None:
        """End a client's connection, if it has one, or all of a user; sessions stay.

        A 5.0 client is told the reason code, 0x80 or above. Nobody is kept out by this: see
        `ban`. ValueError unless one of `client` and `user` is given.
        """
        if (client is None) == (user is None):
            raise ValueError("say one of client and user")
        if client is not None:
            self._engine.disconnect(client, reason_code)
            return
        for each in await self.clients():
            if each.connected and each.user == user:
                self._engine.disconnect(each.client, reason_code)

    def ban(
        self,
        *,
        client: str | None = None,
        user: str | None = None,
        address: str | None = None,
        seconds: float | None = None,
        reason: str = "",
    ) -> None:
        """Keep out a client identifier, a user, or an address or network such as `10.0.0.0/8`.

        One of the three, for some `seconds` or, with None, until `unban`. Their connections end
        at once with 0x98, and they are answered 0x8A when they come back. Bans outlast a restart
        where the broker has a data_dir. ValueError for an address that is none.
        """
        kind, value = whom(client, user, address)
        self._engine.ban(kind, value, seconds, reason)
        logger.warning("%s %r is banned for %s: %s", kind, value, how_long(seconds), reason)

    def unban(
        self, *, client: str | None = None, user: str | None = None, address: str | None = None
    ) -> bool:
        """Let them in again, named as they were banned; False where they were not."""
        return self._engine.unban(*whom(client, user, address))

    def bans(self) -> list[Ban]:
        """The bans in force."""
        return [ban_from(*each) for each in self._engine.bans()]

    def reauthorize(self, client: str | None = None) -> None:
        """Forget what `@broker.authorize` has said about one client, or about all.

        Subscriptions there are already are asked about at once, and end where they are denied.
        """
        self._engine.forget_permissions(client)

    def set_permissions(self, client: str, rules: Sequence[EngineRule] | None) -> None:
        """Give a client's session other rules, in force from its next packet and delivery on.

        None allows everything, but `$SYS` on this machine alone. ValueError for a rule that is
        none.
        """
        self._engine.set_permissions(client, rules_json(rules))

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        **properties: Unpack[MessageProperties],
    ) -> None:
        """Publish on the broker's own account; messages of one topic stay in their order.

        No rule and no hook is asked. Returns once the engine has taken it, which says nothing of
        the disk. ValueError for a topic that is none, or begins with `$`.
        """
        given = dict(properties) or None
        while not self._engine.publish(topic, payload, qos, retain, given):  # noqa: ASYNC110
            await asyncio.sleep(BUSY_SECONDS)

    def subscribe(self, topic_filter: str, *, qos: int = 0) -> Subscription:
        """The messages of a filter, in the process: for `async with` and `async for`.

        QoS 0 or 1. Retained messages of earlier are in `retained`. ValueError for a filter that
        is none, or shared.
        """
        check_filter(topic_filter)
        return Subscription(self._engine, topic_filter, qos)

    @property
    def retained(self) -> Retained:
        """The retained messages."""
        return Retained(self._engine, self.publish)

    def events(self) -> EventStream:
        """What happens from now on, in batches, until the broker stops.

        `async for batch in broker.events()`: each event is a dict with its `kind`, "connected",
        "refused", "disconnected", "subscribed", "unsubscribed", "dropped", "denied",
        "banned" or "session_ended" (and "delivered" where a hook asks for those), with
        the `client` and what else there is to say.
        """
        return self._reports.stream()


CLIENT_FIELDS = tuple(each.name for each in fields(Client))


def with_keywords(options: BrokerOptions, keywords: OptionKeywords) -> BrokerOptions:
    """The options with those replaced that the keywords name, all of them validated."""
    if not keywords:
        return options
    return BrokerOptions.model_validate({**dict(options), **keywords})


def start_text(error: OSError) -> str:
    """What was refused, and what to do about it where that is known."""
    text = error.strerror or str(error)
    remedy = REMEDIES.get(error.errno or 0)
    return text if remedy is None else f"{text}; {remedy}"
