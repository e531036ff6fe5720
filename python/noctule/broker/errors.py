"""What can go wrong with a broker.

    BrokerError
    ├── StartError             it could not start: an address in use, a directory not writable
    └── ExposedListenerError   it would have let everybody in from other machines

A wrong option is pydantic's ValidationError, which is a ValueError and names the option.
"""

__all__ = ["BrokerError", "ExposedListenerError", "StartError"]


class BrokerError(Exception):
    """Base of everything a broker raises by itself."""


class StartError(BrokerError):
    """The broker could not start; the text says what was refused, and what to do."""


class ExposedListenerError(BrokerError):
    """A listener that other machines reach, and nothing that tells clients apart.

    The text says what to write in the configuration.
    """
