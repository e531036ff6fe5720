"""`noctule replay`: publishes a recording of `noctule sub --save`, at its own pace or another."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from noctule.cli.connection.errors import CommandError, told
from noctule.cli.connection.link import Link
from noctule.cli.connection.reopen import tell
from noctule.cli.flags.settings import Settings, UsageError
from noctule.cli.messages.record import Record, RecordError, load
from noctule.cli.progress import Progress
from noctule.protocol import Delivery, Version, check_topic_filter, filter_matches
from noctule.protocol.errors import NoctuleError
from noctule.protocol.events import Event

__all__ = ["read_records", "run"]

MAX_PENDING = 1000
LONGEST_WAIT_SECONDS = 0.25


def run(settings: Settings) -> int:
    """Publish the file's messages in their order."""
    if len(settings.arguments) != 1:
        raise UsageError("give the file of a recording: noctule replay FILE")
    for topic_filter in settings.topics:
        try:
            check_topic_filter(topic_filter)
        except NoctuleError as error:
            raise UsageError(f"-t: {error}") from error
    path = Path(settings.arguments[0])
    try:
        # Read through once before anything is sent, so that a broken file does nothing.
        records = [record for record in read_records(path) if _is_wanted(settings, record)]
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    link = Link(settings, Version.V5)
    link.open()
    player = Player(link, settings)
    try:
        player.play(records)
    finally:
        link.close()
    return player.report()


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file; CommandError names the line that is none."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield load(line)
            except RecordError as error:
                raise CommandError(f"{path}, line {number}: {error}") from error


def _is_wanted(settings: Settings, record: Record) -> bool:
    return not settings.topics or any(filter_matches(f, record.topic) for f in settings.topics)


class Player:
    """Publishes records when their time has come."""

    def __init__(self, link: Link, settings: Settings) -> None:
        self._link = link
        self._settings = settings
        self._waiting = 0
        self._published = 0
        self._refused = 0
        self._began = time.monotonic()

    def play(self, records: list[Record]) -> None:
        """Publish all; the time between two is that of the recording, divided by --speed."""
        speed = self._settings.speed
        with Progress("replay", len(records)) as progress:
            for record in records:
                if speed:
                    # Recordings joined together may go back in time; that is no wait.
                    self._wait(self._began + (record.time - records[0].time) / speed)
                self._publish(record)
                progress.update(self._published)
            while self._waiting:
                self._handle(self._link.wait())
            self._link.flush()

    def report(self) -> int:
        """Say how it went; the exit code is 1 where the server refused something."""
        seconds = time.monotonic() - self._began
        if self._settings.json:
            json.dump(
                {
                    "published": self._published,
                    "refused": self._refused,
                    "seconds": round(seconds, 3),
                },
                sys.stdout,
            )
            print()
        else:
            print(f"{self._published:,} messages in {seconds:.1f} s, {self._refused:,} refused")
        return 1 if self._refused else 0

    def _wait(self, until: float) -> None:
        while time.monotonic() < until:
            self._handle(self._link.wait(min(until, time.monotonic() + LONGEST_WAIT_SECONDS)))

    def _publish(self, record: Record) -> None:
        settings = self._settings
        delivery = Delivery(
            settings.prefix + record.topic,
            record.payload,
            record.qos,
            record.retain and not settings.no_retained,
            record.properties,
        )
        try:
            self._link.session.publish(delivery)
        except NoctuleError as error:
            raise CommandError(f"{record.topic}: {error}") from error
        self._published += 1
        self._waiting += not delivery.is_settled
        while self._link.is_congested or self._link.session.pending > MAX_PENDING:
            self._handle(self._link.wait())

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if not isinstance(event, Delivery):
                continue
            self._waiting -= 1
            code = event.reason_code
            if event.error is not None or (code is not None and code >= 0x80):
                self._refused += 1
                why = event.error or (told(code) if code is not None else "")
                tell(self._settings, f"{event.topic} was refused: {why}")
