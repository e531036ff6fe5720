"""`noctule version`."""

import json

import click

import noctule

__all__ = ["version"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def version(as_json: bool) -> None:
    """Print the version."""
    click.echo(json.dumps({"version": noctule.__version__}) if as_json else noctule.__version__)
