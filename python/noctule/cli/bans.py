"""`noctule bans`: who is kept out of a broker, from the command line."""

from __future__ import annotations

import json
import os
import time
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from noctule.cli.config import config_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from noctule.broker.ban_requests import BanRequest, BanRequests

__all__ = ["bans"]

FILE_NAME = "bans.json"
KINDS = ("client", "user", "address")


@click.group()
@config_option("The broker's configuration, with its data_dir.")
@click.pass_context
def bans(context: click.Context, file: Path | None) -> None:
    r"""Keep clients, users and addresses out of a broker, while it runs or not.

    \b
    noctule bans -c noctule.toml add --address 192.0.2.0/24 --seconds 3600 --reason scanning
    noctule bans -c noctule.toml list
    noctule bans -c noctule.toml remove --address 192.0.2.0/24

    A running broker takes a change within a second, and ends the connections of who is banned;
    one that does not run takes it when it starts.
    """
    context.obj = file


def whom(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say whom a ban is for."""
    for name, said in (
        ("address", "Address, or network such as 10.0.0.0/8."),
        ("user", "User name."),
        ("client", "Client identifier."),
    ):
        command = click.option(f"--{name}", metavar=name.upper(), help=said)(command)
    return command


@bans.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_obj
def list_(file: Path | None, as_json: bool) -> None:
    """Print the bans in force."""
    found = in_force(data_dir_of(file))
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    for each in found:
        until = each["until"]
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until)) if until else "ever"
        reason = f": {each['reason']}" if each["reason"] else ""
        click.echo(f"{each['kind']} {each['value']} until {moment}{reason}")


@bans.command()
@whom
@click.option("--seconds", type=click.FloatRange(min=1), metavar="N",
              help="How long; not given: until it is removed.")  # fmt: skip
@click.option("--reason", default="", metavar="TEXT", help="For the list and the log.")
@click.pass_obj
def add(file: Path | None, /, seconds: float | None, reason: str, **named: str | None) -> None:
    """Keep out a client, a user, or an address or network."""
    from noctule.broker.ban_requests import BanRequest

    kind, value = one_of(named)
    until = None if seconds is None else time.time() + seconds
    leave(data_dir_of(file), BanRequest("ban", kind, value, until, reason))


@bans.command()
@whom
@click.pass_obj
def remove(file: Path | None, /, **named: str | None) -> None:
    """Let them in again, named as they were banned; ends with 1 where they were not."""
    from noctule.broker.ban_requests import BanRequest

    kind, value = one_of(named)
    data_dir = data_dir_of(file)
    if (kind, value) not in {(each["kind"], each["value"]) for each in in_force(data_dir)}:
        raise click.ClickException(f"The {kind} {value} is not banned.")
    leave(data_dir, BanRequest("unban", kind, value))


def one_of(named: dict[str, str | None]) -> tuple[str, str]:
    """The one who is named."""
    given = [(kind, value) for kind in KINDS if (value := named[kind]) is not None]
    if len(given) != 1:
        raise click.UsageError("Say one of --client, --user and --address.")
    kind, value = given[0]
    if kind != "address":
        return kind, value
    try:
        return kind, str(ip_network(value) if "/" in value else ip_address(value))
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def in_force(data_dir: Path) -> list[dict[str, Any]]:
    """What the broker has written down, and what it has not taken yet."""
    file = data_dir / FILE_NAME
    try:
        written = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
        waiting = requests_of(data_dir).waiting()
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{file}: {error}") from None
    found = {(each["kind"], each["value"]): each for each in written}
    for request in waiting:
        key = (request.kind, request.value)
        found.pop(key, None)
        if request.do == "ban":
            found[key] = {
                "kind": request.kind,
                "value": request.value,
                "until": None if request.until is None else int(request.until),
                "reason": request.reason,
            }
    now = time.time()
    return [each for each in found.values() if each["until"] is None or each["until"] > now]


def leave(data_dir: Path, request: BanRequest) -> None:
    """Ask the broker for it; ends with 1 where that cannot be written down."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        requests_of(data_dir).leave(request)
    except OSError as error:
        raise click.ClickException(str(error)) from None


def requests_of(data_dir: Path) -> BanRequests:
    from noctule.broker.ban_requests import BanRequests

    return BanRequests(data_dir)


def data_dir_of(file: Path | None) -> Path:
    """Where the broker keeps its bans."""
    from noctule.config import ConfigurationError, load_options

    try:
        data_dir = load_options(file, os.environ).data_dir
    except (ConfigurationError, OSError) as error:
        raise click.ClickException(str(error)) from None
    if data_dir is None:
        raise click.UsageError("The configuration has no data_dir, in which bans are kept.")
    return data_dir
