"""Where options come from: each source is a tree of values that knows where each was written."""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["KeyPath", "Source", "merge"]

KeyPath = tuple[str | int, ...]


@dataclass
class Source:
    """Values by section and key, and the place of each."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, str] = field(default_factory=dict)
    """Key path, `("limits", "receive_maximum")`, to where it was written."""

    def place_of(self, path: KeyPath) -> str | None:
        """Where the key, or the nearest section that holds it, was written."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return None


def merge(sources: list[Source]) -> Source:
    """One source out of several; later ones win, key by key within sections."""
    merged = Source()
    for source in sources:
        overlay(merged.values, source.values)
        merged.places.update(source.places)
    return merged


def overlay(base: dict[str, Any], values: dict[str, Any]) -> None:
    """Put `values` over `base`, tables merged, anything else replaced."""
    for key, value in values.items():
        beneath = base.get(key)
        if isinstance(value, dict) and isinstance(beneath, dict):
            overlay(beneath, value)
        else:
            base[key] = dict(value) if isinstance(value, dict) else value
