"""`noctule config`."""

import click

__all__ = ["config"]


@click.command()
def config() -> None:
    r"""Print the whole default configuration, commented: a TOML file to begin with.

    \b
    noctule config > noctule.toml
    noctule serve --config noctule.toml --check
    """
    from noctule.config import default_configuration

    click.echo(default_configuration(), nl=False)
