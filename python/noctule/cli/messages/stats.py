"""--stats: messages and bytes by topic, busiest first."""

from __future__ import annotations

import json
import sys
import time

from noctule.cli.flags.settings import Settings
from noctule.cli.messages.rates import TopicRates
from noctule.cli.terminal import (
    Palette,
    Screen,
    clipped,
    human_bytes,
    human_number,
    padded,
    printable,
)
from noctule.protocol import Message

__all__ = ["StatsOutput", "rows"]

NUMBERS_COLUMNS = 36
MAX_TOPICS = 100_000
OTHERS = "(others)"


class StatsOutput:
    """Counts, and draws a table twice a second; with --json one object at the end."""

    interval: float | None = 0.5

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._screen = Screen()
        self._palette = Palette()
        self._since = time.monotonic()
        self._total = TopicRates(self._since)
        self._topics: dict[str, TopicRates] = {}

    def show(self, message: Message) -> None:
        """Count it. Beyond 100,000 topics the rest is counted together."""
        now = time.monotonic()
        topic = message.topic
        counted = self._topics.get(topic)
        if counted is None:
            if len(self._topics) >= MAX_TOPICS:
                topic = OTHERS
            counted = self._topics.setdefault(topic, TopicRates(now))
        counted.add(len(message.payload), now)
        self._total.add(len(message.payload), now)

    def tick(self) -> None:
        """Draw."""
        if not self._settings.json:
            self._draw()

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The last numbers stay."""
        if self._settings.json:
            json.dump(self._numbers(), sys.stdout, ensure_ascii=False)
            print()
            return
        self._draw()
        self._screen.close()

    def _numbers(self) -> dict[str, object]:
        seconds = time.monotonic() - self._since
        return {
            "seconds": round(seconds, 3),
            "messages": self._total.messages,
            "bytes": self._total.bytes,
            "topics": {
                topic: {
                    "messages": counted.messages,
                    "bytes": counted.bytes,
                    "per_second": round(counted.messages / seconds, 3),
                }
                for topic, counted in self._busiest(len(self._topics))
            },
        }

    def _busiest(self, count: int) -> list[tuple[str, TopicRates]]:
        return sorted(self._topics.items(), key=lambda pair: -pair[1].messages)[:count]

    def _draw(self) -> None:
        columns, lines = self._screen.size
        now = time.monotonic()
        paint = self._palette
        head = (
            f"{human_number(self._total.messages)} messages, {human_bytes(self._total.bytes)}, "
            f"{len(self._topics):,} topics, "
            f"{human_number(round(self._total.rate.per_second(now, self._since), 1))} messages/s"
        )
        table = [paint("bold", clipped(head, columns))]
        table += rows(self._busiest(lines - 2), columns, now, self._since, paint)
        self._screen.draw(table)


def rows(
    topics: list[tuple[str, TopicRates]], columns: int, now: float, since: float, paint: Palette
) -> list[str]:
    """A table of topics: messages, rate, bytes."""
    room = max(10, columns - NUMBERS_COLUMNS)
    longest = max([len("topic"), *(len(topic) for topic, _ in topics)])
    width = min(room, longest)
    table = [paint("dim", f"{'topic':{width}}{'messages':>12}{'per s':>10}{'bytes':>12}")]
    for topic, counted in topics:
        rate = round(counted.rate.per_second(now, since), 1)
        table.append(
            paint("cyan", padded(clipped(printable(topic), width), width))
            + f"{human_number(counted.messages):>12}{human_number(rate):>10}"
            + f"{human_bytes(counted.bytes):>12}"
        )
    return table
