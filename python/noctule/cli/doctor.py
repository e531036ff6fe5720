"""`noctule doctor`: from the name to QoS 2, step by step, in plain words."""

from __future__ import annotations

import copy
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from noctule.cli.connection.errors import (
    CommandError,
    ConnectError,
    RefusedError,
    connect_error,
    told,
)
from noctule.cli.connection.link import Link
from noctule.cli.connection.stream import open_stream, place
from noctule.cli.flags.settings import Settings, UsageError
from noctule.cli.terminal import Palette, human_bytes, printable
from noctule.protocol import (
    Delivery,
    Granted,
    Message,
    SubscriptionRequest,
    Version,
    check_topic_name,
)
from noctule.protocol.errors import NoctuleError
from noctule.protocol.events import Subscribed

__all__ = ["Step", "run"]

ROUND_TRIP_SECONDS = 10.0
MOST_INFLIGHT = 0xFFFF
MARKS = {"ok": ("green", "✓"), "warning": ("yellow", "!"), "failed": ("red", "✗")}
NAMES = {Version.V5: "5.0", Version.V3_1_1: "3.1.1", Version.V3_1: "3.1"}


class Step(NamedTuple):
    """What was tried, and how it went: `state` is ok, warning or failed."""

    name: str
    state: str
    text: str
    advice: str = ""


class Unwell(Exception):  # noqa: N818 - a finding of the examination, and no fault of ours
    """A step that failed, and makes those after it senseless."""

    def __init__(self, name: str, text: str, advice: str = "") -> None:
        super().__init__(text)
        self.step = Step(name, "failed", text, advice)


def run(settings: Settings) -> int:
    """Take the steps; the exit code is 1 where one failed."""
    if settings.arguments:
        raise UsageError(f"what is {settings.arguments[0]!r}? A broker is -h HOST or a URL")
    topic = settings.topics[-1] if settings.topics else f"noctule/doctor/{os.urandom(6).hex()}"
    try:
        check_topic_name(topic)
    except NoctuleError as error:
        raise UsageError(f"-t: {error}") from error
    steps = []
    show = _printer(settings)
    for step in Examination(settings, topic).steps():
        show(step)
        steps.append(step)
    failed = [step for step in steps if step.state == "failed"]
    if settings.json:
        json.dump({"ok": not failed, "steps": [s._asdict() for s in steps]}, sys.stdout)
        print()
    elif not failed:
        warnings = sum(step.state == "warning" for step in steps)
        print("\nAll is well." if not warnings else f"\nIt works; {warnings} to look at.")
    return 1 if failed else 0


def _printer(settings: Settings) -> Callable[[Step], None]:
    if settings.json:
        return lambda step: None
    paint = Palette()

    def show(step: Step) -> None:
        colour, mark = MARKS[step.state]
        print(f"{paint(colour, mark)} {paint('bold', f'{step.name:<12}')} {printable(step.text)}")
        if step.advice:
            print(f"  {'':<12} {paint('yellow', '→')} {printable(step.advice)}")
        sys.stdout.flush()

    return show


class Examination:
    """The steps, each of which needs those before it."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._works: list[Version] = []
        self._granted = Granted()

    def steps(self) -> Iterator[Step]:
        """Each as soon as it has been taken; the first that fails for good is the last."""
        try:
            settings = self._settings
            if settings.unix is None and not settings.srv and settings.proxy is None:
                yield from self._resolve()
                yield from self._connect()
                if settings.tls:
                    yield from self._secure()
            yield from self._open()
            yield from self._speak()
            yield from self._limits()
            for qos in (0, 1, 2):
                yield self._round_trip(qos)
            yield self._retain()
        except Unwell as unwell:
            yield unwell.step

    # --- The network ------------------------------------------------------------------

    def _resolve(self) -> Iterator[Step]:
        host = self._settings.host or ""
        began = time.monotonic()
        try:
            found = socket.getaddrinfo(host, self._settings.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise Unwell(
                "name",
                f"no host is known as {host}: {error.strerror}",
                "check the spelling, the network, and the DNS servers of this machine",
            ) from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        said = ", ".join(addresses)
        if addresses == [host]:
            yield Step("name", "ok", f"{host} is an address")
        else:
            yield Step("name", "ok", f"{host} is {said} ({_milliseconds(began)})")

    def _connect(self) -> Iterator[Step]:
        """Each address by itself: one that does not answer costs every client its time."""
        settings = self._settings
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        failures, works = [], []
        for family, kind, protocol, _, address in found:
            began = time.monotonic()
            with socket.socket(family, kind, protocol) as trying:
                trying.settimeout(settings.connect_timeout)
                try:
                    if settings.bind_address is not None:
                        trying.bind((settings.bind_address, 0))
                    trying.connect(address)
                except OSError as error:
                    failures.append((str(address[0]), error))
                else:
                    works.append(f"{address[0]} ({_milliseconds(began)})")
        if not works:
            raise Unwell("TCP", *_refusal(settings, failures[0][1]))
        yield Step("TCP", "ok", f"port {settings.port} is open at {', '.join(works)}")
        for silent, failure in failures:
            yield Step(
                "TCP",
                "warning",
                f"{silent} does not answer: {failure.strerror or failure}",
                "let the broker listen there, too, or take the address out of the DNS",
            )

    def _secure(self) -> Iterator[Step]:
        from noctule.cli.certificate import examine_tls

        for state, text, advice in examine_tls(self._settings):
            if state == "failed":
                raise Unwell("TLS", text, advice)
            yield Step("TLS", state, text, advice)

    def _open(self) -> Iterator[Step]:
        """What has no step of its own: Unix sockets, proxies, SRV, WebSocket."""
        settings = self._settings
        ways = {
            "Unix socket": settings.unix,
            "SRV": settings.srv,
            "proxy": settings.proxy,
            "WebSocket": settings.websocket,
        }
        names = [name for name, is_used in ways.items() if is_used]
        if not names:
            return
        began = time.monotonic()
        try:
            open_stream(copy.copy(settings)).close()
        except ConnectError as error:
            raise Unwell(names[-1], error.what, error.advice) from error
        yield Step(names[-1], "ok", f"{place(settings)} answers ({_milliseconds(began)})")

    # --- The protocol -----------------------------------------------------------------

    def _speak(self) -> Iterator[Step]:
        """CONNECT in each version, with what we have to show for ourselves."""
        refusals: list[RefusedError] = []
        for version, name in NAMES.items():
            began = time.monotonic()
            try:
                link = self._link(version)
                link.open()
            except RefusedError as error:
                refusals.append(error)
                state = "warning" if "VERSION" in error.code.name else "failed"
                yield Step(f"MQTT {name}", state, f"refused: {told(error.code)}")
                continue
            except CommandError as error:
                yield Step(f"MQTT {name}", "warning", error.what)
                continue
            if version is Version.V5:
                self._granted = link.session.granted
            self._works.append(version)
            link.close()
            yield Step(f"MQTT {name}", "ok", f"spoken ({_milliseconds(began)})")
        who = self._settings.user_name
        if not self._works:
            if refusals:
                raise Unwell(
                    "access", f"{who or 'an unnamed client'} is not let in", refusals[0].advice
                )
            raise Unwell(
                "MQTT",
                f"{place(self._settings)} does not answer CONNECT in any version",
                "is it an MQTT broker? It may want TLS (--tls) or WebSocket (--ws)",
            )
        yield Step("access", "ok", f"let in as {who}" if who else "let in without a name")
        if who is not None:
            yield from self._try_unnamed()

    def _try_unnamed(self) -> Iterator[Step]:
        settings = copy.copy(self._settings)
        settings.user_name = settings.password = settings.password_file = None
        settings.ask_password = False
        settings.version = self._works[0]
        try:
            link = Link(settings)
            link.open()
        except CommandError:
            return
        link.close()
        yield Step(
            "access",
            "warning",
            "clients without a name are let in as well",
            "if that is not meant, let the broker refuse them",
        )

    def _limits(self) -> Iterator[Step]:
        if Version.V5 not in self._works:
            yield Step("limits", "ok", "only 5.0 can tell them")
            return
        granted = self._granted
        said = [
            f"packets up to {human_bytes(granted.maximum_packet_size)}",
            f"{granted.receive_maximum:,} messages in flight",
            f"{granted.topic_alias_maximum:,} topic aliases",
            f"keep alive {granted.keep_alive} s",
        ]
        yield Step("limits", "ok", ", ".join(said))
        missing = [
            text
            for is_there, text in (
                (granted.maximum_qos == 2, f"QoS above {granted.maximum_qos}"),
                (granted.retain_available, "retained messages"),
                (granted.wildcard_subscription_available, "wildcards"),
                (granted.shared_subscription_available, "shared subscriptions"),
                (granted.subscription_identifier_available, "subscription identifiers"),
            )
            if not is_there
        ]
        if missing:
            yield Step("limits", "warning", f"not offered: {', '.join(missing)}")

    def _round_trip(self, qos: int) -> Step:
        name = f"QoS {qos}"
        if qos > self._granted.maximum_qos:
            return Step(name, "warning", "not offered")
        began = time.monotonic()
        payload = os.urandom(8).hex().encode()
        try:
            link = self._link(self._works[0])
            link.open()
            try:
                message = _there_and_back(link, self._topic, payload, qos)
            finally:
                link.close()
        except (CommandError, NoctuleError) as error:
            return Step(name, "failed", str(error), self._rights())
        if message is None:
            return Step(
                name,
                "failed",
                f"what was published to {self._topic} did not come back in "
                f"{ROUND_TRIP_SECONDS:g} s",
                self._rights(),
            )
        if message.qos < qos:
            return Step(name, "warning", f"it came back with QoS {int(message.qos)}")
        return Step(name, "ok", f"there and back in {_milliseconds(began)}")

    def _retain(self) -> Step:
        """Published before the subscription: only a retained message can come."""
        if not self._granted.retain_available:
            return Step("retained", "warning", "not offered")
        payload = os.urandom(8).hex().encode()
        try:
            link = self._link(self._works[0])
            link.open()
            try:
                _publish(link, Delivery(self._topic, payload, self._qos(), retain=True))
                link.session.subscribe([SubscriptionRequest(self._topic)])
                message = _next_message(link, payload)
                _publish(link, Delivery(self._topic, b"", self._qos(), retain=True))
            finally:
                link.close()
        except (CommandError, NoctuleError) as error:
            return Step("retained", "failed", str(error), self._rights())
        if message is None or not message.retain:
            return Step("retained", "failed", "the retained message did not come", self._rights())
        return Step("retained", "ok", "kept, delivered and removed")

    def _qos(self) -> int:
        return min(1, self._granted.maximum_qos)

    def _rights(self) -> str:
        return f"may this user publish and subscribe to {self._topic}? Choose a topic with -t"

    def _link(self, version: Version) -> Link:
        settings = copy.copy(self._settings)
        settings.version = version
        settings.max_inflight = MOST_INFLIGHT  # So that the server's own limit is seen.
        if version is not Version.V5:
            settings.properties = {}
        return Link(settings)


def _there_and_back(link: Link, topic: str, payload: bytes, qos: int) -> Message | None:
    link.session.subscribe([SubscriptionRequest(topic, qos)])
    _await_subscription(link, topic)
    link.session.publish(Delivery(topic, payload, qos))
    return _next_message(link, payload)


def _await_subscription(link: Link, topic: str) -> None:
    until = time.monotonic() + ROUND_TRIP_SECONDS
    while time.monotonic() < until:
        for event in link.wait(until):
            if isinstance(event, Subscribed):
                if event.reason_codes[0] >= 0x80:
                    code = told(event.reason_codes[0])
                    raise CommandError(f"subscribing to {topic} was refused: {code}")
                return
    raise CommandError(f"subscribing to {topic} was not answered")


def _publish(link: Link, delivery: Delivery) -> None:
    until = time.monotonic() + ROUND_TRIP_SECONDS
    link.session.publish(delivery)
    while not delivery.is_settled and time.monotonic() < until:
        link.wait(until)
    if delivery.error is not None:
        raise CommandError(str(delivery.error))
    if delivery.reason_code is not None and delivery.reason_code >= 0x80:
        code = told(delivery.reason_code)
        raise CommandError(f"publishing to {delivery.topic} was refused: {code}")


def _next_message(link: Link, payload: bytes) -> Message | None:
    """The message with this payload, and not another one on the same topic."""
    until = time.monotonic() + ROUND_TRIP_SECONDS
    while time.monotonic() < until:
        for event in link.wait(until):
            match event:
                case Message():
                    if event.packet_identifier:
                        link.session.acknowledge(event)
                    if event.payload == payload:
                        return event
                case Subscribed(reason_codes=codes) if codes[0] >= 0x80:
                    raise CommandError(f"subscribing was refused: {told(codes[0])}")
                case Delivery(reason_code=code) if code is not None and code >= 0x80:
                    raise CommandError(f"publishing was refused: {told(code)}")
                case _:
                    pass
    return None


def _refusal(settings: Settings, failure: OSError) -> tuple[str, str]:
    error = connect_error(
        place(settings), failure, is_secure=settings.tls, timeout=settings.connect_timeout
    )
    return error.what, error.advice


def _milliseconds(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.1f} ms"
