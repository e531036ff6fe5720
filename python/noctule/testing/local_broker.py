"""A broker for the time of a test, with what was published at hand."""

from __future__ import annotations

import asyncio
import threading
import time
from types import TracebackType
from typing import Any, Self

from noctule.broker import Broker
from noctule.client import Client, Subscription, connect
from noctule.protocol import Message, filter_matches
from noctule.sync._portal import Portal

__all__ = ["LocalBroker"]

SERVER_SHUTTING_DOWN = 0x8B
WITNESS = "noctule-testing"
"""The client that sees all messages, at the QoS that they were published with."""


class LocalBroker:
    """A broker on a free port of 127.0.0.1 that keeps nothing on disk.

    Keyword arguments are those of `noctule.Broker`. Its methods block shortly and may be called
    from any thread and from coroutines; of those that wait there is one for each kind of test:
    `wait_for` blocks, `arrival` is awaited.
    """

    def __init__(self, **options: Any) -> None:
        self._options = {"listeners": "mqtt://127.0.0.1:0", "durability": "memory", **options}
        self._portal = Portal()
        self._broker: Broker | None = None
        self._witness: Client | None = None
        self._reading: asyncio.Task[None]
        self._url = ""
        self._changed = threading.Condition()
        self._messages: list[Message] = []

    # --- Starting and stopping --------------------------------------------------------

    def start(self) -> None:
        """Starts it; `url` is known afterwards."""
        self._portal.start()
        try:
            self._portal.call(self._start(self._options))
        except BaseException:
            self._portal.stop()
            raise

    def stop(self) -> None:
        """Disconnects everybody and ends it; does nothing if it does not run."""
        if self._broker is None:
            return
        try:
            self._portal.call(self._stop())
        finally:
            self._broker = None
            self._portal.stop()

    def restart(self, away_seconds: float = 0.0) -> None:
        """Ends it, and starts it on the same port: sessions and retained messages are lost.

        In the `away_seconds` between, clients find nobody there.
        """
        self._running  # noqa: B018
        self._portal.call(self._stop())
        time.sleep(away_seconds)
        self._portal.call(self._start({**self._options, "listeners": self.url}))

    async def _start(self, options: dict[str, Any]) -> None:
        broker = Broker(**options)
        await broker.start()
        witness = connect(broker.addresses[0], client_id=WITNESS, session_expiry_interval=0)
        try:
            await witness.open()
            messages = witness.subscribe("#", qos=2, retain_as_published=True)
            await messages.open()
        except BaseException:
            await broker.stop()
            raise
        self._reading = asyncio.create_task(self._read(messages))
        self._broker, self._witness, self._url = broker, witness, broker.addresses[0]

    async def _stop(self) -> None:
        assert self._witness is not None
        assert self._broker is not None
        await self._witness.close()
        await self._reading
        await self._broker.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _running(self) -> Broker:
        if self._broker is None:
            raise RuntimeError("the broker does not run: use `with`, or start()")
        return self._broker

    # --- Where it is, and what came ---------------------------------------------------

    @property
    def url(self) -> str:
        """Where clients connect to: ``mqtt://127.0.0.1:49152``."""
        self._running  # noqa: B018
        return self._url

    @property
    def port(self) -> int:
        """The port of `url`."""
        return self._running.port

    @property
    def messages(self) -> list[Message]:
        """All that has been published since the start, in the order in which it came."""
        with self._changed:
            return list(self._messages)

    def matching(self, topic_filter: str) -> list[Message]:
        """Those of `messages` whose topics match the filter."""
        return [each for each in self.messages if filter_matches(topic_filter, each.topic)]

    def wait_for(self, topic_filter: str, count: int = 1, timeout: float = 5.0) -> list[Message]:
        """Blocks until `count` messages of the filter have been published, and returns them all.

        Messages from before the call count. TimeoutError, with what has come instead, after
        `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                found = [m for m in self._messages if filter_matches(topic_filter, m.topic)]
                if len(found) >= count:
                    return found
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(
                        f"{len(found)} of {count} messages for {topic_filter!r} in {timeout} s; "
                        f"topics seen: {sorted({m.topic for m in self._messages})}"
                    )

    async def arrival(
        self, topic_filter: str, count: int = 1, timeout: float = 5.0
    ) -> list[Message]:
        """`wait_for`, for coroutines."""
        return await asyncio.to_thread(self.wait_for, topic_filter, count, timeout)

    async def _read(self, messages: Subscription) -> None:
        while taken := await messages.take():
            with self._changed:
                self._messages += taken
                self._changed.notify_all()

    # --- Doing things -----------------------------------------------------------------

    def publish(
        self, topic: str, payload: bytes | str, *, qos: int = 1, retain: bool = False
    ) -> None:
        """Publishes on the broker's own account; text goes as UTF-8."""
        data = payload.encode() if isinstance(payload, str) else payload
        self._portal.call(self._running.publish(topic, data, qos=qos, retain=retain))

    def clients(self) -> list[str]:
        """The client identifiers of all who are connected, sorted."""
        found = self._portal.call(self._running.clients())
        return sorted(each.client for each in found if each.connected and each.client != WITNESS)

    def disconnect(self, client_id: str, reason_code: int = SERVER_SHUTTING_DOWN) -> None:
        """Ends a client's connection, as a server in trouble does; it may come back."""
        self._portal.call(self._running.disconnect(client_id, reason_code))
