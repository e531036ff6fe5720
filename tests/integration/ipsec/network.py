"""Two network namespaces with a wire between them, and strongSwan in each."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import which

__all__ = ["Charon", "Namespace", "Wiretap", "documented", "refusal", "two_namespaces"]

CHARON = which("charon-systemd") or which("charon-systemd", path="/usr/sbin:/sbin")
SWANCTL = which("swanctl") or which("swanctl", path="/usr/sbin:/sbin")
DOCUMENT = Path(__file__).parents[3] / "docs" / "ipsec.md"
WAIT_SECONDS = 20.0
STRONGSWAN = """\
charon-systemd {
    load = random nonce aes sha1 sha2 hmac kdf gmp x509 pem pkcs1 pkcs8 pubkey kernel-libipsec kernel-netlink socket-default vici
    plugins {
        vici { socket = unix://DIRECTORY/vici }
    }
    filelog {
        log {
            path = DIRECTORY/log
            default = 1
        }
    }
}
swanctl { load = random pem pkcs1 pkcs8 x509 pubkey gmp sha1 sha2 }
"""  # noqa: E501


def documented() -> list[str]:
    """The files for swanctl that docs/ipsec.md shows, in its order."""
    return re.findall(r"```conf\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


def run(*command: str | Path, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS)
    if check and done.returncode:
        raise OSError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout}")
    return done.stdout + done.stderr


def refusal() -> str | None:
    """What this machine lacks or refuses; None: the test can run."""
    if CHARON is None or SWANCTL is None:
        return "strongSwan is not installed: charon-systemd, strongswan-swanctl"
    if which("ip") is None:
        return "ip is not installed: iproute2"
    name = f"noctule-{os.getpid()}-try"
    inside = ("ip", "netns", "exec", name)
    try:
        run("ip", "netns", "add", name)
        try:
            run(*inside, "ip", "tuntap", "add", "dev", "try", "mode", "tun")
            run(*inside, "ip", "link", "add", "name", "a", "type", "veth", "peer", "name", "b")
        finally:
            run("ip", "netns", "del", name)
    except OSError as error:
        return str(error)
    return None


class Namespace:
    """A machine of its own, as far as the network goes."""

    def __init__(self, name: str, interface: str) -> None:
        self.name = name
        self.interface = interface

    def command(self, *command: str | Path) -> list[str]:
        """The command, to be run in there."""
        return ["ip", "netns", "exec", self.name, *map(str, command)]

    def run(self, *command: str | Path, check: bool = True) -> str:
        """What the command says."""
        return run(*self.command(*command), check=check)


@contextmanager
def two_namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    """10.77.0.1 and 10.77.0.2 on the wire; inside a tunnel they are 10.99.0.1 and 10.99.0.2."""
    found = tuple(Namespace(f"noctule-{os.getpid()}-{n}", f"wire{n}") for n in (1, 2))
    with ExitStack() as stack:
        for each in found:
            run("ip", "netns", "add", each.name)
            stack.callback(run, "ip", "netns", "del", each.name, check=False)
        first, second = found
        run("ip", "link", "add", "wire1", "netns", first.name,
            "type", "veth", "peer", "name", "wire2", "netns", second.name)  # fmt: skip
        for number, each in enumerate(found, 1):
            each.run("ip", "address", "add", f"10.77.0.{number}/24", "dev", each.interface)
            each.run("ip", "address", "add", f"10.99.0.{number}/32", "dev", "lo")
            for interface in ("lo", each.interface):
                each.run("ip", "link", "set", interface, "up")
        yield first, second


class Charon:
    """strongSwan's daemon in a namespace, with ESP in user space."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        self.namespace = namespace
        self._directory = directory
        (directory / "swanctl").mkdir(parents=True)
        (directory / "strongswan.conf").write_text(STRONGSWAN.replace("DIRECTORY", str(directory)))
        self._environment = {
            **os.environ,
            "STRONGSWAN_CONF": str(directory / "strongswan.conf"),
            "SWANCTL_DIR": str(directory / "swanctl"),
        }
        assert CHARON is not None
        self._process = subprocess.Popen(
            namespace.command(CHARON),
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + WAIT_SECONDS
        while self.swanctl("--stats")[0]:
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)

    def log(self) -> str:
        """What it has said."""
        file = self._directory / "log"
        return file.read_text() if file.exists() else ""

    def swanctl(self, *arguments: str) -> tuple[int, str]:
        """The exit code, and what it says."""
        command = [SWANCTL or "", *arguments, "--uri", f"unix://{self._directory}/vici"]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=WAIT_SECONDS
        )
        return done.returncode, done.stdout + done.stderr

    def load(self, configuration: str) -> str:
        """Put a file in force; what swanctl says of it."""
        (self._directory / "swanctl" / "swanctl.conf").write_text(configuration)
        code, said = self.swanctl("--load-all")
        assert code == 0, said
        return said

    def file(self, *place: str) -> Path:
        """The path of a file beside the configuration; its folder is made."""
        path = self._directory.joinpath("swanctl", *place)
        path.parent.mkdir(exist_ok=True)
        return path

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Wiretap:
    """All frames of a namespace's wire, while the context lasts."""

    def __init__(self, namespace: Namespace) -> None:
        script = Path(__file__).with_name("wiretap.py")
        command = namespace.command(sys.executable, script, namespace.interface)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "listening\n"
        self.frames: list[bytes] = []

    def __enter__(self) -> "Wiretap":
        return self

    def __exit__(self, *exception: object) -> None:
        said, _ = self._process.communicate(timeout=WAIT_SECONDS)
        self.frames = [bytes.fromhex(line) for line in said.splitlines()]
