"""`noctule config`."""

import click

__all__ = ["config"]


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
