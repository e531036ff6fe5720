"""`noctule store`: look into what a broker keeps on the disk, copy it, move it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from noctule.cli.progress import Progress
from noctule.cli.terminal import human_bytes, printable

__all__ = ["store"]

PIECE_BYTES = 1 << 18
KINDS = {
    "sessions": "sessions",
    "subscriptions": "subscriptions",
    "queued_messages": "queued messages",
    "in_flight": "QoS 2 messages sent, not completed",
    "received": "QoS 2 messages received, not released",
    "retained_messages": "retained messages",
}

directory = click.argument("directory", type=click.Path(path_type=Path))
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@click.group()
def store() -> None:
    r"""Look into what a broker keeps on the disk, copy it, move it.

    \b
    noctule store backup /var/lib/noctule /backup/monday
    noctule store check /backup/monday
    noctule store export /backup/monday > everything.jsonl

    DIRECTORY is the broker's data_dir, or a backup of it. All but `backup` want a broker
    that is stopped.
    """


@store.command()
@directory
@as_json
def check(directory: Path, as_json: bool) -> None:
    r"""Read a whole store, and say what is damaged.

    \b
    noctule store check /var/lib/noctule

    Nothing is changed: a broker that starts repairs what it finds, and keeps what was damaged in
    quarantine. The exit code is 0 where all is well, 1 where something is damaged, and 2 where
    the store cannot be read.
    """
    summary = summary_of(directory)
    damage: list[str] = summary["damage"]
    if as_json:
        click.echo(json.dumps(summary))
    elif damage:
        for each in damage:
            click.echo(f"{click.style('damaged', fg='red')}: {printable(each)}")
        if summary["damage_left_out"]:
            click.echo(f"and {summary['damage_left_out']:,} findings more")
        click.echo(
            "The rest is sound. The broker repairs this when it starts, and what was damaged "
            "stays in quarantine; or put a backup in the place of the directory."
        )
    else:
        records, rows = summary["live_records"], summary["rows"]
        click.echo(f"All is well: {records:,} records in {rows:,} rows.")
    sys.exit(1 if damage else 0)


@store.command()
@directory
@as_json
def stats(directory: Path, as_json: bool) -> None:
    r"""Count what a store holds, and what it takes.

    \b
    noctule store stats /var/lib/noctule
    """
    summary = summary_of(directory)
    if as_json:
        click.echo(json.dumps(summary))
        return
    for key, words in KINDS.items():
        held = summary[key]
        click.echo(f"{held['records']:>14,}  {words} ({human_bytes(held['bytes'])})")
    live, log, file = (human_bytes(summary[f"{each}_bytes"]) for each in ("live", "log", "file"))
    click.echo(f"{live} alive in a log of {log}; files of {file}.")
    if summary["damage"]:
        click.echo("Something is damaged: `noctule store check` says what.", err=True)


@store.command()
@directory
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write to a file of mode 0600 that is not there yet, and not to standard output.",
)
def export(directory: Path, output: Path | None) -> None:
    r"""Print everything in a store as lines of JSON.

    \b
    noctule store export /var/lib/noctule -o everything.jsonl
    noctule store export /var/lib/noctule | jq -r 'select(.type == "session").client'

    Sessions, subscriptions, queues with what is in flight, retained messages: docs/durability.md
    says how each looks. A store that is damaged is repaired first, as the broker does it; what
    was lost is said on standard error, and the exit code is 1 then.
    """
    from noctule._engine import store_export

    total = summary_of(directory)["live_records"]
    with explained(), opened(output) as write, Progress("Exporting", total) as progress:
        report = json.loads(store_export(directory, counting(write, progress)))
    for each in report["damage"]:
        click.echo(f"damaged, and lost: {printable(each)}", err=True)
    if report["damage_left_out"]:
        click.echo(f"and {report['damage_left_out']:,} findings more", err=True)
    for each in report["quarantined"]:
        click.echo(f"what was damaged is kept as {each}", err=True)
    if report["left_out"]:
        click.echo(f"{report['left_out']:,} records of no session were left out", err=True)
    sys.exit(1 if report["damage"] else 0)


@store.command("import")
@directory
@click.argument(
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    default="-",
)
@as_json
def import_(directory: Path, file: Path, as_json: bool) -> None:
    r"""Fill an empty store with what an export printed.

    \b
    noctule store import /var/lib/noctule everything.jsonl
    noctule store export old | noctule store import new

    FILE is standard input where it is not given. All of it comes in or, where a line is wrong,
    nothing. A directory that is not there is made.
    """
    from noctule._engine import store_import

    size = 0 if str(file) == "-" else file.stat().st_size
    with (
        click.open_file(file, "rb") as stream,
        explained(),
        Progress("Importing", size) as progress,
    ):
        imported = json.loads(store_import(directory, pieces_of(stream, progress)))
    if as_json:
        click.echo(json.dumps(imported))
        return
    click.echo(
        f"{imported['sessions']:,} sessions, {imported['subscriptions']:,} subscriptions, "
        f"{imported['queued']:,} queued and {imported['retained']:,} retained messages."
    )


@store.command()
@directory
@as_json
def compact(directory: Path, as_json: bool) -> None:
    r"""Write a store anew, without what is dead in it.

    \b
    noctule store compact /var/lib/noctule

    A running broker does so bit by bit, within the files it has; this gives their room back.
    Until it is done, it takes as much of the disk as is alive.
    """
    from noctule._engine import store_compact

    with explained():
        before, after = store_compact(directory)
    if as_json:
        click.echo(json.dumps({"bytes_before": before, "bytes_after": after}))
    else:
        click.echo(f"{human_bytes(before)} before, {human_bytes(after)} now.")


@store.command()
@directory
@click.argument("to", type=click.Path(path_type=Path))
@click.option("--no-check", is_flag=True, help="Do not read the copy to see that it is sound.")
@as_json
def backup(directory: Path, to: Path, no_check: bool, as_json: bool) -> None:
    r"""Copy a store, while its broker runs or not.

    \b
    noctule store backup /var/lib/noctule /backup/$(date +%F)

    TO is a directory that is not there yet. It holds what the store held when the copy began,
    and is a store itself: to restore it, stop the broker and put it in the place of its data_dir.
    The copy is read and checked when it is done; the exit code is 1 where it is damaged.
    """
    from noctule._engine import store_backup

    if to.exists():
        raise click.ClickException(f"{to} is there already: name a directory that is not.")
    with explained(), Progress("Copying pages", 1) as progress:
        store_backup(directory, to, progress.update_of)
    damage = [] if no_check else summary_of(to)["damage"]
    taken = sum(each.stat().st_size for each in to.iterdir())
    if as_json:
        click.echo(json.dumps({"bytes": taken, "checked": not no_check, "damage": damage}))
    else:
        for each in damage:
            click.echo(f"{click.style('damaged', fg='red')}: {printable(each)}")
        checked = "not checked" if no_check else "checked"
        click.echo(f"{to}: {human_bytes(taken)}, {checked}.")
    sys.exit(1 if damage else 0)


def summary_of(directory: Path) -> dict[str, Any]:
    """What a store holds; ends with exit code 2 where it cannot be read."""
    from noctule._engine import store_summary

    with explained():
        summary: dict[str, Any] = json.loads(store_summary(directory))
    return summary


@contextmanager
def explained() -> Iterator[None]:
    """Ends with exit code 2, and the reason, where the store refuses."""
    from noctule._engine import StoreError

    try:
        yield
    except BrokenPipeError:
        raise
    except (StoreError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)


@contextmanager
def opened(output: Path | None) -> Iterator[Callable[[bytes], object]]:
    """What writes: to standard output, or to a file that is there whole or not at all."""
    if output is None:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    if output.exists():
        raise click.ClickException(f"{output} is there already: name a file that is not.")
    unfinished = output.with_name(output.name + ".part")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(output)
    finally:
        unfinished.unlink(missing_ok=True)


def counting(write: Callable[[bytes], object], progress: Progress) -> Callable[[bytes], None]:
    """Writes, and shows how many lines have been."""
    lines = 0

    def write_and_count(piece: bytes) -> None:
        nonlocal lines
        write(piece)
        lines += piece.count(b"\n")
        progress.update(lines)

    return write_and_count


def pieces_of(file: IO[bytes], progress: Progress) -> Iterator[bytes]:
    """The bytes of a file, with the progress shown."""
    done = 0
    while piece := file.read(PIECE_BYTES):
        yield piece
        done += len(piece)
        progress.update(done)
