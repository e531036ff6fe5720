"""`noctule topics lint`: what is wrong, or will be regretted, about topic names and filters."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import NamedTuple

import click

from noctule.protocol import check_topic_filter, check_topic_name
from noctule.protocol.errors import NoctuleError

__all__ = ["Finding", "lint_topic", "topics"]

MANY_LEVELS = 10
LONG_BYTES = 200


class Finding(NamedTuple):
    """Something about a topic: `error` where no broker takes it, `warning` where it is unwise."""

    topic: str
    severity: str
    text: str


@click.group()
def topics() -> None:
    r"""Check topic names and filters.

    \b
    noctule topics lint 'sensors/+/temperature' '/home//lamp'
    noctule topics lint < topics.txt
    """


@topics.command()
@click.argument("topic", nargs=-1)
@click.option("--names", is_flag=True, help="They are names to publish to: no wildcards.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def lint(topic: tuple[str, ...], names: bool, as_json: bool) -> None:
    r"""Say what is wrong about each TOPIC, or each line of standard input.

    \b
    noctule topics lint 'sensors/#/temperature'
    noctule topics lint --names < topics.txt

    Names and filters both; the exit code is 1 where one of them is wrong.
    """
    given = topic or tuple(line.rstrip("\n") for line in sys.stdin)
    findings = [finding for each in given for finding in lint_topic(each, is_name=names)]
    findings += list(_differ_in_case(given))
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], ensure_ascii=False))
    else:
        for finding in findings:
            mark = click.style(
                finding.severity, fg="red" if finding.severity == "error" else "yellow"
            )
            click.echo(f"{mark}: {finding.topic!r}: {finding.text}")
        if not findings:
            click.echo(f"{len(given)} checked, nothing found.")
    sys.exit(1 if any(finding.severity == "error" for finding in findings) else 0)


def lint_topic(topic: str, *, is_name: bool = False) -> Iterator[Finding]:
    """All that can be said about one name or filter."""
    try:
        (check_topic_name if is_name else check_topic_filter)(topic)
    except NoctuleError as error:
        yield Finding(topic, "error", str(error).removeprefix(f"{topic!r}: "))
        return
    for text in _unwise(topic):
        yield Finding(topic, "warning", text)


def _unwise(topic: str) -> Iterator[str]:
    levels = topic.split("/")
    if levels[0] == "$share":
        levels = levels[2:]
    if levels[0] == "" and len(levels) > 1:
        yield "it begins with a slash, which makes an empty first level"
    if levels[-1] == "" and len(levels) > 1:
        yield "it ends with a slash, which makes an empty last level"
    if "" in levels[1:-1]:
        yield "two slashes make an empty level between them"
    if any(level != level.strip() for level in levels):
        yield "a level begins or ends with a space, which nobody will see"
    elif " " in topic:
        yield "spaces are allowed, and a nuisance in every shell"
    if not topic.isprintable():
        yield "it has characters that cannot be seen"
    elif not topic.isascii():
        yield "letters beyond ASCII can be written in more than one way, and only bytes compare"
    if len(levels) > MANY_LEVELS:
        yield f"{len(levels)} levels are many; some brokers have a limit"
    if len(topic.encode()) > LONG_BYTES:
        yield f"{len(topic.encode())} bytes travel with every message"
    if topic.startswith("$") and not topic.startswith(("$share/", "$SYS/")):
        yield "topics that begin with $ belong to the broker, and # does not match them"
    if topic == "#":
        yield "# alone is every message that there is"


def _differ_in_case(given: tuple[str, ...]) -> Iterator[Finding]:
    """Topics that differ in upper and lower case are different topics."""
    seen: dict[str, str] = {}
    for topic in given:
        first = seen.setdefault(topic.casefold(), topic)
        if first != topic:
            yield Finding(topic, "warning", f"differs from {first!r} in upper and lower case alone")
