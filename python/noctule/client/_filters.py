"""The middle layer of a client: its subscriptions at the server, and whose a message is."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable

from noctule.client._flow import Flow
from noctule.client._routing import FilterEntry, Routes
from noctule.client.errors import SubscribeRefusedError
from noctule.client.options import ClientOptions
from noctule.client.receipt import Receipt
from noctule.client.subscription import Subscription
from noctule.protocol._tables import ReasonCode
from noctule.protocol.errors import NoctuleError
from noctule.protocol.events import Connected, Event, Subscribed, Unsubscribed
from noctule.protocol.message import Message
from noctule.protocol.packets import SubscriptionRequest, Version

__all__ = ["Filters"]

logger = logging.getLogger("noctule.client")

MAX_FIRST_IDENTIFIER = 200_000_000
"""Subscription identifiers go up to 268,435,455."""

UNCLAIMED_LIMIT = 1000
"""Messages of a continued session that wait for their subscription, before reading stops."""


class Filters(Flow):
    """Subscribes once for each filter, again where the session is lost, and distributes."""

    def __init__(self, url: str, options: ClientOptions | None) -> None:
        super().__init__(url, options)
        # A session of an earlier run may still bring messages with that run's identifiers.
        is_earlier = not self._options.clean_start or self._options.outbox is not None
        first_identifier = 1 + secrets.randbelow(MAX_FIRST_IDENTIFIER) if is_earlier else 1
        self._routes = Routes(first_identifier)
        self._subscriptions: set[Subscription] = set()
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

    def _resubscribe(self, event: Connected) -> None:
        """A connection is accepted: tells the server what it does not know."""
        if not event.granted.session_present:
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

    def _forget_requests(self) -> None:
        """The connection is gone, and with it the answers to what was asked."""
        self._subscribing.clear()
        for future in self._unsubscribing.values():
            if not future.done():
                future.set_result(None)
        self._unsubscribing.clear()

    # --- Messages ---------------------------------------------------------------------

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
                topic = event.topic  # type: ignore[union-attr]
                header = event.header  # type: ignore[union-attr]
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
        if self._waiting_for_room and self._on_the_way < self._limit:
            self._wake(self._waiting_for_room)
        if self._waiting_for_idle and not self._on_the_way:
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
        raise NotImplementedError
