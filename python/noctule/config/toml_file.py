"""A TOML file as a source that knows the line of each key."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from noctule.config.errors import ConfigurationError, Problem
from noctule.config.source import KeyPath, Source

__all__ = ["read_toml"]

# No option lies half as deep; what reads values goes down a call for each level.
MOST_LEVELS = 32


def read_toml(file: Path) -> Source:
    """Read the file; ConfigurationError where it cannot be read or is no TOML."""
    text = text_of(file)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([syntax_problem(file, str(error))]) from error
    except RecursionError as error:
        raise ConfigurationError([depth_problem(file)]) from error
    if is_deeper(values, MOST_LEVELS):
        raise ConfigurationError([depth_problem(file)])
    places: dict[KeyPath, str] = {}
    for path, line in lines_of_keys(text):
        for length in range(1, len(path) + 1):
            places.setdefault(path[:length], f"{file}, line {line}")
    return Source(values, places)


def text_of(file: Path) -> str:
    """The text of the file, UTF-8."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        remedy = f"`noctule config > {file}` writes one to begin with"
        what = f"cannot be read ({error.strerror})"
        raise ConfigurationError([Problem(str(file), what, remedy)]) from error
    except UnicodeDecodeError as error:
        what = f"byte {error.start} is not UTF-8"
        raise ConfigurationError([Problem(str(file), what, "save the file as UTF-8")]) from error


def syntax_problem(file: Path, message: str) -> Problem:
    """The parser's "… (at line 3, column 7)" with the place in front."""
    found = re.fullmatch(r"(?P<what>.*) \(at (?P<place>.*)\)", message)
    what, place = (found["what"], found["place"]) if found else (message, "syntax")
    return Problem(
        f"{file}, {place}",
        f"this is not TOML ({what[:1].lower()}{what[1:]})",
        'a line is `key = 10`, `key = true`, `key = "text"` or `[section]`',
    )


def is_deeper(values: Any, most: int) -> bool:
    """Whether tables and arrays lie in each other more than so many levels deep."""
    level = [values]
    for _ in range(most):
        members = [each.values() if isinstance(each, dict) else each for each in level]
        level = [each for inner in members for each in inner if isinstance(each, dict | list)]
    return bool(level)


def depth_problem(file: Path) -> Problem:
    what = f"tables or arrays lie more than {MOST_LEVELS} levels deep in each other"
    return Problem(str(file), what, "no option does; look for brackets that are not closed")


def lines_of_keys(text: str) -> Iterator[tuple[KeyPath, int]]:
    """Yield each key path of a valid document with the number of its line, from 1.

    tomllib tells no lines. A statement of TOML ends with a line, so lines are gathered until
    they parse by themselves, and what comes out says which keys they set.
    """
    section: KeyPath = ()
    tables: dict[KeyPath, int] = {}
    gathered: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        gathered.append(line)
        statement = parsed("\n".join(gathered))
        if statement is None:
            continue
        first = number - len(gathered) + 1
        gathered = []
        if line.lstrip().startswith("[") and first == number:
            section = opened_section(statement, tables)
            yield section, first
            continue
        for path in paths(statement):
            yield section + path, first


def parsed(text: str) -> dict[str, Any] | None:
    """The statement's tables, or None where it is not complete yet."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def opened_section(statement: dict[str, Any], tables: dict[KeyPath, int]) -> KeyPath:
    """The path that `[a.b]` or `[[a.b]]` opens; an array's tables are counted in `tables`."""
    path: KeyPath = ()
    value: Any = statement
    while isinstance(value, dict) and value:
        key, value = next(iter(value.items()))
        path += (key,)
        if isinstance(value, list):
            tables[path] = tables.get(path, -1) + 1
        if path in tables:
            path += (tables[path],)
    return path


def paths(values: dict[str, Any]) -> Iterator[KeyPath]:
    """Each key path of nested tables, the tables' own included."""
    for key, value in values.items():
        yield (key,)
        if isinstance(value, dict):
            for below in paths(value):
                yield (key, *below)
