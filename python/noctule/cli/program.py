"""The way of a command that connects: command line, settings, work, exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from types import FrameType

from noctule.cli.connection.errors import CommandError
from noctule.cli.connection.target import complete
from noctule.cli.flags.parse import parse
from noctule.cli.flags.settings import UsageError

__all__ = ["USAGE", "run"]

USAGE = 1
"""Exit code for a wrong command line: Mosquitto's, where click has 2."""

INTERRUPTED = 130


def run(name: str, arguments: Sequence[str]) -> int:
    """Run `noctule NAME ARGUMENTS…` and return its exit code.

    The work is in `run(settings)` of the module of that name.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # What a locale cannot write is no error.
            stream.reconfigure(errors="backslashreplace")
    is_quiet = "--quiet" in arguments
    try:
        settings = parse(name, arguments)
        if settings.help or settings.help_all:
            from noctule.cli.flags.help import help_text

            print(help_text(name, is_whole=settings.help_all), end="")
            return 0
        if settings.show_version:
            import noctule

            print(noctule.__version__)
            return 0
        complete(settings)
        code: int = import_module(f"noctule.cli.{name}").run(settings)
        sys.stdout.flush()
        return code
    except UsageError as error:
        print(f"noctule {name}: {error}\nTry `noctule {name} --help`.", file=sys.stderr)
        return USAGE
    except CommandError as error:
        if not is_quiet:
            print(f"noctule {name}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # Who reads our output has enough. Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
