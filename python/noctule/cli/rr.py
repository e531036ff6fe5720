"""`noctule rr`: a request, and the response to it."""

from __future__ import annotations

import sys
import time

from noctule.cli.connection.errors import TIMED_OUT, CommandError
from noctule.cli.connection.link import Link
from noctule.cli.connection.reopen import tell
from noctule.cli.connection.session import RETAIN_HANDLING, integer, user_properties
from noctule.cli.flags.settings import Settings, UsageError
from noctule.cli.messages.output import output_of
from noctule.cli.pub import payload_of, topic_of
from noctule.protocol import (
    Delivery,
    Message,
    Properties,
    PropertyId,
    SubscriptionRequest,
    Version,
    check_topic_name,
)
from noctule.protocol.errors import NoctuleError
from noctule.protocol.events import Event, Subscribed

__all__ = ["run"]


def run(settings: Settings) -> int:
    """Subscribe to the response topic, publish, print the first message, end."""
    topic = topic_of(settings)
    _check_response_topic(settings)
    payload = payload_of(settings)
    link = Link(settings, Version.V5)
    output = output_of(settings)
    link.open()
    try:
        until = None if settings.timeout is None else time.monotonic() + settings.timeout
        message = _respond(link, settings, _request(link, settings, topic, payload), until)
        if message is None:
            tell(settings, f"timed out after {settings.timeout:g} s without a response")
            return TIMED_OUT
        output.show(message)
        output.flush()
        if message.packet_identifier:
            link.session.acknowledge(message)
        return 0
    except KeyboardInterrupt:
        return 0
    finally:
        sys.stdout.flush()
        link.close()


def _check_response_topic(settings: Settings) -> None:
    if settings.response_topic is None:
        raise UsageError("give the topic that the response comes on: -e TOPIC")
    try:
        check_topic_name(settings.response_topic)
    except NoctuleError as error:
        raise UsageError(f"-e: {error}") from error


def _request(link: Link, settings: Settings, topic: str, payload: bytes) -> Delivery:
    """The request; a 5.0 responder is told in it where to respond, MQTT 5.0 §4.10."""
    given = settings.properties_of("publish")
    pairs = [pair for pair in given if pair[0] is not PropertyId.RESPONSE_TOPIC]
    if link.session.options.version is Version.V5:
        assert settings.response_topic is not None
        pairs.insert(0, (PropertyId.RESPONSE_TOPIC, settings.response_topic))
    return Delivery(topic, payload, settings.qos, settings.retain, Properties(pairs))


def _respond(
    link: Link, settings: Settings, request: Delivery, until: float | None
) -> Message | None:
    """The first message on the response topic after the request has left; None: too late."""
    assert settings.response_topic is not None
    try:
        given = settings.properties_of("subscribe")
        link.session.subscribe(
            [
                SubscriptionRequest(
                    settings.response_topic,
                    settings.qos,
                    retain_as_published=settings.retain_as_published,
                    retain_handling=RETAIN_HANDLING[settings.retain_handling],
                )
            ],
            subscription_identifier=integer(given, PropertyId.SUBSCRIPTION_IDENTIFIER, 0) or None,
            user_properties=user_properties(given),
        )
        while True:
            events = link.wait(until)
            message = _first_message(link, settings, request, events)
            if message is not None:
                return message
            if not events and until is not None and time.monotonic() >= until:
                return None
    except NoctuleError as error:
        raise CommandError(str(error)) from error


def _first_message(
    link: Link, settings: Settings, request: Delivery, events: list[Event]
) -> Message | None:
    for event in events:
        match event:
            case Subscribed(reason_codes=codes):
                if codes[0] >= 0x80:
                    raise CommandError(f"subscribing to {settings.response_topic!r} was refused")
                link.session.publish(request)
            case Delivery(error=error) if error is not None:
                raise CommandError(str(error))
            case Message():
                if not (event.retain and settings.no_retained):
                    return event
                if event.packet_identifier:
                    link.session.acknowledge(event)
            case _:
                pass
    return None
