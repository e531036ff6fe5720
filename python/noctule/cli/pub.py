"""`noctule pub`: messages from the command line, a file or a pipe."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

from noctule.cli.connection.errors import CommandError, LostError, told
from noctule.cli.connection.link import Link
from noctule.cli.connection.reopen import reopen, tell
from noctule.cli.flags.settings import Settings, UsageError
from noctule.protocol import Delivery, Properties, check_topic_name
from noctule.protocol.errors import NoctuleError
from noctule.protocol.events import Event

__all__ = ["Publisher", "payload_of", "run", "topic_of"]

READ_BYTES = 65_536
MAX_PENDING = 1000
"""Messages that wait for their turn before no more are read from standard input."""


def run(settings: Settings) -> int:
    """Publish what the settings say, and wait until the server has it."""
    topic = topic_of(settings)
    payload = None if settings.lines else payload_of(settings)
    link = Link(settings)
    link.open()
    publisher = Publisher(link, settings, topic)
    try:
        if payload is None:
            publisher.publish_lines()
        else:
            publisher.publish_repeatedly(payload)
        publisher.settle()
    finally:
        link.close()
    return publisher.exit_code


def topic_of(settings: Settings) -> str:
    """The topic to publish to; UsageError where there is none, or no message."""
    sources = [
        settings.message is not None,
        settings.file is not None,
        settings.null_message,
        settings.standard_input,
        settings.lines,
    ]
    if settings.arguments:
        raise UsageError(f"what is {settings.arguments[0]!r}? A topic is -t, a message -m")
    if sum(sources) > 1:
        raise UsageError("one of -m, -f, -l, -s and -n at a time")
    if not settings.topics:
        raise UsageError("give a topic: -t TOPIC, or a URL with one")
    if not any(sources):
        raise UsageError("give a message: -m TEXT, -f FILE, -l, -s or -n")
    try:
        check_topic_name(settings.topics[-1])
    except NoctuleError as error:
        raise UsageError(f"-t: {error}") from error
    return settings.topics[-1]


def payload_of(settings: Settings) -> bytes:
    """The bytes of -m, -f, -s or -n."""
    if settings.message is not None:
        return settings.message.encode(errors="surrogateescape")
    if settings.file is not None:
        try:
            with open(settings.file, "rb") as file:
                return file.read()
        except OSError as error:
            raise CommandError(f"-f {settings.file}: {error.strerror}") from error
    if settings.standard_input:
        payload = sys.stdin.buffer.read()
        if not payload:
            raise CommandError("-s: there is nothing on standard input; -n is for an empty message")
        return payload
    return b""


class Publisher:
    """Publishes over a link, and keeps account of what the server has answered."""

    def __init__(self, link: Link, settings: Settings, topic: str) -> None:
        self._link = link
        self._settings = settings
        self._topic = topic
        self._properties = Properties(settings.properties_of("publish"))
        self._waiting = 0
        self._number = 0
        self.exit_code = 0

    def publish(self, payload: bytes) -> None:
        """Puts one message on its way, and waits while too many are."""
        settings = self._settings
        self._number += 1
        delivery = Delivery(self._topic, payload, settings.qos, settings.retain, self._properties)
        try:
            self._link.session.publish(delivery)
        except NoctuleError as error:
            raise CommandError(str(error)) from error
        if not delivery.is_settled:
            self._waiting += 1
        while self._link.is_congested or self._link.session.pending > MAX_PENDING:
            self._handle(self._link.wait())

    def publish_repeatedly(self, payload: bytes) -> None:
        """--repeat and --repeat-delay: a delay begins when the message has been delivered."""
        for number in range(self._settings.repeat):
            if number and self._settings.repeat_delay:
                self.settle()
                self._sleep(self._settings.repeat_delay)
            self.publish(payload)

    def publish_lines(self) -> None:
        """-l: each line of standard input; a lost connection is made again."""
        for line in self._lines():
            try:
                self.publish(line)
            except LostError as lost:
                reopen(self._link, self._settings, lost)

    def settle(self) -> None:
        """Waits until the server has answered for every message, and all is written."""
        while self._waiting:
            try:
                self._handle(self._link.wait())
            except LostError as lost:
                if not self._settings.lines:
                    raise
                reopen(self._link, self._settings, lost)
        self._link.flush()

    def _lines(self) -> Iterator[bytes]:
        descriptor = sys.stdin.fileno()
        rest = b""
        while True:
            if not self._wait_for(descriptor):
                continue
            data = os.read(descriptor, READ_BYTES)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            yield from lines
        if rest:
            yield rest

    def _wait_for(self, descriptor: int) -> bool:
        """Until the descriptor can be read (True) or the connection had something to say."""
        try:
            events = self._link.wait(None, descriptor)
        except LostError as lost:
            reopen(self._link, self._settings, lost)
            return False
        self._handle(events)
        return not events

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._handle(self._link.wait(until))

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if not isinstance(event, Delivery):
                continue
            self._waiting -= 1
            if event.error is not None:
                self.exit_code = 1
                tell(self._settings, f"not published: {event.error}")
            elif event.reason_code is not None and event.reason_code >= 0x80:
                # Mosquitto's tool warns, and ends with 0.
                tell(
                    self._settings,
                    f"publishing to {event.topic!r} was refused: {told(event.reason_code)}",
                )
