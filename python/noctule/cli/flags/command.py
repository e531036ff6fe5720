"""The commands of the table as click commands: for the list of commands, the reference page,
man pages and completion. Their arguments are still read by `parse`.
"""

from __future__ import annotations

from typing import Any

import click

from noctule.cli.flags.help import help_text
from noctule.cli.flags.table import COMMANDS, Flag, Kind, flags_of

__all__ = ["TableCommand", "doctor", "pub", "replay", "rr", "sub", "top"]


class TableCommand(click.Command):
    """A command of the table."""

    def __init__(self, name: str) -> None:
        command = COMMANDS[name]
        examples = "\n".join(line for line, _ in command.examples)
        super().__init__(
            name,
            help=f"{command.summary}\n\n\b\n{examples}",
            short_help=command.summary,
            params=[_option(flag) for flag in flags_of(command.letter)],
            add_help_option=False,
        )

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Leaves the arguments as they are."""
        context = click.Context(self, parent=parent, info_name=info_name, **extra)
        context.obj = list(args)
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command, and ends with its exit code."""
        from noctule.cli.program import run

        assert self.name is not None
        ctx.exit(run(self.name, ctx.obj))

    def get_help(self, ctx: click.Context) -> str:
        """The help of the table."""
        assert self.name is not None
        return help_text(self.name).rstrip("\n")


def _option(flag: Flag) -> click.Option:
    """For click to describe."""
    takes_pairs = flag.kind is Kind.PROPERTY
    return click.Option(
        [*flag.names, flag.field],
        help=flag.help,
        is_flag=flag.kind in (Kind.SWITCH, Kind.HELP),
        metavar=flag.metavar or None,
        multiple=flag.kind is Kind.LIST or takes_pairs,
        type=click.Choice(flag.choices) if flag.choices else _type(flag),
    )


def _type(flag: Flag) -> Any:
    if flag.kind in (Kind.SWITCH, Kind.HELP):
        return None
    if flag.metavar == "FILE":
        return click.Path(dir_okay=False)
    return click.Path(file_okay=False) if flag.metavar == "DIR" else click.STRING


pub = TableCommand("pub")
sub = TableCommand("sub")
rr = TableCommand("rr")
replay = TableCommand("replay")
top = TableCommand("top")
doctor = TableCommand("doctor")
