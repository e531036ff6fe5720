"""`noctule version`."""

import click

import noctule

__all__ = ["version"]


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(noctule.__version__)
