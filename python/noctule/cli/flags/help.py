"""--help and --help-all, written from the table."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator

from noctule.cli.flags.table import COMMANDS, COMMON, GROUPS, Flag, flags_of

__all__ = ["form", "help_text"]

COLUMN = 29
NARROWEST = 60
WIDEST = 100


def help_text(name: str, *, is_whole: bool = False) -> str:
    """What `noctule NAME --help` prints, or --help-all; as wide as the terminal."""
    width = min(max(shutil.get_terminal_size((80, 24)).columns, NARROWEST), WIDEST)
    options = _every_option(name, width) if is_whole else _common_options(name, width)
    return "\n".join([*_head(name), *options]) + "\n"


def _head(name: str) -> Iterator[str]:
    command = COMMANDS[name]
    for number, usage in enumerate(command.usage):
        yield f"{'Usage:' if number == 0 else '      '} {usage}"
    yield f"\n{command.summary}\n"
    examples = command.examples
    column = max(len(line) for line, _ in examples) + 2
    for line, meaning in examples:
        yield f"  {line:{column}}{meaning}"


def _common_options(name: str, width: int) -> Iterator[str]:
    wanted = COMMON[name].split()
    by_name = {n: flag for flag in flags_of(COMMANDS[name].letter) for n in flag.names}
    yield ""
    for option in wanted:
        yield from _entry(by_name[option], width)
    yield f"\nThere is more: noctule {name} --help-all"


def _every_option(name: str, width: int) -> Iterator[str]:
    for group, title in GROUPS.items():
        flags = [flag for flag in flags_of(COMMANDS[name].letter) if flag.group == group]
        if flags:
            yield f"\n{title}:"
        for flag in flags:
            yield from _entry(flag, width)


def _entry(flag: Flag, width: int) -> Iterator[str]:
    said = f"  {form(flag)}"
    text = textwrap.wrap(flag.help, width - COLUMN)
    if len(said) > COLUMN - 2:
        yield said
    else:
        yield f"{said:{COLUMN}}{text.pop(0)}"
    for line in text:
        yield " " * COLUMN + line


def form(flag: Flag) -> str:
    """``-h, --host HOST``."""
    names = ", ".join(flag.names)
    return f"{names} {flag.metavar}" if flag.metavar else names
