"""A client that is not ours, as a process of its own that is told what to do.

Each of `peers/` is a program around one client library. It reads a command a line on its
standard input and prints an event a line, both JSON:

    {"do": "connect", "port", "version", "client", "clean", "will", "transport", "files"}
        {"event": "connected", "session_present"}
    {"do": "subscribe", "filter", "qos"}
        {"event": "subscribed"}
    {"do": "publish", "topic", "payload", "qos", "retain"}
        {"event": "published"}
    {"do": "disconnect"}
        {"event": "disconnected"}
    at any time
        {"event": "message", "topic", "payload", "qos", "retain"}

The transport is mqtt, mqtts, ws or wss; `files` are those of its TLS: "ca", "cert", "key".

A command is answered when the broker has answered it: "published" at QoS 2 follows PUBCOMP.
Being a process, a peer can be killed, which is what fires wills.
"""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Thread
from types import TracebackType
from typing import Any, Self

__all__ = ["Message", "Peer", "Will"]

ANSWER_SECONDS = 40.0


@dataclass(frozen=True)
class Message:
    """A message as the client library handed it over."""

    topic: str
    payload: str
    qos: int
    retain: bool


@dataclass(frozen=True)
class Will:
    """The last will of a connection."""

    topic: str
    payload: str
    qos: int
    retain: bool


class Peer:
    """The driver's side of one such process."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )
        self._answers: Queue[dict[str, Any]] = Queue()
        self._messages: Queue[Message] = Queue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def connect(
        self,
        port: int,
        version: str,
        client: str,
        *,
        clean: bool = True,
        will: Will | None = None,
        transport: str = "mqtt",
        files: Mapping[str, str] | None = None,
    ) -> bool | None:
        """Connect; returns whether the broker had a session, None where the library is silent."""
        answer = self._ask(
            "connect",
            port=port,
            version=version,
            client=client,
            clean=clean,
            will=None if will is None else vars(will),
            transport=transport,
            files=files,
        )
        present: bool | None = answer["session_present"]
        return present

    def subscribe(self, topic_filter: str, qos: int) -> None:
        """Subscribe, and wait for SUBACK."""
        self._ask("subscribe", filter=topic_filter, qos=qos)

    def publish(self, topic: str, payload: str, qos: int, *, retain: bool = False) -> None:
        """Publish, and wait for the last acknowledgement."""
        self._ask("publish", topic=topic, payload=payload, qos=qos, retain=retain)

    def disconnect(self) -> None:
        """Say goodbye."""
        self._ask("disconnect")

    def message(self, timeout_seconds: float = ANSWER_SECONDS) -> Message:
        """The next message that arrives."""
        try:
            return self._messages.get(timeout=timeout_seconds)
        except Empty:
            raise AssertionError(f"no message for {self.command}") from None

    def has_message(self) -> bool:
        """Whether a message has arrived that `message` has not returned."""
        return not self._messages.empty()

    def kill(self) -> None:
        """End the process without a goodbye: the connection is lost."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self._reader.join()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()

    def _ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        try:
            return self._answers.get(timeout=ANSWER_SECONDS)
        except Empty:
            raise AssertionError(f"{self.command} did not answer {do!r} {arguments}") from None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            if event.pop("event") == "message":
                self._messages.put(Message(**event))
            else:
                self._answers.put(event)
