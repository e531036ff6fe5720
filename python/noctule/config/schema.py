"""The tree of options as it can be asked: which keys there are, and what each is."""

from collections.abc import Iterator
from typing import get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from noctule.config.configuration import Configuration
from noctule.config.source import KeyPath

__all__ = ["all_keys", "dotted", "field_at", "is_list", "section_of", "toml_value"]


def field_at(path: KeyPath) -> FieldInfo | None:
    """The option at the key path; None where there is none. Positions in lists are passed over."""
    model: type[BaseModel] | None = Configuration
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


def is_list(field: FieldInfo) -> bool:
    """Whether the section is a list of tables, `[[listeners]]`."""
    return section_of(field) is not None and get_origin(field.annotation) is tuple


def all_keys(
    model: type[BaseModel] = Configuration, above: KeyPath = ()
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
    if isinstance(value, dict):
        pairs = (f"{key} = {toml_value(each)}" for key, each in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
