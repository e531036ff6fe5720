"""`noctule acl check`: may this client do that, and which rule says so."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from noctule.cli.config import config_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from noctule.access import Principal, Rule

__all__ = ["acl"]


@click.group()
def acl() -> None:
    r"""Ask what clients may do.

    \b
    noctule acl check --config noctule.toml --user alice publish doors/front
    """


@acl.command()
@click.argument("action", type=click.Choice(["publish", "subscribe", "receive"]))
@click.argument("topic")
@config_option("The broker's configuration, with its [access].", required=True)
@click.option("--client", default="", metavar="ID", help="Client identifier.")
@click.option("--user", metavar="NAME", help="User name; none: a client without one.")
@click.option("--group", "groups", multiple=True, metavar="NAME", help="A group beside those of "
              "the configuration; may be given several times.")  # fmt: skip
@click.option("--claim", "claims", multiple=True, metavar="NAME=VALUE", help="A claim of the "
              "client's token; may be given several times.")  # fmt: skip
@click.option("--address", metavar="ADDRESS", help="Network address that it comes from.")
@click.option("--listener", type=int, default=0, metavar="N", help="Listener it comes to, from 0.")
@click.option("--qos", type=click.IntRange(0, 2), default=0, metavar="QOS", help="QoS: 0, 1 or 2.")
@click.option("--retain", is_flag=True, help="Publish with RETAIN.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def check(
    action: str,
    topic: str,
    file: Path,
    client: str,
    user: str | None,
    groups: tuple[str, ...],
    claims: tuple[str, ...],
    address: str | None,
    listener: int,
    qos: int,
    retain: bool,
    as_json: bool,
) -> None:
    r"""Say whether a client may take an ACTION on a TOPIC, and the rule that decides.

    \b
    noctule acl check -c noctule.toml --user alice publish doors/front
    noctule acl check -c noctule.toml --client c1 subscribe 'doors/#' --qos 1

    The broker's own matcher answers. The exit code is 0 for yes, 1 for no, and 2 where the
    question makes no sense.
    """
    from noctule.access import Principal, RuleError, explain
    from noctule.access.rules import Action

    check_topic(action, topic)
    check_address(address)
    rules, known, restricted = configured(file)
    in_groups = {name for name, users in known.items() if user is not None and user in users}
    principal = Principal(
        client=client,
        user=user,
        groups=frozenset(in_groups | set(groups)),
        address=address,
        listener=listener,
        claims=named(claims),
        restricted=restricted,
    )
    try:
        answer = explain(rules, principal, cast(Action, action), topic, qos=qos, retain=retain)
    except RuleError as error:
        click.echo(f"{error}: the broker refuses such a client", err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps({"allowed": answer.allowed, "rule": answer.rule}, ensure_ascii=False))
    else:
        mark = click.style(
            "yes" if answer.allowed else "no", fg="green" if answer.allowed else "red"
        )
        click.echo(f"{mark}: {asked(principal, action, topic)} is {answer}")
    sys.exit(0 if answer.allowed else 1)


def named(claims: tuple[str, ...]) -> dict[str, str]:
    """The claims by name; ends with exit code 2 for one without `=`."""
    pairs = [each.partition("=") for each in claims]
    if not all(equals and name for name, equals, _ in pairs):
        raise click.UsageError("A claim is written NAME=VALUE.")
    return {name: value for name, _, value in pairs}


def configured(file: Path) -> tuple[Sequence[Rule], Mapping[str, frozenset[str]], bool]:
    """The rules of a configuration, its groups, and whether silence is no in any case."""
    from noctule.access import AccessError, local_rules
    from noctule.config import ConfigurationError, load_options

    try:
        options = load_options(file, os.environ)
        found, elsewhere = asyncio.run(local_rules(options.access, options))
    except (ConfigurationError, AccessError, ImportError, OSError) as error:
        click.echo(error, err=True)
        sys.exit(2)
    for each in elsewhere:
        click.echo(f"The rules of {each} are not looked at: only the broker asks there.", err=True)
    return found.rules, found.groups, options.access.has_rule_sources


def check_topic(action: str, topic: str) -> None:
    """Ends with exit code 2 for what is no topic filter, or no topic name."""
    from noctule.protocol import check_topic_filter, check_topic_name
    from noctule.protocol.errors import NoctuleError

    try:
        (check_topic_filter if action == "subscribe" else check_topic_name)(topic)
    except NoctuleError as error:
        raise click.UsageError(str(error)) from error


def check_address(address: str | None) -> None:
    """Ends with exit code 2 for what is no address."""
    if address is None:
        return
    try:
        ip_address(address)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def asked(principal: Principal, action: str, topic: str) -> str:
    """The question in words."""
    parts: list[str] = []
    if principal.user is not None:
        parts.append(f"user {principal.user!r}")
    if principal.client or principal.user is None:
        parts.append(f"client {principal.client!r}")
    verbs = {
        "publish": "publishing to",
        "subscribe": "subscribing to",
        "receive": "receiving from",
    }
    return f"{', '.join(parts)} {verbs[action]} {topic!r}"
