"""`noctule man`: the manual pages, from what `--help` says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from noctule.cli.app import noctule
from noctule.cli.flags.help import form
from noctule.cli.flags.property import PACKETS_OF, property_names
from noctule.cli.flags.table import COMMANDS, GROUPS, flags_of
from noctule.cli.words import Program, programs

__all__ = ["man", "manual_page"]

SECTION = 1

FORMAT = (
    ("%t", "topic"),
    ("%p", "payload, byte for byte"),
    ("%x, %X", "payload in hexadecimal digits, lower or upper case"),
    ("%l", "length of the payload in bytes"),
    ("%q", "QoS"),
    ("%r", "1 for a retained message, else 0"),
    ("%m", "packet identifier; 0 at QoS 0"),
    ("%j", "all of the message as JSON, the payload as a string"),
    ("%J", "the same, with a payload that is JSON itself"),
    ("%I", "time of arrival, as 2026-08-10T09:47:38+0100"),
    ("%U", "time of arrival, in seconds since 1970 with nanoseconds"),
    ("%A", "topic alias"),
    ("%C", "content type"),
    ("%D", "correlation data"),
    ("%E", "message expiry interval in seconds"),
    ("%F", "payload format indicator"),
    ("%P", "user properties, as NAME:VALUE with spaces between them"),
    ("%R", "response topic"),
    ("%S", "subscription identifier"),
    ("%%, @@, \\\\", "the character itself"),
    ("@X", "strftime(3)'s %X; @N are the nanoseconds"),
    ("\\0 \\a \\e \\n \\r \\t \\v", "control characters"),
)

FORMAT_WIDTHS = (
    "Between % and the letter may stand - for the left and 0 for zeros, a width, and, behind a "
    "point, a greatest width for %C, %I, %R and %t: %-20.20t. The width of %p, %x and %X is their "
    "greatest, too."
)

EXIT_CODES = {
    "pub": (("0", "published"), ("1", "wrong command line, or no connection")),
    "sub": (("0", "ended as asked"), ("1", "wrong command line, or no connection")),
    "rr": (("0", "a response has come"), ("1", "wrong command line, or no connection")),
}
MORE_EXIT_CODES = (
    ("7", "the connection was lost"),
    ("27", "the time of -W is over"),
    ("other", "the reason code or return code with which the server has refused"),
)


@click.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write all pages there, as NAME.1.",
)
@click.argument("command", nargs=-1)
def man(directory: Path | None, command: tuple[str, ...]) -> None:
    r"""Write the manual page of a COMMAND, or of all.

    \b
    noctule man sub | man -l -
    noctule man --directory ~/.local/share/man/man1
    """
    found = programs()
    pages = {"-".join(("noctule", *program.path)): manual_page(program) for program in found}
    pages = {"noctule": first_page(found)} | pages
    if directory is None:
        name = "-".join(("noctule", *command))
        if name not in pages:
            raise click.UsageError(f"There is no page {name}; there are {', '.join(pages)}.")
        click.echo(pages[name])
        return
    directory.mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        (directory / f"{name}.{SECTION}").write_text(page + "\n", encoding="utf-8")


def first_page(found: list[Program]) -> str:
    """The page of `noctule` itself: what there is, and where it is described."""
    return "\n".join(_first_page(found))


def _first_page(found: list[Program]) -> Iterator[str]:
    yield f'.TH "NOCTULE" "{SECTION}" "" "Noctule" "Noctule"'
    yield ".SH NAME"
    yield "noctule \\- an MQTT broker, a client and the tools around them"
    yield ".SH SYNOPSIS"
    yield _text("noctule COMMAND [OPTIONS]")
    yield ".SH DESCRIPTION"
    yield from _paragraphs(noctule.help or "")
    yield ".SH COMMANDS"
    yield from _definitions(
        (f"{'-'.join(('noctule', *program.path))}({SECTION})", program.summary) for program in found
    )
    yield from _files_and_environment()


def manual_page(program: Program) -> str:
    """The page in man(7)'s macros."""
    return "\n".join(_page(program))


def _page(program: Program) -> Iterator[str]:
    name = "-".join(("noctule", *program.path))
    yield f'.TH "{name.upper()}" "{SECTION}" "" "Noctule" "Noctule"'
    yield ".SH NAME"
    summary = program.summary[:1].lower() + program.summary[1:].rstrip(".")
    yield f"{_text(name)} \\- {_text(summary)}"
    yield ".SH SYNOPSIS"
    yield ".nf"
    for usage in program.usage:
        yield _text(usage)
    yield ".fi"
    key = program.path[0]
    if len(program.path) == 1 and key in COMMANDS:
        yield from _table_page(key)
        return
    yield ".SH DESCRIPTION"
    yield from _paragraphs(program.help)
    yield ".SH OPTIONS"
    for option in program.options:
        yield ".TP"
        yield f".B {_text(', '.join(option.names) + (' ' + option.metavar).rstrip())}"
        yield _text(option.meaning)


def _table_page(name: str) -> Iterator[str]:
    command = COMMANDS[name]
    yield ".SH DESCRIPTION"
    yield _text(command.summary)
    yield ".SH OPTIONS"
    for group, title in GROUPS.items():
        flags = [flag for flag in flags_of(command.letter) if flag.group == group]
        if not flags:
            continue
        yield f".SS {_text(title)}"
        for flag in flags:
            yield ".TP"
            yield f".B {_text(form(flag))}"
            yield _text(flag.help)
    if any(flag.field == "format" for flag in flags_of(command.letter)):
        yield ".SH FORMAT"
        yield from _definitions(FORMAT)
        yield ".PP"
        yield _text(FORMAT_WIDTHS)
    if any(flag.field == "properties" for flag in flags_of(command.letter)):
        yield ".SH PROPERTIES"
        yield from _definitions(
            (packet, ", ".join(sorted(property_names(packet)))) for packet in PACKETS_OF[name]
        )
    yield from _files_and_environment()
    if name in EXIT_CODES:
        yield ".SH EXIT STATUS"
        yield from _definitions((*EXIT_CODES[name], *MORE_EXIT_CODES))
    yield ".SH EXAMPLES"
    for line, meaning in command.examples:
        yield ".TP"
        yield f".B {_text(line)}"
        yield _text(meaning[:1].upper() + meaning[1:] + ".")


def _files_and_environment() -> Iterator[str]:
    yield ".SH FILES"
    yield from _definitions(
        (
            (
                "$XDG_CONFIG_HOME/noctule/config.toml, ~/.config/noctule/config.toml",
                "What is used where the command line says nothing, and profiles: the long options "
                "that say where and as whom to connect, without their dashes.",
            ),
        )
    )
    yield ".SH ENVIRONMENT"
    yield from _definitions(
        (
            ("NOCTULE_PASSWORD, NOCTULE_USERNAME", "Password and user name."),
            ("NOCTULE_PROFILE", "The profile, as --profile."),
            ("NO_COLOR", "No colours, if it is set to anything."),
        )
    )


def _definitions(pairs: Iterator[tuple[str, str]] | tuple[tuple[str, str], ...]) -> Iterator[str]:
    for term, meaning in pairs:
        yield ".TP"
        yield f".B {_text(term)}"
        yield _text(meaning)


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        lines = [line.strip() for line in paragraph.strip("\n").splitlines()]
        if lines and lines[0] == "\b":
            yield ".nf"
            yield from (_text(line) for line in lines[1:])
            yield ".fi"
        else:
            yield ".PP"
            yield _text(re.sub(r"\s+", " ", " ".join(lines)))


def _text(text: str) -> str:
    """Escaped for roff: backslashes, dashes, and dots and quotes that begin a line."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
