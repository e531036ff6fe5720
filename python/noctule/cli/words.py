"""All commands with their options, as man pages and completions need them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import click

from noctule.cli.app import noctule

__all__ = ["Option", "Program", "programs"]


class Option(NamedTuple):
    """An option: its names, what its argument is called ("" for none), and its meaning.

    `values` are the words that it takes, where there are few; `takes` is file, directory or
    "", for completion.
    """

    names: tuple[str, ...]
    metavar: str
    meaning: str
    values: tuple[str, ...]
    takes: str


class Program(NamedTuple):
    """A command, or a command of a command: `path` is ("topics", "lint").

    `values` are the words that its first argument can be, where there are few.
    """

    path: tuple[str, ...]
    summary: str
    help: str
    usage: tuple[str, ...]
    options: tuple[Option, ...]
    values: tuple[str, ...]
    takes_files: bool


def programs() -> list[Program]:
    """Every command that does something, in the order of `noctule --help`."""
    context = click.Context(noctule, info_name="noctule")
    return list(_below(noctule, context, ()))


def _below(group: click.Group, context: click.Context, path: tuple[str, ...]) -> Iterator[Program]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _below(command, inner, (*path, name))
        else:
            yield _program(command, inner, (*path, name))


def _program(command: click.Command, context: click.Context, path: tuple[str, ...]) -> Program:
    from noctule.cli.flags.table import COMMANDS

    parameters = command.get_params(context)
    arguments = [p for p in parameters if isinstance(p, click.Argument)]
    usage: tuple[str, ...] = COMMANDS[path[0]].usage if path[0] in COMMANDS else ()
    if not usage:
        usage = (" ".join([context.command_path, *command.collect_usage_pieces(context)]),)
    return Program(
        path,
        command.get_short_help_str(200),
        command.help or "",
        usage,
        tuple(_option(p, context) for p in parameters if isinstance(p, click.Option)),
        _values(arguments),
        any(isinstance(p.type, click.Path) for p in arguments) or path == ("replay",),
    )


def _values(arguments: list[click.Argument]) -> tuple[str, ...]:
    kind = arguments[0].type if arguments else None
    return tuple(kind.choices) if isinstance(kind, click.Choice) else ()


def _option(option: click.Option, context: click.Context) -> Option:
    record = option.get_help_record(context)
    takes = ""
    if isinstance(option.type, click.Path):
        takes = "file" if option.type.file_okay else "directory"
    metavar = "" if option.is_flag or option.count else option.make_metavar(context)
    values = tuple(option.type.choices) if isinstance(option.type, click.Choice) else ()
    names = (*option.opts, *option.secondary_opts)
    return Option(names, metavar, record[1] if record else "", values, takes)
