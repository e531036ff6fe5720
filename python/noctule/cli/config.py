"""`noctule config`, and the option of other commands that names a configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["config", "config_option"]

Command = TypeVar("Command", bound=Callable[..., Any])


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the defaults as JSON, for programs.")
def config(as_json: bool) -> None:
    r"""Print the whole default configuration, commented: a TOML file to begin with.

    \b
    noctule config > noctule.toml
    noctule serve --config noctule.toml --check
    """
    from noctule.config import Configuration, default_configuration

    if as_json:
        click.echo(Configuration().model_dump_json())
        return
    click.echo(default_configuration(), nl=False)


def config_option(meaning: str, *, required: bool = False) -> Callable[[Command], Command]:
    """The option -c, --config FILE of a command, which gets it as `file`."""
    return click.option(
        "-c",
        "--config",
        "file",
        type=click.Path(path_type=Path, dir_okay=False),
        required=required,
        metavar="FILE",
        help=meaning,
    )
