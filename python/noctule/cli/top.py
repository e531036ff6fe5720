"""`noctule top`: a broker at a glance, from what it says of itself below $SYS/broker/."""

from __future__ import annotations

import json
import sys
import time

from noctule.cli.connection.errors import CommandError, LostError
from noctule.cli.connection.link import Link
from noctule.cli.connection.reopen import reopen
from noctule.cli.flags.settings import Settings, UsageError
from noctule.cli.messages.rates import TopicRates
from noctule.cli.messages.stats import rows
from noctule.cli.terminal import (
    Palette,
    Screen,
    clipped,
    human_bytes,
    human_number,
    padded,
    printable,
)
from noctule.protocol import Message, SubscriptionRequest, check_topic_filter
from noctule.protocol.errors import NoctuleError
from noctule.protocol.events import Event, Subscribed

__all__ = ["System", "run"]

PREFIX = "$SYS/broker/"
INTERVAL_SECONDS = 1.0
FIRST_LOOK_SECONDS = 2.0
QUIET_SECONDS = 0.3
BUSIEST = 10
WORST = 5
MAX_TOPICS = 100_000


def run(settings: Settings) -> int:
    """Watch until somebody ends it, or look once."""
    if settings.arguments:
        raise UsageError(f"what is {settings.arguments[0]!r}? A broker is -h HOST or a URL")
    for topic_filter in settings.topics:
        try:
            check_topic_filter(topic_filter)
        except NoctuleError as error:
            raise UsageError(f"-t: {error}") from error
    link = Link(settings)
    link.open()
    watch = Watch(link, settings)
    try:
        if settings.once or settings.json:
            watch.look_once()
        else:
            watch.run()
    except KeyboardInterrupt:
        pass
    finally:
        watch.close()
        link.close()
    return 0


class System:
    """The newest values below $SYS/broker/, and how fast the counters among them grow."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._counted: dict[str, tuple[float, float | None]] = {}
        self._rates: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._values)

    def put(self, topic: str, payload: bytes, now: float, *, is_retained: bool = False) -> None:
        """A value has come; a retained one may be of any time before, and begins no rate."""
        name = topic.removeprefix(PREFIX)
        text = payload.decode(errors="replace")
        self._values[name] = text
        try:
            value = float(text)
        except ValueError:
            return
        before = self._counted.get(name)
        self._counted[name] = value, None if is_retained else now
        if before is not None and before[1] is not None and now > before[1]:
            self._rates[name] = max(0.0, value - before[0]) / (now - before[1])

    def text(self, name: str) -> str:
        """The value as it came; empty where there is none."""
        return self._values.get(name, "")

    def number(self, *names: str) -> float | None:
        """The value of the first of the names that there is; brokers differ."""
        for name in names:
            if name in self._counted:
                value = self._counted[name][0]
                return int(value) if value == int(value) else value
        return None

    def clients(self, name: str) -> list[dict[str, object]] | None:
        """One of the lists below clients/; None where the broker tells none."""
        try:
            found = json.loads(self._values[f"clients/{name}"])
        except (KeyError, ValueError):
            return None
        if not isinstance(found, list):
            return None
        return [each for each in found if isinstance(each, dict)]

    def rate(self, counter: str, load: str) -> float | None:
        """How much a counter grows in a second; before it came twice, the mean of the minute."""
        if counter in self._rates:
            return self._rates[counter]
        value = self.number(f"load/{load}/1min")
        return None if value is None else value / 60


class Watch:
    """Takes messages, and draws."""

    def __init__(self, link: Link, settings: Settings) -> None:
        self._link = link
        self._settings = settings
        self._screen = Screen()
        self._paint = Palette()
        self._system = System()
        self._since = time.monotonic()
        self._topics: dict[str, TopicRates] = {}
        self._refused: set[int] = set()
        self._subscribe()

    def _subscribe(self) -> None:
        requests = [SubscriptionRequest(f"{PREFIX}#")]
        if not self._settings.no_topics:
            requests += [SubscriptionRequest(f) for f in self._settings.topics or ["#"]]
        self._link.session.subscribe(requests)

    def run(self) -> None:
        """A picture each second."""
        until = None if self._settings.timeout is None else self._since + self._settings.timeout
        drawn = self._since
        while until is None or time.monotonic() < until:
            try:
                self._handle(self._link.wait(drawn + INTERVAL_SECONDS))
            except LostError as lost:
                self._screen.close()
                reopen(self._link, self._settings, lost, until)
                self._subscribe()
            now = time.monotonic()
            if now - drawn >= INTERVAL_SECONDS:
                self._screen.draw(self._picture(now))
                drawn = now

    def look_once(self) -> None:
        """What is retained below $SYS comes at once; then it is quiet."""
        until = time.monotonic() + FIRST_LOOK_SECONDS
        quiet = until
        while (now := time.monotonic()) < min(until, quiet):
            had = len(self._system)
            self._handle(self._link.wait(min(until, quiet)))
            if len(self._system) > had:
                quiet = now + QUIET_SECONDS
        if not len(self._system):
            raise CommandError(
                f"nothing is published below {PREFIX}: the broker has it switched off "
                "(system_topics_interval_seconds = 0), or we may not read it"
            )
        if self._settings.json:
            json.dump(self._numbers(), sys.stdout, ensure_ascii=False)
            print()
        else:
            self._screen.is_live = False
            self._screen.draw(self._picture(time.monotonic()))

    def close(self) -> None:
        """Leave the last picture."""
        self._screen.close()

    def _handle(self, events: list[Event]) -> None:
        now = time.monotonic()
        for event in events:
            match event:
                case Message() if event.topic.startswith(PREFIX):
                    self._system.put(event.topic, event.payload, now, is_retained=event.retain)
                case Message() if not event.retain:
                    self._count(event, now)
                case Subscribed():
                    self._refused = {
                        number for number, code in enumerate(event.reason_codes) if code >= 0x80
                    }
                case _:
                    pass

    def _count(self, message: Message, now: float) -> None:
        counted = self._topics.get(message.topic)
        if counted is None:
            if len(self._topics) >= MAX_TOPICS:
                return
            counted = self._topics[message.topic] = TopicRates(now)
        counted.add(len(message.payload), now)

    def _numbers(self) -> dict[str, object]:
        """The picture as numbers."""
        system = self._system
        return {
            "broker": system.text("version"),
            "uptime": system.text("uptime"),
            "clients": {
                "connected": system.number("clients/connected", "clients/active"),
                "disconnected": system.number("clients/disconnected", "clients/inactive"),
                "maximum": system.number("clients/maximum"),
            },
            "subscriptions": system.number("subscriptions/count"),
            "retained": system.number("retained messages/count"),
            "dropped": system.number("publish/messages/dropped"),
            "per_second": {
                name: None if value is None else round(value, 3)
                for name, value in self._rates().items()
            },
            "memory_bytes": system.number("heap/current", "heap/current size"),
            "dropping_clients": system.clients("dropping"),
            "slow_clients": system.clients("slow"),
        }

    def _rates(self) -> dict[str, float | None]:
        rate = self._system.rate
        return {
            "messages_in": rate("publish/messages/received", "publish/received"),
            "messages_out": rate("publish/messages/sent", "publish/sent"),
            "dropped": rate("publish/messages/dropped", "publish/dropped"),
            "bytes_in": rate("bytes/received", "bytes/received"),
            "bytes_out": rate("bytes/sent", "bytes/sent"),
            "connections": rate("load/connections", "connections"),
        }

    def _picture(self, now: float) -> list[str]:
        columns, lines = self._screen.size
        paint = self._paint
        system = self._system
        rates = self._rates()
        version = system.text("version") or "a broker"
        uptime = system.text("uptime")
        head = f"{version} at {self._link.where}" + (f", up for {_span(uptime)}" if uptime else "")
        if not len(system):
            told = "refused to us" if 0 in self._refused else "not there (yet)"
            return [paint("bold", clipped(head, columns)), f"{PREFIX}# is {told}", ""]
        dropping = bool(rates["dropped"])
        dropped = f"{_said(system.number('publish/messages/dropped'))} dropped"
        if dropping:
            dropped += f", {_said(rates['dropped'])}/s now: subscribers are too slow"
        drawn = [
            paint("bold", clipped(head, columns)),
            "",
            _row("clients", f"{_said(system.number('clients/connected', 'clients/active'))} now, "
                 f"{_said(system.number('clients/disconnected', 'clients/inactive'))} away, "
                 f"{_said(system.number('clients/maximum'))} at most, "
                 f"{_said(rates['connections'])}/s new", paint),
            _row("messages", f"{_said(rates['messages_in'])}/s in, "
                 f"{_said(rates['messages_out'])}/s out", paint),
            _row("dropped", paint("red", dropped) if dropping else dropped, paint),
            _row("bytes", f"{_bytes(rates['bytes_in'])}/s in, {_bytes(rates['bytes_out'])}/s out",
                 paint),
            _row("kept", f"{_said(system.number('subscriptions/count'))} subscriptions, "
                 f"{_said(system.number('retained messages/count'))} retained messages", paint),
            _row("memory", _bytes(system.number("heap/current", "heap/current size")), paint),
            "",
        ]  # fmt: skip
        drawn += self._worst(columns)
        return drawn + self._busiest(columns, lines - len(drawn), now)

    def _worst(self, columns: int) -> list[str]:
        """Who loses messages and who is behind, by name."""
        dropping, slow = self._system.clients("dropping"), self._system.clients("slow")
        if dropping is None and slow is None:
            told = "Which clients are slow or lose messages this broker does not tell."
            return [self._paint("dim", clipped(told, columns)), ""]
        texts = [("dropping", _who(each) + ": " + _lost(each)) for each in (dropping or [])[:WORST]]
        texts += [("slow", _who(each) + ": " + _behind(each)) for each in (slow or [])[:WORST]]
        if not texts:
            return [
                self._paint("dim", clipped("No client is slow or loses messages.", columns)),
                "",
            ]
        return [
            self._paint("red", padded(name, 10)) + clipped(text, columns - 10)
            for name, text in texts
        ] + [""]

    def _busiest(self, columns: int, room: int, now: float) -> list[str]:
        if self._settings.no_topics or self._settings.once:
            return []
        if len(self._refused - {0}):
            return [self._paint("dim", "The busiest topics are not ours to see.")]
        found = sorted(
            self._topics.items(), key=lambda pair: -pair[1].rate.per_second(now, self._since)
        )
        if not found:
            return [self._paint("dim", "No messages so far.")]
        return rows(found[: min(BUSIEST, max(1, room - 1))], columns, now, self._since, self._paint)


def _who(client: dict[str, object]) -> str:
    """The client, and its user if it has one."""
    name, user = str(client.get("client", "?")), client.get("user")
    text = name if user in (None, name) else f"{name} ({user})"
    return clipped(printable(text), 40)


def _lost(client: dict[str, object]) -> str:
    reasons = client.get("by_reason")
    named = reasons if isinstance(reasons, dict) else {}
    why = ", ".join(str(reason).replace("_", " ") for reason in named)
    text = f"{_count(client, 'dropped')} lost, {_count(client, 'dropped_in_all')} in all"
    return printable(f"{text} ({why})" if why else text)


def _behind(client: dict[str, object]) -> str:
    waiting = client.get("bytes_waiting")
    text = f"{_bytes(waiting if isinstance(waiting, int) else None)} wait"
    return f"{text}, {_count(client, 'messages_queued')} messages queued"


def _count(client: dict[str, object], name: str) -> str:
    value = client.get(name)
    return _said(value if isinstance(value, int) else None)


def _row(name: str, text: str, paint: Palette) -> str:
    return paint("cyan", f"{name:<10}") + text


def _said(value: float | None) -> str:
    return "?" if value is None else human_number(round(value, 1))


def _bytes(value: float | None) -> str:
    return "?" if value is None else human_bytes(value)


def _span(uptime: str) -> str:
    """``302 seconds`` in the unit that people would choose."""
    seconds, _, unit = uptime.partition(" ")
    if not seconds.isdigit() or unit != "seconds":
        return uptime
    total = int(seconds)
    days, rest = divmod(total, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes = rest // 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{total} s"
