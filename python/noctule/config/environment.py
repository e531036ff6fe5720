"""Environment variables as a source: `NOCTULE__LIMITS__RECEIVE_MAXIMUM=100`."""

import tomllib
from collections.abc import Mapping
from typing import Any

from noctule.config.schema import field_at
from noctule.config.source import Source

__all__ = ["PREFIX", "read_environment"]

PREFIX = "NOCTULE__"


def read_environment(environment: Mapping[str, str]) -> Source:
    """Take the variables that begin with `NOCTULE__`; sections and keys are in capitals."""
    source = Source()
    for variable, text in environment.items():
        if not variable.startswith(PREFIX):
            continue
        path = tuple(part.lower() for part in variable.removeprefix(PREFIX).split("__"))
        source.places[path] = f"environment variable {variable}"
        put(source.values, path, value_of(path, text))
    return source


def value_of(path: tuple[str, ...], text: str) -> Any:
    """The text as a TOML value, `100`, `true`, `["a"]`; as it stands where it is none.

    An option that is text takes it as it stands in any case.
    """
    field = field_at(path)
    if field is not None and field.annotation is str:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set the key; a section that was given a plain value before keeps that value."""
    *sections, key = path
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            return
    values[key] = value
