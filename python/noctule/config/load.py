"""File, environment and command line, put over each other and validated."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from noctule.config.configuration import Configuration
from noctule.config.environment import read_environment
from noctule.config.errors import ConfigurationError
from noctule.config.explain import explain
from noctule.config.source import KeyPath, Source, merge
from noctule.config.toml_file import read_toml

__all__ = ["load_options"]


def load_options(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    command_line: Mapping[str, Any] | None = None,
) -> Configuration:
    """The options that the three sources make together; later ones win.

    `environment` is usually `os.environ`; `command_line` holds options by their key, only those
    that were given. Raises ConfigurationError with every problem there is.
    """
    sources = [] if file is None else [read_toml(file)]
    sources.append(read_environment(environment or {}))
    sources.append(command_line_source(command_line or {}))
    merged = merge(sources)
    try:
        return Configuration.model_validate(merged.values)
    except ValidationError as error:
        raise ConfigurationError(explain(error, merged)) from error


def command_line_source(given: Mapping[str, Any]) -> Source:
    """The options of the command line; each key is an option, `--listen` is `listeners`."""
    places: dict[KeyPath, str] = {
        (key,): "option --listen" if key == "listeners" else f"option --{key.replace('_', '-')}"
        for key in given
    }
    return Source(dict(given), places)
