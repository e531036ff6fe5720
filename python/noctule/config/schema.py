"""The tree of options as it can be asked: which keys there are, and what each is."""

from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from noctule.broker import BrokerOptions
from noctule.config.source import KeyPath

__all__ = ["all_keys", "dotted", "field_at", "section_of", "toml_value"]


def field_at(path: KeyPath) -> FieldInfo | None:
    """The option at the key path; None where there is none. Positions in lists are passed over."""
    model: type[BaseModel] | None = BrokerOptions
    found: FieldInfo | None = None
    for key in path:
        if isinstance(key, int):
            continue
        if model is None or key not in model.model_fields:
            return None
        found = model.model_fields[key]
        model = section_of(found)
    return found


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The class of options that a section, or each table of a list, holds; None for a value."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def all_keys(
    model: type[BaseModel] = BrokerOptions, above: KeyPath = ()
) -> Iterator[tuple[KeyPath, FieldInfo]]:
    """Yield every option and section with its key path, in the order of the classes."""
    for name, field in model.model_fields.items():
        path = (*above, name)
        yield path, field
        section = section_of(field)
        if section is not None:
            yield from all_keys(section, path)


def dotted(path: KeyPath) -> str:
    """The path as people write it: `limits.receive_maximum`, `listeners[0].port`."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def toml_value(value: object) -> str:
    """A plain value as it stands in a TOML file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
