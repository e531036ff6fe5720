"""A translation as the text of a noctule.toml."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from noctule.cli.mosquitto.translation import Translation

__all__ = ["toml_text"]


def toml_text(translation: Translation, source: str) -> str:
    """The configuration; what has no counterpart stands in comments at its end."""
    return "\n".join(_lines(translation, source)) + "\n"


def _lines(translation: Translation, source: str) -> Iterator[str]:
    yield f"# From {source}, by `noctule import mosquitto`."
    yield "# `noctule config` prints every option with its meaning."
    yield ""
    yield from _pairs(translation.options[""])
    for listener in translation.listeners:
        yield ""
        yield "[[listeners]]"
        yield from _pairs(listener)
    for section, options in translation.options.items():
        if section and options:
            yield ""
            yield f"[{section}]"
            yield from _pairs(options)
    missing = [outcome for outcome in translation.outcomes if outcome.kind == "missing"]
    if missing:
        yield ""
        yield "# What has no counterpart here:"
    for outcome in missing:
        if outcome.directive is None:
            yield f"#   {outcome.text}"
        else:
            yield f"#   {outcome.directive.place}: {outcome.directive.text}"
            yield f"#       {outcome.text}"


def _pairs(options: dict[str, Any]) -> Iterator[str]:
    for key, value in options.items():
        # JSON's text, numbers, truth values and lists of them are TOML's as well.
        yield f"{key} = {json.dumps(value, ensure_ascii=False)}"
