"""A broker in this process, and command-line programs that run against it."""

import asyncio
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from noctule import Broker
from noctule.broker import BrokerOptions
from noctule.broker.events import EventStream

__all__ = ["NOCTULE", "Outcome", "Stage", "Subscriber", "environment"]

SECONDS = 30.0
NOCTULE = (sys.executable, "-m", "noctule")


class Outcome(NamedTuple):
    """What a program printed, and its exit code."""

    stdout: bytes
    stderr: bytes
    code: int


class Subscriber:
    """A program that subscribes; it has subscribed when this is made."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._printed = b""

    async def has_printed(self, line: bytes) -> None:
        """Wait until it prints this line."""
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS):
            while (printed := await self.process.stdout.readline()) != line:
                assert printed, "it has ended"
                self._printed += printed
        self._printed += printed

    async def outcome(self) -> Outcome:
        """Wait until it ends."""
        async with asyncio.timeout(SECONDS):
            stdout, stderr = await self.process.communicate()
        assert self.process.returncode is not None
        return Outcome(self._printed + stdout, stderr, self.process.returncode)


class Stage:
    """A broker whose events tell when a program has subscribed: nothing here sleeps."""

    def __init__(self, home: Path, **options: object) -> None:
        self._home = home
        self._options = BrokerOptions.model_validate(
            {"listeners": "mqtt://127.0.0.1:0", "durability": "memory", "workers": 1, **options}
        )
        self._running: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        self.broker = Broker(self._options)
        await self.broker.start()
        self.port = self.broker.port
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._running:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await self.broker.stop()

    async def start(self, *command: str, **variables: str) -> asyncio.subprocess.Process:
        """Start a program, its three streams piped."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(self._home, **variables),
        )
        self._running.append(process)
        return process

    async def run(self, *command: str, text: bytes | None = None, **variables: str) -> Outcome:
        """Run a program to its end."""
        process = await self.start(*command, **variables)
        async with asyncio.timeout(SECONDS):
            stdout, stderr = await process.communicate(text)
        assert process.returncode is not None
        return Outcome(stdout, stderr, process.returncode)

    async def subscriber(self, *command: str, changes: int = 1, **variables: str) -> Subscriber:
        """Start a program, and wait until it has subscribed or unsubscribed so many filters."""
        events = self.broker.events()
        process = await self.start(*command, **variables)
        await self._see(events, process, changes)
        return Subscriber(process)

    async def _see(
        self, events: EventStream, process: asyncio.subprocess.Process, changes: int
    ) -> None:
        seen = 0
        async with asyncio.timeout(SECONDS):
            ended = asyncio.ensure_future(process.wait())
            while seen < changes:
                batch = asyncio.ensure_future(anext(events))
                await asyncio.wait({batch, ended}, return_when=asyncio.FIRST_COMPLETED)
                if not batch.done():
                    batch.cancel()
                    break  # It has ended of itself; what it said will be compared.
                kinds = [event["kind"] for event in batch.result()]
                seen += kinds.count("subscribed") + kinds.count("unsubscribed")
            ended.cancel()

    def noctule(self, name: str, *arguments: str) -> tuple[str, ...]:
        """The command line of one of our commands, at this broker."""
        return (*NOCTULE, name, "-p", str(self.port), *arguments)


def environment(home: Path, **variables: str) -> dict[str, str]:
    """This process's, without what would let its user's settings in."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NOCTULE", "XDG_", "NO_"))}
    return kept | {"HOME": str(home), "TZ": "UTC", "COLUMNS": "100"} | variables
