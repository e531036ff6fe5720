"""Configuration: a TOML file, the environment and the command line become a Configuration.

Later sources win: file, then `NOCTULE__SECTION__KEY`, then the command line. Every error names
the key, the place it was written in, and what to write instead.
"""

from noctule.config.configuration import Configuration, broker_of
from noctule.config.document import configuration_reference, default_configuration
from noctule.config.errors import ConfigurationError, Problem
from noctule.config.load import load_options
from noctule.config.reload import reload

__all__ = [
    "Configuration",
    "ConfigurationError",
    "Problem",
    "broker_of",
    "configuration_reference",
    "default_configuration",
    "load_options",
    "reload",
]
