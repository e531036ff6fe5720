"""A broker in a process of its own, and what its process tree costs."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

__all__ = ["Broker", "BrokerSpec", "Usage", "pinned", "read_specs"]

HERE = Path(__file__).parent
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
START_SECONDS = 60
STOP_SECONDS = 10


@dataclass(frozen=True)
class Usage:
    """What a process tree has used so far."""

    cpu_seconds: float
    resident_bytes: int


@dataclass(frozen=True)
class BrokerSpec:
    """A broker of brokers.toml."""

    name: str
    port: int
    command: list[str]
    scale: float = 1.0
    baseline: bool = False
    check: str = ""
    skip: list[str] = field(default_factory=list)
    settle_seconds: float = 0.3
    load: dict[str, Any] = field(default_factory=dict)

    def is_here(self) -> bool:
        """Whether it can be started."""
        if self.check:
            return Path(self.check).exists()
        return shutil.which(self.command[0]) is not None


def read_specs(document: dict[str, dict[str, Any]]) -> list[BrokerSpec]:
    """The brokers of a parsed brokers.toml, their placeholders filled in."""

    def fill(text: str) -> str:
        if "{certificate}" in text:
            text = text.replace("{certificate}", str(certificate()))
        return text.replace("{python}", sys.executable).replace("{here}", str(HERE))

    specs = []
    for name, entry in document.items():
        command = [fill(word) for word in entry["command"]]
        rest = {**entry, "command": command, "check": fill(entry.get("check", ""))}
        specs.append(BrokerSpec(name=name, **rest))
    return specs


def certificate() -> Path:
    """A file with a self-signed certificate for 127.0.0.1 and its key."""
    file = Path("build/bench/certificate.pem")
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        parts = [file.with_suffix(".key"), file.with_suffix(".chain")]
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:P-256", "-nodes", "-days", "3650", "-subj", "/CN=127.0.0.1"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1"]
        command += ["-keyout", str(parts[0]), "-out", str(parts[1])]
        subprocess.run(command, check=True, capture_output=True)
        file.write_text("".join(part.read_text() for part in parts))
    return file.resolve()


def pinned(cpus: str, command: list[str]) -> list[str]:
    """The command on these cores only; an empty list leaves it to the system."""
    return ["taskset", "-c", cpus, *command] if cpus else command


class Broker:
    """A running broker; a context manager. RuntimeError where it does not come up."""

    def __init__(self, spec: BrokerSpec, cpus: str, log: Path) -> None:
        self.spec = spec
        self.cpus = cpus
        self.log_path = log

    def __enter__(self) -> Self:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.spec.port)) == 0:
                raise RuntimeError(f"something listens on port {self.spec.port} already")
        self.log: IO[bytes] = self.log_path.open("ab")
        self.process = subprocess.Popen(
            pinned(self.cpus, self.spec.command),
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
            preexec_fn=raise_descriptor_limit,
        )
        try:
            self.wait_until_it_listens()
        except RuntimeError:
            self.__exit__()
            raise
        time.sleep(self.spec.settle_seconds)
        return self

    def wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                code = self.process.returncode
                raise RuntimeError(f"{self.spec.name} ended with {code}; see {self.log_path}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.spec.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"{self.spec.name} does not listen on port {self.spec.port}")

    def __exit__(self, *_: object) -> None:
        mine = tree(self.process.pid)
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        for pid in mine:
            try:
                if os.getsid(pid) == self.process.pid:
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                continue  # it has ended by itself
        self.process.wait()
        self.log.close()

    def usage(self) -> Usage:
        """CPU time to the nanosecond, and resident bytes, of the whole tree."""
        cpu = 0
        resident = 0
        for pid in tree(self.process.pid):
            try:
                cpu += time.clock_gettime_ns(cpu_clock(pid))
                fields = Path(f"/proc/{pid}/statm").read_text().split()
                resident += int(fields[1]) * PAGE_BYTES
            except OSError:
                continue  # it has ended meanwhile
        return Usage(cpu / 1e9, resident)


def cpu_clock(pid: int) -> int:
    """The clock of a process's CPU time: what clock_getcpuclockid(3) computes on Linux.

    The figures in /proc/<pid>/stat are in ticks of 10 ms, too coarse for a broker that moves a
    million messages in 50 ms.
    """
    return (~pid << 3) | 2


def tree(pid: int) -> set[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended meanwhile
        children.setdefault(parent, []).append(int(entry.name))
    found, waiting = set(), [pid]
    while waiting:
        each = waiting.pop()
        found.add(each)
        waiting += children.get(each, [])
    return found


def raise_descriptor_limit() -> None:
    """Each connection takes a descriptor."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
