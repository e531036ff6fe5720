"""`noctule import`: from another broker to this one."""

from __future__ import annotations

import json
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from noctule.cli.mosquitto.move import Move

__all__ = ["import_"]

MARKS = {"taken": ("green", "✓"), "unneeded": ("cyan", "·"), "missing": ("yellow", "!")}
WIDEST_DIRECTIVE = 44
TITLES = {
    "taken": "Taken over",
    "unneeded": "Not needed any more",
    "missing": "Without counterpart: look at these",
}


@click.group("import")
def import_() -> None:
    r"""Move from another broker to this one.

    \b
    noctule import mosquitto --to /etc/noctule
    """


@import_.command()
@click.argument(
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/etc/mosquitto/mosquitto.conf"),
)
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("noctule"),
    metavar="DIR",
    help="Where noctule.toml, users and rules are written; ./noctule if not given.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the broker is to keep what lasts; data below --to if not given.",
)
@click.option("--dry-run", is_flag=True, help="Say what would become of it, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def mosquitto(
    file: Path, target: Path, data_dir: Path | None, dry_run: bool, as_json: bool
) -> None:
    r"""Read the configuration FILE of a Mosquitto, and all that it names.

    \b
    noctule import mosquitto --dry-run             what would become of it
    sudo systemctl stop mosquitto                  so that its database is complete
    sudo noctule import mosquitto --to /etc/noctule --data-dir /var/lib/noctule
    noctule serve --config /etc/noctule/noctule.toml

    Sessions, subscriptions, queued and retained messages come from mosquitto.db. Every directive
    that has no counterpart here is named with its line. Mosquitto's files stay as they are.
    """
    from noctule.cli.mosquitto.directives import DirectiveError
    from noctule.cli.mosquitto.move import Move, MoveError

    try:
        move = Move(file, target, data_dir=data_dir)
        written = [] if dry_run else move.write()
    except (MoveError, DirectiveError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(report(move, written), ensure_ascii=False))
    else:
        print_report(move, written)


def report(move: Move, written: list[Path]) -> dict[str, Any]:
    """What has been done, for programs."""
    state = move.state
    return {
        "directives": [
            {
                "file": str(each.directive.file) if each.directive else None,
                "line": each.directive.line if each.directive else None,
                "directive": each.directive.text if each.directive else None,
                "outcome": each.kind,
                "text": each.text,
            }
            for each in move.outcomes
        ],
        "problems": move.problems,
        "state": None
        if state is None
        else {
            "sessions": len(state.sessions),
            "subscriptions": state.subscriptions,
            "queued": state.queued,
            "retained": len(state.retained),
            "left": state.left,
        },
        "written": [str(path) for path in written],
    }


def print_report(move: Move, written: list[Path]) -> None:
    """What has been done, for people; as wide as the terminal."""
    columns = shutil.get_terminal_size((120, 24)).columns
    for kind, title in TITLES.items():
        found = [each for each in move.outcomes if each.kind == kind]
        if not found:
            continue
        click.echo(click.style(title, bold=True))
        colour, mark = MARKS[kind]
        places = [each.directive.place if each.directive else "" for each in found]
        texts = [each.directive.text if each.directive else "" for each in found]
        place_width = max(len(place) for place in places)
        text_width = min(max(len(text) for text in texts), WIDEST_DIRECTIVE)
        for each, place, text in zip(found, places, texts, strict=True):
            head = f"  {click.style(mark, fg=colour)} "
            head += click.style(f"{place:{place_width}}", dim=True) + f"  {text:{text_width}}"
            indent = 6 + place_width
            room = columns - indent - max(len(text), text_width) - 3
            arrow = click.style("→", dim=True)
            if len(each.text) <= room:
                click.echo(f"{head} {arrow} {each.text}")
                continue
            click.echo(head.rstrip())
            first, *rest = textwrap.wrap(each.text, max(30, columns - indent - 2))
            click.echo(" " * indent + f"{arrow} {first}")
            for line in rest:
                click.echo(" " * (indent + 2) + line)
        click.echo()
    for problem in move.problems:
        click.echo(f"{click.style('!', fg='yellow')} {problem}")
    if move.state is not None:
        print_state(move)
    done = click.style("✓", fg="green")
    if written and move.state is not None:
        click.echo(f"{done} {move.data_dir} is filled with them")
    for path in written:
        click.echo(f"{done} {path} is written")
    if written:
        click.echo(f"\nStart the broker: noctule serve --config {written[0]}")


def print_state(move: Move) -> None:
    """What of Mosquitto's database lives on."""
    state = move.state
    assert state is not None
    click.echo(
        f"{click.style('·', fg='cyan')} {move.translation.database}: "
        f"{len(state.sessions):,} sessions, {state.subscriptions:,} subscriptions, "
        f"{state.queued:,} queued messages, {len(state.retained):,} retained messages"
    )
    for what, count in state.left.items():
        click.echo(f"{click.style('·', fg='cyan')} {count:,} {what} are left out")
