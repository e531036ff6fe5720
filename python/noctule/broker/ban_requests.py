"""Bans asked for from outside the process: a file in data_dir that a broker looks at.

Each line is a JSON object: `do` is "ban" or "unban", `kind` "client", "user" or "address",
`value` whom; of a ban also `until`, in seconds since 1970 or null for ever, and `reason`. Who
writes and who reads holds the file's lock. What a broker has taken, the next one does again where
this one was killed before it could write it down.
"""

import asyncio
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

__all__ = ["BanRequest", "BanRequests", "BanWatch"]

FILE_NAME = "bans.requests"
MODE = 0o600
LOOK_SECONDS = 1.0
KEPT_SECONDS = 3.0

logger = logging.getLogger("noctule.broker")


@dataclass(frozen=True, slots=True)
class BanRequest:
    """One line."""

    do: Literal["ban", "unban"]
    kind: str
    value: str
    until: float | None = None
    reason: str = ""


class BanRequests:
    """The file. OSError where it cannot be read or written."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE_NAME
        self._done = 0
        self._done_at = 0.0

    def leave(self, request: BanRequest) -> None:
        """Add a line, which is on the disk when this returns."""
        with self._locked(os.O_RDWR | os.O_APPEND | os.O_CREAT) as descriptor:
            os.write(descriptor, json.dumps(asdict(request)).encode() + b"\n")
            os.fsync(descriptor)

    def waiting(self) -> list[BanRequest]:
        """What nobody has carried out yet."""
        try:
            with self._locked(os.O_RDONLY) as descriptor:
                return [each for each in read(descriptor) if each is not None]
        except FileNotFoundError:
            return []

    def take(self, carry_out: "CarryOut") -> None:
        """Have what is new carried out.

        The file is removed once the engine has had the time to write the bans down itself, so
        that they are in one file or the other at any moment.
        """
        try:
            with self._locked(os.O_RDONLY) as descriptor:
                requests = read(descriptor)
                now = time.monotonic()
                for request in requests[self._done :]:
                    self._done_at = now
                    if request is not None:
                        carry_out(request)
                self._done = len(requests)
                if now - self._done_at >= KEPT_SECONDS:
                    self._path.unlink()
                    self._done = 0
        except FileNotFoundError:
            self._done = 0

    @contextmanager
    def _locked(self, flags: int) -> Iterator[int]:
        while True:
            descriptor = os.open(self._path, flags, MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                # Whoever had the lock before may have removed the file.
                if os.fstat(descriptor).st_nlink:
                    yield descriptor
                    return
            finally:
                os.close(descriptor)


class CarryOut(Protocol):
    """Does what a request asks for."""

    def __call__(self, request: BanRequest, /) -> None:
        """ValueError for whom there cannot be."""


def read(descriptor: int) -> list[BanRequest | None]:
    """The lines; None for one that is none."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return [request_of(line) for line in file.read().splitlines()]


def request_of(line: bytes) -> BanRequest | None:
    """What a line asks for."""
    try:
        request = BanRequest(**json.loads(line))
        return request if request.do in ("ban", "unban") else None
    except (ValueError, TypeError):
        return None


class Bans(Protocol):
    """The part of the engine that bans."""

    def ban(self, kind: str, value: str, seconds: float | None, reason: str) -> None:
        """Keep somebody out."""

    def unban(self, kind: str, value: str) -> bool:
        """Let somebody in again."""


class BanWatch:
    """Looks at the file once a second and has the engine do what is asked."""

    def __init__(self, data_dir: Path, engine: Bans) -> None:
        self._requests = BanRequests(data_dir)
        self._engine = engine
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look now, and again and again."""
        self._look()
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Look no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._look()

    def _look(self) -> None:
        try:
            self._requests.take(self._carry_out)
            self._failing = False
        except OSError as error:
            if not self._failing:
                logger.error("bans that are asked for cannot be read: %s", error)
            self._failing = True

    def _carry_out(self, request: BanRequest) -> None:
        seconds = None if request.until is None else request.until - time.time()
        try:
            if request.do == "unban":
                self._engine.unban(request.kind, request.value)
            elif seconds is None or seconds > 0:
                self._engine.ban(request.kind, request.value, seconds, request.reason)
        except (ValueError, TypeError) as error:
            logger.error("a ban that is asked for is none: %s", error)
            return
        logger.warning("%s %r: %s, as was asked for", request.kind, request.value, request.do)
