"""`noctule sub`: subscribes, and prints what comes."""

from __future__ import annotations

import sys
import time

from noctule.cli.connection.errors import TIMED_OUT, CommandError, LostError, told
from noctule.cli.connection.link import Link
from noctule.cli.connection.reopen import reopen, tell
from noctule.cli.connection.session import RETAIN_HANDLING, integer, user_properties
from noctule.cli.flags.settings import Settings, UsageError
from noctule.cli.messages.output import Output, output_of
from noctule.protocol import (
    Delivery,
    Message,
    PropertyId,
    SubscriptionRequest,
    check_topic_filter,
    filter_matches,
)
from noctule.protocol.errors import NoctuleError, NotOfferedError
from noctule.protocol.events import Connected, Event, Subscribed, Unsubscribed

__all__ = ["run"]

QUIET_SECONDS = 1.0
"""Nothing says that all retained messages have come; so long without one does."""


def run(settings: Settings) -> int:
    """Subscribe, and print until the settings say that it is enough."""
    _check(settings)
    link = Link(settings)
    output = output_of(settings)
    subscriber = Subscriber(link, settings, output)
    try:
        link.open()
        return subscriber.run()
    except KeyboardInterrupt:
        return 0  # It goes on until somebody ends it, so that is no failure.
    finally:
        subscriber.close()
        link.close()


def _check(settings: Settings) -> None:
    if settings.arguments:
        raise UsageError(f"what is {settings.arguments[0]!r}? A topic is given with -t")
    if not settings.topics and not settings.unsubscribe:
        raise UsageError("give a topic: -t TOPIC, or a URL with one; -t '#' is all of them")
    for name, filters in (
        ("-t", settings.topics),
        ("-U", settings.unsubscribe),
        ("-T", settings.filter_out),
    ):
        for topic_filter in filters:
            try:
                check_topic_filter(topic_filter)
            except NoctuleError as error:
                raise UsageError(f"{name}: {error}") from error
    if settings.no_retained and settings.retained_only:
        raise UsageError("-R and --retained-only together leave nothing to show")


class Subscriber:
    """Messages from a link to an output."""

    def __init__(self, link: Link, settings: Settings, output: Output) -> None:
        self._link = link
        self._settings = settings
        self._output = output
        self._is_over = False
        # Filters of each SUBSCRIBE by its packet identifier, and those not refused.
        self._awaited: dict[int, list[str]] = {}
        self._granted = set(settings.topics)
        self._shown = 0
        self._removed = 0
        self._removing = 0
        # When it will have been quiet for long enough; None: no matter.
        self._quiet_at: float | None = None
        self._is_told = settings.remove_retained and sys.stderr.isatty()

    def run(self) -> int:
        """Until it is over; the exit code."""
        settings = self._settings
        begin = time.monotonic()
        until = None if settings.timeout is None else begin + settings.timeout
        tick = None if self._output.interval is None else begin + self._output.interval
        self._subscribe()
        while not (self._is_over and not self._removing):
            now = time.monotonic()
            if tick is not None and now >= tick:
                self._output.tick()
                tick = now + (self._output.interval or 0)
            if until is not None and now >= until:
                tell(settings, f"timed out after {settings.timeout:g} s")
                return TIMED_OUT
            if self._quiet_at is not None and now >= self._quiet_at:
                self._is_over = True
                continue
            times = [each for each in (until, tick, self._quiet_at) if each is not None]
            try:
                self._handle(self._link.wait(min(times) if times else None))
            except LostError as lost:
                self._output.flush()
                if reopen(self._link, settings, lost, until):
                    self._subscribe()
        return 0

    def close(self) -> None:
        """The last words of output and clean-up."""
        self._output.close()
        if self._is_told and self._removed:
            print(file=sys.stderr)

    def _subscribe(self) -> None:
        settings = self._settings
        session = self._link.session
        self._awaited.clear()  # A connection before this one took its answers with it.
        given = settings.properties_of("subscribe")
        identifier = integer(given, PropertyId.SUBSCRIPTION_IDENTIFIER, 0)
        requests = [
            SubscriptionRequest(
                topic_filter,
                settings.qos,
                retain_as_published=settings.retain_as_published,
                retain_handling=RETAIN_HANDLING[settings.retain_handling],
            )
            for topic_filter in settings.topics
        ]
        try:
            self._request(requests, identifier, user_properties(given))
            if settings.unsubscribe:
                session.unsubscribe(
                    settings.unsubscribe,
                    user_properties=user_properties(settings.properties_of("unsubscribe")),
                )
        except NoctuleError as error:
            raise CommandError(str(error)) from error

    def _request(
        self,
        requests: list[SubscriptionRequest],
        identifier: int,
        properties: tuple[tuple[str, str], ...],
    ) -> None:
        """All in one SUBSCRIBE; where the server does not offer one of them, each by itself."""
        try:
            if requests:
                number = self._link.session.subscribe(
                    requests,
                    subscription_identifier=identifier or None,
                    user_properties=properties,
                )
                self._awaited[number] = [request.topic_filter for request in requests]
        except NotOfferedError as error:
            if len(requests) > 1:
                for request in requests:
                    self._request([request], identifier, properties)
                return
            self._refused(requests[0].topic_filter, str(error))

    def _refused(self, topic_filter: str, why: str) -> None:
        tell(self._settings, f"subscribing to {topic_filter!r} was refused: {why}")
        self._granted.discard(topic_filter)
        if not self._granted:
            self._is_over = True  # Nothing will come. Mosquitto's tool ends with 0, too.

    def _handle(self, events: list[Event]) -> None:
        taken = []
        for event in events:
            match event:
                case Message():
                    if not self._is_over:
                        self._take(event)
                        taken.append(event)
                case Subscribed():
                    self._subscribed(event)
                case Unsubscribed():
                    self._unsubscribed()
                case Delivery():
                    self._removing -= 1
                case Connected():
                    pass
        # Acknowledged is what the reader has, and not what waits in a buffer.
        self._output.flush()
        for message in taken:
            if message.packet_identifier:
                self._link.session.acknowledge(message)

    def _subscribed(self, event: Subscribed) -> None:
        filters = self._awaited.pop(event.packet_identifier, [])
        for topic_filter, code in zip(filters, event.reason_codes, strict=False):
            if code >= 0x80:
                self._refused(topic_filter, told(code))
        if self._settings.exit_after_subscribing and not self._awaited:
            self._end_or_clean_up()

    def _end_or_clean_up(self) -> None:
        """-E ends here, but not a clean-up: retained messages come behind SUBACK."""
        if self._settings.remove_retained:
            self._quiet_at = time.monotonic() + QUIET_SECONDS
        else:
            self._is_over = True

    def _unsubscribed(self) -> None:
        if not self._settings.topics and self._settings.exit_after_subscribing:
            self._is_over = True

    def _take(self, message: Message) -> None:
        settings = self._settings
        if self._quiet_at is not None:
            self._quiet_at = time.monotonic() + QUIET_SECONDS
        if settings.retained_only and not message.retain:
            self._is_over = True
            return
        if any(filter_matches(unwanted, message.topic) for unwanted in settings.filter_out):
            return
        if settings.remove_retained and message.retain:
            self._remove(message.topic)
        if settings.no_retained and message.retain:
            return
        if settings.random_filter >= 100 or _is_chosen(settings.random_filter):
            self._output.show(message)
        self._shown += 1
        if self._shown == settings.count:
            self._is_over = True

    def _remove(self, topic: str) -> None:
        """A retained message without payload takes the place of the one there is."""
        qos = min(1, self._link.session.granted.maximum_qos)
        delivery = Delivery(topic, b"", qos, retain=True)
        self._link.session.publish(delivery)
        self._removing += not delivery.is_settled
        self._removed += 1
        if self._is_told:
            print(f"\r{self._removed} removed ", end="", file=sys.stderr, flush=True)


def _is_chosen(percent: float) -> bool:
    from random import random  # seldom needed, and slow to import

    return random() * 100 < percent  # noqa: S311
