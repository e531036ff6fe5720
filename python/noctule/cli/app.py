"""The commands by name; each lives in a module of its own, imported when it is called."""

from importlib import import_module

import click

__all__ = ["COMMANDS", "noctule"]

# Name of the command: (module, what it does). The module holds a click command of that name.
COMMANDS = {
    "serve": ("noctule.cli.serve", "Run a broker in the foreground."),
    "bench": ("noctule.cli.bench", "Put load on a broker, and check what it delivers."),
    "config": ("noctule.cli.config", "Print the whole default configuration, commented."),
    "version": ("noctule.cli.version", "Print the version."),
}


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
        command: click.Command = getattr(import_module(module), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=Commands)
def noctule() -> None:
    r"""An MQTT broker, a client and the tools around them.

    \b
    noctule serve                      a broker on 127.0.0.1:1883
    noctule config > noctule.toml      every option, commented
    noctule COMMAND --help             what a command takes
    """
