"""A few threads for back ends that block, and a bounded queue in front of them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from noctule.access.errors import BackEndError

__all__ = ["Threads"]

Result = TypeVar("Result")


class Threads:
    """`threads` calls at once; at most `maximum_waiting` are there at a time, BackEndError beyond.

    Not the loop's own threads: a back end that hangs would take them from everybody else.
    """

    def __init__(self, name: str, threads: int = 4, maximum_waiting: int = 1024) -> None:
        self._name = name
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"noctule-{name}")
        self._maximum_waiting = maximum_waiting
        self._waiting = 0

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """What the function returns, or raises."""
        if self._waiting >= self._maximum_waiting:
            raise BackEndError(f"too many questions to {self._name} wait")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, function, *arguments
            )
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Give up what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)
