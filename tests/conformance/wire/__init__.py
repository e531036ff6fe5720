"""A raw MQTT client for tests: complete control over each byte, and nothing of noctule in it.

It is an implementation of its own on purpose. A suite that spoke through the project's
codec could only show that the codec agrees with itself.

    codec     the data types of the wire: integers, strings, properties
    packets   bytes of each packet a client may send; strict reading of those a server sends
    client    a socket, and what one expects from it
"""

from .client import Client, ClosedError
from .codec import Properties, WireError, binary, properties_section, string, variable
from .illformed import ILL_FORMED
from .packets import (
    PINGREQ,
    Packet,
    Will,
    acknowledgement,
    auth,
    connect,
    disconnect,
    frame,
    publish,
    subscribe,
    unsubscribe,
)

__all__ = [
    "ILL_FORMED",
    "PINGREQ",
    "Client",
    "ClosedError",
    "Packet",
    "Properties",
    "Will",
    "WireError",
    "acknowledgement",
    "auth",
    "binary",
    "connect",
    "disconnect",
    "frame",
    "properties_section",
    "publish",
    "string",
    "subscribe",
    "unsubscribe",
    "variable",
]
