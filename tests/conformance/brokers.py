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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance import certificates

START_SECONDS = 20.0
STOP_SECONDS = 5.0
MOST_AT_ONCE = 6

LISTENERS = {
    "websocket": "ws://127.0.0.1:0/mqtt",
    "compressing": "ws://127.0.0.1:0/mqtt?websocket_compression=true",
    "tls": "mqtts://127.0.0.1:0?tls_certificate={tls}/server.pem&tls_key={tls}/server.key",
    "mutual_tls": "mqtts://127.0.0.1:0?tls_certificate={tls}/server.pem&tls_key={tls}/server.key"
    "&client_certificates=required&client_ca={tls}/authority.pem&crl={tls}/revocations.pem",
    "proxied": "mqtt://127.0.0.1:0?proxy_protocol_from=127.0.0.0/8",
}
"""The further listeners that tests ask for; `tls` is the folder of certificates.py."""

MOSQUITTO = os.environ.get("NOCTULE_CONFORMANCE_BROKER") == "mosquitto"


class NotOfferedError(Exception):
    """The server under test has no such option; its tests are skipped."""


@dataclass(frozen=True)
class Options:
    """One set of broker options, as sorted tuples so that it can be a key."""

    limits: tuple[tuple[str, Any], ...] = ()
    protocol: tuple[tuple[str, Any], ...] = ()
    top: tuple[tuple[str, Any], ...] = ()
    listeners: tuple[str, ...] = ()
    """Names of what there is besides plain TCP: keys of LISTENERS."""

    @classmethod
    def of(
        cls,
        limits: dict[str, Any] | None = None,
        protocol: dict[str, Any] | None = None,
        listeners: tuple[str, ...] = (),
        **top: Any,
    ) -> "Options":
        return cls(
            limits=tuple(sorted((limits or {}).items())),
            protocol=tuple(sorted((protocol or {}).items())),
            top=tuple(sorted(top.items())),
            listeners=listeners,
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
    """A running server. `addresses` holds those of its further listeners, by name."""

    address: tuple[str, int]
    process: subprocess.Popen[str]
    folder: Path
    addresses: dict[str, tuple[str, int]] = field(default_factory=dict)
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


def start(
    options: Options, *arguments: str, environment: Mapping[str, str] | None = None
) -> Broker:
    """Start a server of one's own, for tests that stop it or look at the whole process.

    `arguments` go to `noctule serve`; without any nothing is stored.
    """
    if MOSQUITTO and (arguments or environment):
        raise NotOfferedError("the test is about the broker of this project")
    if MOSQUITTO:
        return _start_mosquitto(options)
    return _start_noctule(options, arguments or ("--durability", "memory"), environment or {})


def start_program(command: list[str]) -> Broker:
    """Start a program that embeds a broker and prints its address."""
    folder = Path(tempfile.mkdtemp(prefix="noctule-conformance-"))
    return _with_addresses(Broker(("127.0.0.1", 0), _spawn(command, folder), folder))


def _start_noctule(
    options: Options, arguments: Iterable[str], environment: Mapping[str, str]
) -> Broker:
    folder = Path(tempfile.mkdtemp(prefix="noctule-conformance-"))
    config = folder / "noctule.toml"
    config.write_text(options.toml())
    command = [sys.executable, "-m", "noctule", "serve", "--config", str(config), *arguments]
    for url in ["mqtt://127.0.0.1:0", *(LISTENERS[name] for name in options.listeners)]:
        command += ["--listen", url.format(tls=certificates.folder()) if "{" in url else url]
    broker = Broker(("127.0.0.1", 0), _spawn(command, folder, environment), folder)
    return _with_addresses(broker, options.listeners)


def _with_addresses(broker: Broker, listeners: Iterable[str] = ()) -> Broker:
    """Wait for the line that names all listeners, and take the addresses from it."""
    ready = _follow(broker, lambda line: "mqtt://127.0.0.1:" in line)
    ports = [int(port) for port in re.findall(r"://127\.0\.0\.1:(\d+)", ready)]
    broker.address, *others = [("127.0.0.1", port) for port in ports]
    broker.addresses = dict(zip(listeners, others, strict=True))
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
    unknown = set(options.listeners) - {"websocket", "tls"}
    if unknown:
        raise NotOfferedError(f"mosquitto has no listener of the kind {unknown}")
    folder = Path(tempfile.mkdtemp(prefix="noctule-conformance-"))
    port, *ports = _free_ports(1 + len(options.listeners))
    head, tail = ["max_queued_messages 10000"], [f"listener {port} 127.0.0.1"]
    for name, value in (*options.limits, *options.protocol, *options.top):
        if name not in _MOSQUITTO_NAMES:
            raise NotOfferedError(f"mosquitto has no {name}")
        theirs = _MOSQUITTO_NAMES[name]
        line = f"{theirs} {str(value).lower() if isinstance(value, bool) else value}"
        (head if theirs in _GLOBAL else tail).append(line)
    for name, other in zip(options.listeners, ports, strict=True):
        tail += [f"listener {other} 127.0.0.1", *_mosquitto_listener(name)]
    config = folder / "mosquitto.conf"
    config.write_text("\n".join([*head, "allow_anonymous true", *tail]) + "\n")
    command = [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-v", "-c", str(config)]
    broker = Broker(("127.0.0.1", port), _spawn(command, folder), folder)
    broker.addresses = {
        name: ("127.0.0.1", other) for name, other in zip(options.listeners, ports, strict=True)
    }
    _follow(broker, lambda line: " running" in line)
    return broker


def _mosquitto_listener(name: str) -> list[str]:
    if name == "websocket":
        return ["protocol websockets"]
    folder = certificates.folder()
    return [f"certfile {folder}/server.pem", f"keyfile {folder}/server.key"]


def _spawn(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
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
