"""The reference page of all commands, from the same source as `--help`."""

import inspect
import re
from collections.abc import Iterator

from noctule.cli.words import Option, Program, programs

__all__ = ["command_reference"]

INTRODUCTION = """\
# Commands

Generated from the commands themselves by `make docs`.
"""


def command_reference() -> str:
    """Every command with its usage, text and options, in Markdown."""
    lines = [INTRODUCTION]
    for program in programs():
        lines += section(program)
    return "\n".join(lines).rstrip() + "\n"


def section(program: Program) -> Iterator[str]:
    """One command."""
    yield f"## `{' '.join(('noctule', *program.path))}`\n"
    yield "\n".join(("```", *program.usage, "```\n"))
    yield from paragraphs(inspect.cleandoc(program.help))
    yield "| option | meaning |"
    yield "| --- | --- |"
    for option in program.options:
        yield f"| `{escaped(form(option))}` | {escaped(option.meaning)} |"
    yield ""


def form(option: Option) -> str:
    """``-c, --config FILE``."""
    return f"{', '.join(option.names)} {option.metavar}".rstrip()


def paragraphs(text: str) -> Iterator[str]:
    """The help text; what click is told not to wrap is an example."""
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("\b"):
            lines = paragraph.removeprefix("\b").strip("\n")
            yield f"```\n{lines}\n```\n"
        else:
            yield re.sub(r"\s+", " ", paragraph) + "\n"


def escaped(text: str) -> str:
    """The text in a cell of a table."""
    return text.replace("|", "\\|")
