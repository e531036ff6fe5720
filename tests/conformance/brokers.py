"""The servers under test: one process for each set of options, started once and kept.

By default the broker of this project, through its command line. With
NOCTULE_CONFORMANCE_BROKER=mosquitto it is Mosquitto, which tests the tests: an independent
server should pass nearly all of them.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_SECONDS = 20.0
STOP_SECONDS = 5.0
MOST_AT_ONCE = 6

MOSQUITTO = os.environ.get("NOCTULE_CONFORMANCE_BROKER") == "mosquitto"


class NotOfferedError(Exception):
    """The server under test has no such option; its tests are skipped."""


@dataclass(frozen=True)
class Options:
    """One set of broker options, as sorted tuples so that it can be a key."""

    limits: tuple[tuple[str, Any], ...] = ()
    protocol: tuple[tuple[str, Any], ...] = ()
    top: tuple[tuple[str, Any], ...] = ()
    websocket: bool = False

    @classmethod
    def of(
        cls,
        limits: dict[str, Any] | None = None,
        protocol: dict[str, Any] | None = None,
        websocket: bool = False,
        **top: Any,
    ) -> "Options":
        return cls(
            limits=tuple(sorted((limits or {}).items())),
            protocol=tuple(sorted((protocol or {}).items())),
            top=tuple(sorted(top.items())),
            websocket=websocket,
        )

    def toml(self) -> str:
        """The configuration file that says the same."""
        lines = [f"{name} = {_toml(value)}" for name, value in self.top]
        for section, options in (("limits", self.limits), ("protocol", self.protocol)):
            if options:
                lines += ["", f"[{section}]", *(f"{n} = {_toml(v)}" for n, v in options)]
        return "\n".join(lines) + "\n"


@dataclass
class Broker:
    """A running server."""

    address: tuple[str, int]
    process: subprocess.Popen[str]
    folder: Path
    websocket_address: tuple[str, int] | None = None
    log: list[str] = field(default_factory=list)
    follower: threading.Thread | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    def resident_bytes(self) -> int:
        """Resident memory, from /proc."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """The number of open file descriptors, from /proc."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.follower is not None:
            self.follower.join()
        shutil.rmtree(self.folder, ignore_errors=True)


class Brokers:
    """Starts a server for each set of options asked for and keeps the latest few."""

    def __init__(self) -> None:
        self._running: OrderedDict[Options, Broker] = OrderedDict()

    def running(self, options: Options) -> Broker:
        """A live server with these options."""
        broker = self._running.pop(options, None)
        if broker is not None and not broker.alive():
            broker = None
        if broker is None:
            broker = start(options)
        self._running[options] = broker
        while len(self._running) > MOST_AT_ONCE:
            self._running.popitem(last=False)[1].stop()
        return broker

    def stop(self) -> None:
        for broker in self._running.values():
            broker.stop()
        self._running.clear()


def start(options: Options) -> Broker:
    """Start a server of one's own, for tests that stop it or look at the whole process."""
    return _start_mosquitto(options) if MOSQUITTO else _start_noctule(options)


def start_program(command: list[str]) -> Broker:
    """Start a program that embeds a broker and prints its address."""
    folder = Path(tempfile.mkdtemp(prefix="noctule-conformance-"))
    return _with_address(Broker(("127.0.0.1", 0), _spawn(command, folder), folder))


def _start_noctule(options: Options) -> Broker:
    folder = Path(tempfile.mkdtemp(prefix="noctule-conformance-"))
    config = folder / "noctule.toml"
    config.write_text(options.toml())
    command = [sys.executable, "-m", "noctule", "serve", "--config", str(config)]
    command += ["--listen", "mqtt://127.0.0.1:0", "--durability", "memory"]
    if options.websocket:
        command += ["--listen", "ws://127.0.0.1:0/mqtt"]
    try:
        return _with_address(Broker(("127.0.0.1", 0), _spawn(command, folder), folder))
    except RuntimeError as error:
        if options.websocket and "scheme" in str(error):
            raise NotOfferedError("the broker has no WebSocket listener") from error
        raise


def _with_address(broker: Broker) -> Broker:
    """Wait for the line that names the listeners, and take the addresses from it."""
    ready = _follow(broker, lambda line: "mqtt://127.0.0.1:" in line)
    port = re.search(r"mqtt://127\.0\.0\.1:(\d+)", ready)
    assert port is not None, ready
    broker.address = ("127.0.0.1", int(port[1]))
    websocket = re.search(r"ws://127\.0\.0\.1:(\d+)", ready)
    if websocket is not None:
        broker.websocket_address = ("127.0.0.1", int(websocket[1]))
    return broker


# Mosquitto's name for an option, where it has one of the same meaning.
_MOSQUITTO_NAMES = {
    "max_packet_bytes": "max_packet_size",
    "max_connections": "max_connections",
    "max_inflight_messages": "max_inflight_messages",
    "max_queued_messages": "max_queued_messages",
    "max_keep_alive_seconds": "max_keepalive",
    "maximum_qos": "max_qos",
    "retain_available": "retain_available",
    "topic_alias_maximum": "max_topic_alias",
    "queue_qos0": "queue_qos0_messages",
    "system_topics_interval_seconds": "sys_interval",
}
_GLOBAL = {"max_inflight_messages", "max_queued_messages", "max_packet_size", "max_keepalive"}
_GLOBAL |= {"retain_available", "queue_qos0_messages", "sys_interval"}


def _start_mosquitto(options: Options) -> Broker:
    folder = Path(tempfile.mkdtemp(prefix="noctule-conformance-"))
    ports = _free_ports(2)
    head, tail = ["max_queued_messages 10000"], [f"listener {ports[0]} 127.0.0.1"]
    for name, value in (*options.limits, *options.protocol, *options.top):
        if name not in _MOSQUITTO_NAMES:
            raise NotOfferedError(f"mosquitto has no {name}")
        theirs = _MOSQUITTO_NAMES[name]
        line = f"{theirs} {str(value).lower() if isinstance(value, bool) else value}"
        (head if theirs in _GLOBAL else tail).append(line)
    tail += [f"listener {ports[1]} 127.0.0.1", "protocol websockets"] if options.websocket else []
    config = folder / "mosquitto.conf"
    config.write_text("\n".join([*head, "allow_anonymous true", *tail]) + "\n")
    command = [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-v", "-c", str(config)]
    process = _spawn(command, folder)
    broker = Broker(("127.0.0.1", ports[0]), process, folder)
    if options.websocket:
        broker.websocket_address = ("127.0.0.1", ports[1])
    _follow(broker, lambda line: " running" in line)
    return broker


def _spawn(command: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def _follow(broker: Broker, is_ready: Any) -> str:
    """Collect the log in a thread of its own; returns the line that says it is ready."""
    ready = threading.Event()
    found: list[str] = []

    def collect() -> None:
        assert broker.process.stdout is not None
        with broker.process.stdout as lines:
            for line in lines:
                broker.log.append(line.rstrip("\n"))
                if not found and is_ready(line):
                    found.append(line)
                    ready.set()
        ready.set()

    broker.follower = threading.Thread(target=collect, daemon=True)
    broker.follower.start()
    started = ready.wait(START_SECONDS)
    if not started or not found:
        broker.process.kill()
        broker.process.wait()
        broker.follower.join()
        raise RuntimeError("the broker did not start:\n" + "\n".join(broker.log[-30:]))
    return found[0]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
