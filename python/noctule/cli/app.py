"""The commands by name; each lives in a module of its own, imported when it is called."""

import os
from importlib import import_module
from keyword import iskeyword

import click

__all__ = ["COMMANDS", "noctule"]

# Name of the command: (module, what it does). The module holds a click command of that name.
COMMANDS = {
    "serve": ("noctule.cli.serve", "Run a broker in the foreground."),
    "pub": ("noctule.cli.flags.command", "Publish messages."),
    "sub": ("noctule.cli.flags.command", "Subscribe, and print what comes."),
    "rr": ("noctule.cli.flags.command", "Publish a request, and print the response."),
    "replay": ("noctule.cli.flags.command", "Publish what `noctule sub --save` has recorded."),
    "top": ("noctule.cli.flags.command", "Watch a broker in the terminal."),
    "doctor": ("noctule.cli.flags.command", "Try a broker step by step, and say what to do."),
    "passwd": ("noctule.cli.passwd", "Make, change and delete users of a password file."),
    "users": ("noctule.cli.users", "Make and change users that a running broker knows."),
    "bans": ("noctule.cli.bans", "Keep clients, users and addresses out of a broker."),
    "topics": ("noctule.cli.topics", "Check topic names and filters."),
    "acl": ("noctule.cli.acl", "Ask what clients may do, and why."),
    "import": ("noctule.cli.imports", "Move from another broker to this one."),
    "store": ("noctule.cli.store", "Look into what a broker keeps on the disk, copy it, move it."),
    "bench": ("noctule.cli.bench", "Put load on a broker, and check what it delivers."),
    "config": ("noctule.cli.config", "Print the whole default configuration, commented."),
    "completion": ("noctule.cli.completion", "Print the completion for a shell."),
    "man": ("noctule.cli.man", "Write the manual pages."),
    "version": ("noctule.cli.version", "Print the version."),
}


def with_examples(command: click.Command) -> click.Command:
    r"""Lets click see the `\b` before examples, which raw docstrings hold as two characters."""
    if command.help is not None:
        command.help = command.help.replace("\\b\n", "\b\n")
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            with_examples(inner)
    return command


class Commands(click.Group):
    """A group that knows its commands' names and summaries without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        # `import` is no name in Python.
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command: click.Command = getattr(import_module(module), name)
        return with_examples(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Guess at what was meant, where there is no command of that name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            found = get_close_matches(args[0], COMMANDS, 1, 0.5)
            hint = f" Did you mean {found[0]}?" if found else ""
            ctx.fail(f"There is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """--version, before anything else."""
    if value:
        import noctule as package

        click.echo(package.__version__)
        ctx.exit()


@click.group(cls=Commands)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Print the version and end.",
)
def noctule() -> None:
    r"""An MQTT broker, a client and the tools around them.

    \b
    noctule serve                      a broker on 127.0.0.1:1883
    noctule sub -t '#' -v              print all that is published
    noctule pub -t greeting -m hello   publish
    noctule config > noctule.toml      every option, commented
    noctule COMMAND --help             what a command takes
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        # click knows of neither; the commands' contexts take this one's word.
        click.get_current_context().color = False


with_examples(noctule)
