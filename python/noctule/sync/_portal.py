"""The thread that an event loop runs in, and the way into it for every other thread."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar

from noctule.client.errors import ClientClosedError
from noctule.client.subscription import Subscription
from noctule.protocol.message import Message

__all__ = ["Portal", "Queue", "Wrapper"]

BATCH = 64
"""Messages that an iteration takes over from the event loop at once."""

_Result = TypeVar("_Result")
_Wrapped = TypeVar("_Wrapped")
_Arguments = ParamSpec("_Arguments")


class Portal:
    """Runs coroutines of one client in a thread of its own, and waits for them here.

    Any thread but that one may call it. An interrupt (Ctrl-C) ends the waiting and cancels
    what was waited for.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._handlers: ThreadPoolExecutor | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is a thread to call."""
        return self._thread is not None

    def start(self) -> None:
        """Starts the thread; does nothing if it runs."""
        if self._thread is not None:
            return
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(ready,), name="noctule client", daemon=True
        )
        self._handlers = ThreadPoolExecutor(thread_name_prefix="noctule handler")
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        """Ends the thread, and waits for it."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._loop = self._thread = None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        if self._handlers is not None:
            self._handlers.shutdown(wait=False, cancel_futures=True)

    def _run(self, ready: threading.Event) -> None:
        with asyncio.Runner() as runner:
            self._loop = loop = runner.get_loop()
            asyncio.set_event_loop(loop)
            loop.call_soon(ready.set)
            loop.run_forever()

    def call(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        """The coroutine's result, or its exception."""
        loop = self._loop
        if loop is None:
            coroutine.close()
            raise ClientClosedError("the client is not open")
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("the blocking client was called from its own event loop")
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def run(
        self,
        function: Callable[_Arguments, _Result],
        *arguments: _Arguments.args,
        **options: _Arguments.kwargs,
    ) -> _Result:
        """The result of a plain function that has to run in the event loop."""

        async def call() -> _Result:
            return function(*arguments, **options)

        return self.call(call())

    def iterate(self, iterator: AsyncIterator[_Result]) -> Iterator[_Result]:
        """The items of an asynchronous iterator."""
        while True:
            try:
                yield self.call(_next(iterator))
            except StopAsyncIteration:
                return

    def register(
        self, register: Callable[[Callable[..., Any]], object], handler: Callable[..., Any]
    ) -> None:
        """Registers a handler that may block, before the client is opened or after."""
        in_thread = self.in_thread(handler)
        if self.is_running:
            self.run(register, in_thread)
        else:
            register(in_thread)

    def in_thread(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """A handler that may block, as a coroutine function for the event loop."""

        @wraps(handler)
        async def call(*arguments: Any, **options: Any) -> Any:
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(
                self._handlers, lambda: handler(*arguments, **options)
            )
            return await result if inspect.isawaitable(result) else result

        return call


async def _next(iterator: AsyncIterator[_Result]) -> _Result:
    return await iterator.__anext__()


class Wrapper(Generic[_Wrapped]):
    """A blocking object: the asynchronous one that it stands for, and the way to it."""

    def __init__(self, portal: Portal, wrapped: _Wrapped) -> None:
        self._portal = portal
        self._wrapped = wrapped


class Queue(Wrapper[Subscription]):
    """The part of a blocking subscription that is about its messages.

    Several threads may take messages; each message goes to one of them.
    """

    def __init__(self, portal: Portal, wrapped: Subscription) -> None:
        super().__init__(portal, wrapped)
        self._taken: deque[Message] = deque()

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._taken) + len(self._wrapped)

    def next(self, timeout: float | None = None) -> Message:
        """The next message; TimeoutError if there is none within `timeout` seconds."""
        try:
            return self._taken.popleft()
        except IndexError:
            return self._portal.call(self._wrapped.next(timeout))

    def take(self, maximum: int = 1024) -> list[Message]:
        """Waits for a message and returns it with those behind it, `maximum` at most.

        An empty list is the end: the subscription is closed.
        """
        taken: list[Message] = []
        while len(taken) < maximum:
            try:
                taken.append(self._taken.popleft())
            except IndexError:
                break
        return taken or self._portal.call(self._wrapped.take(maximum))

    def __next__(self) -> Message:
        while True:
            try:
                return self._taken.popleft()
            except IndexError:
                batch = self._portal.call(self._wrapped.take(BATCH))
                if not batch:
                    raise StopIteration from None
                self._taken.extend(batch)
