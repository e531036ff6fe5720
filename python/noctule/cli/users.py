"""`noctule users`: the directory of users that a running broker looks at."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from noctule.cli.config import config_option
from noctule.cli.passwd import asked_password

if TYPE_CHECKING:
    from noctule.access import Directory

__all__ = ["users"]

Result = TypeVar("Result")


@click.group()
@config_option("The broker's configuration, with its data_dir and access.directory = true.")
@click.pass_context
def users(context: click.Context, file: Path | None) -> None:
    r"""Make and change users, groups and rules of a broker, while it runs or not.

    \b
    noctule users -c noctule.toml add alice --group operators
    noctule users -c noctule.toml disable alice
    noctule users -c noctule.toml rules < rules.json

    A running broker takes a change within a second. Who is deleted, disabled or given another
    password is disconnected.
    """
    context.obj = file


@users.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_obj
def list_(file: Path | None, as_json: bool) -> None:
    """Print the users with their groups."""
    found = edit(file, lambda directory: directory.users())
    if as_json:
        fields = ("name", "enabled", "has_password")
        table = [
            {**{name: getattr(each, name) for name in fields}, "groups": sorted(each.groups)}
            for each in found
        ]
        click.echo(json.dumps(table, ensure_ascii=False))
        return
    for each in found:
        notes = [*sorted(each.groups)]
        notes += [] if each.enabled else ["(disabled)"]
        notes += [] if each.has_password else ["(no password)"]
        click.echo(" ".join([each.name, *notes]))


@users.command()
@click.argument("name")
@click.option("--group", "groups", multiple=True, metavar="NAME", help="Group that the user is "
              "in; may be given several times.")  # fmt: skip
@click.option("--no-password", is_flag=True, help="A user who comes in by other means.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from standard input.")
@click.pass_obj
def add(
    file: Path | None, name: str, groups: tuple[str, ...], no_password: bool, from_stdin: bool
) -> None:
    """Add the user NAME; asks for the password, twice."""
    password = None if no_password else asked_password(name, from_stdin, is_new=True)
    edit(file, lambda directory: directory.add_user(name, password, groups))


@users.command()
@click.argument("name")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from standard input.")
@click.pass_obj
def password(file: Path | None, name: str, from_stdin: bool) -> None:
    """Give the user NAME another password."""
    word = asked_password(name, from_stdin, is_new=True)
    edit(file, lambda directory: directory.set_password(name, word))


@users.command()
@click.argument("name")
@click.pass_obj
def delete(file: Path | None, name: str) -> None:
    """Delete the user NAME."""
    edit(file, lambda directory: directory.remove_user(name))


@users.command()
@click.argument("name")
@click.pass_obj
def enable(file: Path | None, name: str) -> None:
    """Let the user NAME in again."""
    edit(file, lambda directory: directory.set_enabled(name, True))


@users.command()
@click.argument("name")
@click.pass_obj
def disable(file: Path | None, name: str) -> None:
    """Let the user NAME in no longer, and keep what is known of them."""
    edit(file, lambda directory: directory.set_enabled(name, False))


@users.command()
@click.argument("group")
@click.argument("name")
@click.option("--out", is_flag=True, help="Take the user out of the group.")
@click.pass_obj
def group(file: Path | None, group: str, name: str, out: bool) -> None:
    """Put the user NAME into a GROUP, or role."""

    def change(directory: Directory) -> Awaitable[None]:
        return (directory.remove_from_group if out else directory.add_to_group)(group, name)

    edit(file, change)


@users.command()
@click.option("--show", is_flag=True, help="Print the rules there are, as JSON.")
@click.pass_obj
def rules(file: Path | None, show: bool) -> None:
    """Put the rules of standard input, a JSON list of tables, in the place of those there are."""
    if show:
        found = edit(file, lambda directory: directory.rules())
        tables = [rule.model_dump(mode="json", exclude_defaults=True) for rule in found]
        click.echo(json.dumps(tables, ensure_ascii=False, indent=2))
        return
    try:
        tables = json.load(sys.stdin)
    except ValueError as error:
        raise click.ClickException(f"Standard input holds no JSON: {error}") from None
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise click.ClickException("Standard input holds no list of tables.")
    edit(file, lambda directory: directory.set_rules(tables))


def edit(file: Path | None, change: Callable[[Directory], Awaitable[Result]]) -> Result:
    """Carry out a change of the configured directory; ends with 1 where it cannot be made."""
    from pydantic import ValidationError

    from noctule.access import AccessError, directory_of
    from noctule.config import ConfigurationError, load_options

    async def carry_out() -> Result:
        options = load_options(file, os.environ)
        if not options.access.directory:
            raise click.UsageError("The configuration does not say access.directory = true.")
        directory = directory_of(options.access, options)
        assert directory is not None
        try:
            return await change(directory)
        finally:
            await directory.close()

    try:
        return asyncio.run(carry_out())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise click.ClickException(f"A rule is none: {where}: {first['msg']}") from None
    except (ConfigurationError, AccessError, OSError) as error:
        raise click.ClickException(str(error)) from None
