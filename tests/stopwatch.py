"""Time limits that hold on a busy machine, too.

A process that others keep from the processor is late without being slow. Linux counts, for
each thread, how long it has been ready to run and had to wait; a stopwatch takes that off.
"""

import contextlib
import os
import time
from pathlib import Path

__all__ = ["Stopwatch", "waited_seconds"]


class Stopwatch:
    """Runs from its creation; `processes` are those, besides this one, that the time is about."""

    def __init__(self, *processes: int) -> None:
        self._processes = (os.getpid(), *processes)
        self._waited = waited_seconds(*self._processes)
        self._begin = time.monotonic()

    def seconds(self) -> float:
        """What has passed, less what the processes have waited for a processor meanwhile."""
        passed = time.monotonic() - self._begin
        waited = waited_seconds(*self._processes) - self._waited
        return passed - max(0.0, min(waited, passed))


def waited_seconds(*processes: int) -> float:
    """How long the threads of these processes were ready to run and had no processor, in all.

    Nothing where the system does not count it, and for a process that is gone.
    """
    nanoseconds = 0
    for process in processes:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{process}/task"):
                with contextlib.suppress(OSError):
                    counted = Path(f"/proc/{process}/task/{thread}/schedstat").read_text()
                    nanoseconds += int(counted.split()[1])
    return nanoseconds / 1e9
