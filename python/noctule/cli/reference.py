"""The reference page of all commands, from the same source as `--help`."""

import inspect
import re
from collections.abc import Iterator

import click

from noctule.cli.app import noctule

__all__ = ["command_reference"]

INTRODUCTION = """\
# Commands

Generated from the commands themselves by `make docs`.
"""


def command_reference() -> str:
    """Every command with its usage, text and options, in Markdown."""
    context = click.Context(noctule, info_name="noctule")
    lines = [INTRODUCTION]
    for name in noctule.list_commands(context):
        command = noctule.get_command(context, name)
        if command is not None:
            lines += section(command, context)
    return "\n".join(lines).rstrip() + "\n"


def section(command: click.Command, parent: click.Context) -> Iterator[str]:
    """One command."""
    context = click.Context(command, info_name=command.name, parent=parent)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"## `{context.command_path}`\n"
    yield f"```\n{usage}\n```\n"
    yield from paragraphs(inspect.cleandoc(command.help or ""))
    rows = [
        record
        for parameter in command.get_params(context)
        if (record := parameter.get_help_record(context)) is not None
    ]
    yield "| option | meaning |"
    yield "| --- | --- |"
    for names, meaning in rows:
        yield f"| `{escaped(names)}` | {escaped(meaning)} |"
    yield ""


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
