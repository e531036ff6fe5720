"""Mosquitto's password file, line by line: which records we can check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from noctule.access import is_checkable

__all__ = ["UserLine", "user_lines"]


class UserLine(NamedTuple):
    """A line that is no comment; `fault` says why it cannot be taken, and is empty if it can."""

    number: int
    text: str
    user: str
    fault: str


def user_lines(path: Path) -> Iterator[UserLine]:
    """The lines of a file. OSError where it cannot be read, UnicodeDecodeError for no UTF-8."""
    seen: set[str] = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        user, _, record = text.partition(":")
        yield UserLine(number, text, user, _fault(user, record, seen))
        seen.add(user)


def _fault(user: str, record: str, seen: set[str]) -> str:
    if not user:
        return "it has no user name"
    if user in seen:
        return f"{user} stands there twice; the first line counts"
    if not record.startswith("$"):
        return f"the password of {user} is not hashed: `mosquitto_passwd -U`, or `noctule passwd`"
    if not is_checkable(record):
        return f"the hash of {user} is of no kind that can be checked"
    return ""
