"""What can go wrong with a broker.

    BrokerError
    ├── StartError             it could not start: an address in use, a directory not writable
    ├── EngineFailedError      it stopped by itself, which is a fault of ours
    ├── PluginError            a plug-in that is required cannot be loaded
    └── ExposedListenerError   it would have let everybody in from other machines

A wrong option is pydantic's ValidationError, which is a ValueError and names the option.
"""

__all__ = ["BrokerError", "EngineFailedError", "ExposedListenerError", "PluginError", "StartError"]


class BrokerError(Exception):
    """Base of everything a broker raises by itself."""


class StartError(BrokerError):
    """The broker could not start; the text says what was refused, and what to do."""


class EngineFailedError(BrokerError):
    """A thread of the engine died and the broker stopped; the text is worth a report."""


class PluginError(BrokerError):
    """A plug-in that the broker is not to start without failed; the text says which and why."""


class ExposedListenerError(BrokerError):
    """A listener that other machines reach, and nothing that tells clients apart.

    The text says what to write in the configuration.
    """
