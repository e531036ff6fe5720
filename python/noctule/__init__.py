"""Noctule: an MQTT broker, a Python client and the tools around them.

    from noctule import Broker      a broker in your program
    from noctule import connect     a client, asyncio; `noctule.sync` is the blocking one

Names are imported when they are first used, so that a program that needs the client alone
never loads the broker, and `noctule --help` answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noctule.broker import Broker as Broker
    from noctule.broker import BrokerOptions as BrokerOptions
    from noctule.client import Client as Client
    from noctule.client import Message as Message
    from noctule.client import NoctuleError as NoctuleError
    from noctule.client import QoS as QoS
    from noctule.client import Version as Version
    from noctule.client import Will as Will
    from noctule.client import connect as connect

    __version__: str

# Public name: the module it lives in.
_EXPORTS = {
    "Broker": "noctule.broker",
    "BrokerOptions": "noctule.broker",
    "Client": "noctule.client",
    "Message": "noctule.client",
    "NoctuleError": "noctule.client",
    "QoS": "noctule.client",
    "Version": "noctule.client",
    "Will": "noctule.client",
    "connect": "noctule.client",
}

__all__ = [
    "Broker",
    "BrokerOptions",
    "Client",
    "Message",
    "NoctuleError",
    "QoS",
    "Version",
    "Will",
    "__version__",
    "connect",
]


if not TYPE_CHECKING:  # so that a wrong name is an error to the type checker

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version  # slow to import, and seldom asked for

            value: object = version("noctule")
        elif name in _EXPORTS:
            value = getattr(import_module(_EXPORTS[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
