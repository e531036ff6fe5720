"""The options as pages to read, generated from their classes: a file to edit, a reference."""

import textwrap
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from noctule.broker import Listener
from noctule.config.schema import all_keys, dotted, is_list, section_of, toml_value
from noctule.config.source import KeyPath

__all__ = ["configuration_reference", "default_configuration"]

WIDTH = 92

Option = tuple[KeyPath, FieldInfo]

HEADER = """\
# Noctule's configuration with every option at its default.
#
#     noctule config > noctule.toml
#     noctule serve --config noctule.toml
#
# Every option can also be given in the environment, as NOCTULE__SECTION__KEY: the section and
# the key in capitals with two underscores between them, NOCTULE__LIMITS__RECEIVE_MAXIMUM=100.
# The environment wins over the file, and the command line over both.
"""


def default_configuration() -> str:
    """The whole default configuration as a commented TOML file that can be read back."""
    lines = [HEADER]
    lists = [path for path, field in all_keys() if is_list(field)]
    for path, field in all_keys():
        section = section_of(field)
        if path[:-1] in lists:
            continue
        if path not in lists and section is not None:
            lines += [comment(field), f"[{dotted(path)}]", ""]
            continue
        lines += [comment(field), *choices_comment(field), assignment(path, field), ""]
    return "\n".join(lines).rstrip() + "\n"


def comment(field: FieldInfo) -> str:
    """The option's docstring as comment lines."""
    return "\n".join(wrapped(field.description or "", "# "))


def wrapped(text: str, prefix: str) -> Iterator[str]:
    """The paragraphs in lines of WIDTH characters; an empty line between paragraphs."""
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield prefix.rstrip()
        yield from textwrap.wrap(
            " ".join(paragraph.split()),
            WIDTH,
            initial_indent=prefix,
            subsequent_indent=prefix,
            break_long_words=False,
            break_on_hyphens=False,
        )


def choices_comment(field: FieldInfo) -> list[str]:
    """A line that names the values an option can have, where they are few."""
    choices = choices_of(field.annotation)
    return [f"# One of {', '.join(toml_value(choice) for choice in choices)}."] if choices else []


def choices_of(kind: Any) -> tuple[Any, ...]:
    """The values of a Literal, also of one that may be left out."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    if get_origin(kind) is UnionType or NoneType in get_args(kind):
        return next(filter(None, map(choices_of, get_args(kind))), ())
    return ()


def assignment(path: KeyPath, field: FieldInfo) -> str:
    """`key = default`; an example, commented out, where the default is to leave it out."""
    if field.default is None:
        return f"# {path[-1]} = {toml_value((field.examples or [''])[0])}"
    return f"{path[-1]} = {toml_value(urls(field.default))}"


def urls(default: Any) -> Any:
    """The default, listeners in their short form."""
    if isinstance(default, tuple):
        return [item.url if isinstance(item, Listener) else item for item in default]
    return default


def configuration_reference() -> str:
    """The reference page of all options, in Markdown."""
    lines = [
        "# Configuration",
        "",
        "Generated from the options' classes by `make docs`. `noctule config` prints all of this",
        "as a file to begin with.",
        "",
        "A configuration is a TOML file, environment variables and the command line; the later",
        "win. An option's variable is its section and key in capitals after `NOCTULE__`, with two",
        "underscores between them. An unknown key or a value out of its range is an error: the",
        "broker does not start, and says which line to change.",
        "",
    ]
    top: list[Option] = [(p, f) for p, f in all_keys() if len(p) == 1 and not is_table(f)]
    lines += ["## At the top of the file", "", *table(top)]
    for path, field in all_keys():
        if section_of(field) is None:
            continue
        below: list[Option] = [(p, f) for p, f in all_keys() if p[:-1] == path]
        title = f"[[{dotted(path)}]]" if is_list(field) else f"[{dotted(path)}]"
        lines += [f"## `{title}`", "", *wrapped(field.description or "", ""), "", *table(below)]
    return "\n".join(lines).rstrip() + "\n"


def is_table(field: FieldInfo) -> bool:
    """Whether the option is a section of its own; a list of tables is that and a value too."""
    return section_of(field) is not None and not is_list(field)


def table(options: list[Option]) -> list[str]:
    """A Markdown table: key, default, range, meaning."""
    rows = ["| key | default | values | meaning |", "| --- | --- | --- | --- |"]
    for path, field in options:
        has_default = field.default is not None and not field.is_required()
        default = f"`{toml_value(urls(field.default))}`" if has_default else ""
        meaning = " ".join((field.description or "").split()).replace("|", "\\|")
        rows.append(f"| `{path[-1]}` | {default} | {range_of(field)} | {meaning} |")
    return [*rows, ""]


def range_of(field: FieldInfo) -> str:
    """The values that are taken, both ends included."""
    choices = choices_of(field.annotation)
    if choices:
        return ", ".join(f"`{toml_value(choice)}`" for choice in choices)
    bounds = [
        next((getattr(m, name) for m in field.metadata if hasattr(m, name)), None)
        for name in ("ge", "le")
    ]
    if None not in bounds:
        return f"{bounds[0]:,} to {bounds[1]:,}"
    return "`true`, `false`" if field.annotation is bool else "text"
