"""`noctule serve` as a process, on a port that the system chooses."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

__all__ = ["ServedBroker"]

STOP_SECONDS = 20.0


class ServedBroker:
    """A broker as its users run it. The arguments are those of `noctule serve`.

    `within` is a command that runs another, such as `ip netns exec NAME`.
    """

    def __init__(
        self,
        *arguments: str,
        listen: str = "mqtt://127.0.0.1:0",
        within: Sequence[str] = (),
    ) -> None:
        self.process = subprocess.Popen(
            [*within, sys.executable, "-m", "noctule", "serve", "--listen", listen, *arguments],
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={k: v for k, v in os.environ.items() if not k.startswith("NOCTULE__")},
        )
        assert self.process.stdout is not None
        self.ready_line = self.process.stdout.readline()
        found = re.search(r":(\d+)(/\S*)?$", self.ready_line.strip())
        if found is None:
            self.process.stdout.close()
            code = self.process.wait(STOP_SECONDS)
            raise AssertionError(f"the broker ended with {code}: {self.ready_line!r}")
        self.port = int(found[1])

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """End it without a chance to do anything."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            try:
                self.terminate()
            except subprocess.TimeoutExpired:
                self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
