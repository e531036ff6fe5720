"""mosquitto.conf: a directive on each line, a space, and its value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Directive", "DirectiveError", "read_directives"]

MAX_INCLUDES = 10
SECRETS = ("bridge_psk", "local_password", "password", "remote_password")


class DirectiveError(Exception):
    """A file that cannot be read; the text says which and why."""


class Directive(NamedTuple):
    """A line of a configuration: where it stands, its name, and what follows the name."""

    file: Path
    line: int
    name: str
    value: str

    @property
    def place(self) -> str:
        """``mosquitto.conf:12``."""
        return f"{self.file.name}:{self.line}"

    @property
    def text(self) -> str:
        """The line as it was written, with one space, and without what is a secret."""
        return f"{self.name} {'…' if self.name in SECRETS else self.value}".rstrip()


def read_directives(path: Path, depth: int = 0) -> Iterator[Directive]:
    """The directives of a file in their order, those of include_dir at its place."""
    if depth > MAX_INCLUDES:
        raise DirectiveError(f"{path}: include_dir goes round in circles")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DirectiveError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        # Only at the beginning of a line is # a comment; a password may hold one.
        if not line.strip() or line.startswith("#"):
            continue
        name, _, value = line.strip().partition(" ")
        directive = Directive(path, number, name, value.strip())
        if name == "include_dir":
            yield from _included(directive, depth)
        else:
            yield directive


def _included(directive: Directive, depth: int) -> Iterator[Directive]:
    """The files `*.conf` of a directory, in the order of their names as bytes."""
    directory = Path(directive.value)
    try:
        names = sorted(path for path in directory.iterdir() if path.suffix == ".conf")
    except OSError as error:
        raise DirectiveError(
            f"{directive.place}: include_dir {directory} cannot be read: {error.strerror}"
        ) from error
    for name in names:
        yield from read_directives(name, depth + 1)
