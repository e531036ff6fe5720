"""What becomes of the messages: which of the forms of output the settings ask for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import IO, Protocol

from noctule.cli.connection.errors import CommandError
from noctule.cli.connection.reopen import tell
from noctule.cli.flags.settings import Settings, UsageError
from noctule.cli.messages.format import Arrival, compile_format
from noctule.protocol import Message

__all__ = ["Output", "output_of"]


LIVES = ("tree", "watch", "stats", "message_rate")


class Output(Protocol):
    """Takes messages, and the passing of time where it shows something that moves."""

    interval: float | None
    """Seconds between two calls of `tick`; None: it is not called."""

    def show(self, message: Message) -> None:
        """A message that has come."""

    def tick(self) -> None:
        """Time to draw."""

    def flush(self) -> None:
        """Nothing may be held back any more: the messages will be acknowledged."""

    def close(self) -> None:
        """The last word."""


def output_of(settings: Settings) -> Output:
    """The output that the settings ask for; UsageError where they ask for two."""
    lives = [name for name in LIVES if getattr(settings, name)]
    if len(lives) > 1:
        raise UsageError("one of --tree, --watch, --stats and --message-rate at a time")
    if lives and lives != ["watch"] and settings.format is not None:
        raise UsageError(f"--{lives[0].replace('_', '-')} and -F: give one of them")
    output: Output
    if settings.tree:
        from noctule.cli.messages.tree import TreeOutput

        output = TreeOutput(settings)
    elif settings.watch:
        from noctule.cli.messages.watch import WatchOutput

        is_formed = settings.format is not None or settings.verbose or settings.json
        output = WatchOutput(_printer(settings) if is_formed else None)
    elif settings.stats:
        from noctule.cli.messages.stats import StatsOutput

        output = StatsOutput(settings)
    elif settings.message_rate:
        output = RateOutput()
    else:
        output = StreamOutput(_printer(settings))
    return output if settings.save is None else SavingOutput(output, settings.save)


def _printer(settings: Settings) -> Callable[[Message, Arrival], bytes]:
    """The function that makes a message into bytes."""
    end = b"" if settings.no_newline else b"\n"
    if settings.format is not None:
        form = compile_format(
            settings.format, is_pretty=settings.pretty, complain=partial(tell, settings)
        )
        return lambda message, arrival: form(message, arrival) + end
    if settings.json:
        from noctule.cli.messages.record import dump

        return lambda message, arrival: (
            dump(message, arrival.nanoseconds / 1_000_000_000).encode() + b"\n"
        )
    if _is_for_eyes(settings):
        from noctule.cli.messages.eyes import Eyes

        return Eyes(is_pretty=settings.pretty).lines
    if settings.verbose:
        return lambda message, arrival: _verbose(message, end)
    return lambda message, arrival: message.payload + end if message.payload else b""


def _is_for_eyes(settings: Settings) -> bool:
    if settings.eyes:
        return True
    asked = settings.plain or settings.verbose or settings.no_newline or settings.count == 1
    return not asked and sys.stdout.isatty()


def _verbose(message: Message, end: bytes) -> bytes:
    topic = message.topic.encode()
    if message.payload:
        return topic + b" " + message.payload + end
    return topic + b" (null)" + end if end else b""


class StreamOutput:
    """Message after message to standard output."""

    interval: float | None = None

    def __init__(self, printer: Callable[[Message, Arrival], bytes]) -> None:
        self._printer = printer
        self._write = sys.stdout.buffer.write

    def show(self, message: Message) -> None:
        """Print it."""
        self._write(self._printer(message, Arrival.now()))

    def tick(self) -> None:
        """Nothing moves here."""

    def flush(self) -> None:
        """Let the reader have it."""
        sys.stdout.flush()

    def close(self) -> None:
        """Nothing is left to say."""
        self.flush()


class RateOutput:
    """--message-rate: a number each second."""

    interval: float | None = 1.0

    def __init__(self) -> None:
        self._count = 0

    def show(self, message: Message) -> None:
        """Count it."""
        self._count += 1

    def tick(self) -> None:
        """Print and begin anew."""
        print(self._count, flush=True)
        self._count = 0

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """What came in the second that was not full is not printed."""


class SavingOutput:
    """--save: another output, and a file of records."""

    def __init__(self, output: Output, name: str) -> None:
        from noctule.cli.messages.record import dump

        self._output = output
        self._dump = dump
        self.interval = output.interval
        try:
            self._file: IO[str] = open(name, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise CommandError(f"--save {name}: {error.strerror}") from error

    def show(self, message: Message) -> None:
        """Write it down, and hand it on."""
        self._file.write(self._dump(message, time.time()) + "\n")
        self._output.show(message)

    def tick(self) -> None:
        """Hand it on."""
        self._output.tick()

    def flush(self) -> None:
        """Both."""
        self._file.flush()
        self._output.flush()

    def close(self) -> None:
        """Both."""
        self._file.close()
        self._output.close()
