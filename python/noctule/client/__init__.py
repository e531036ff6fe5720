"""The asyncio client.

    import noctule

    async with noctule.connect("mqtt://localhost") as client:
        async with client.subscribe("sensors/+/temperature", qos=1) as messages:
            async for message in messages:
                print(message.topic, message.text)

`noctule.sync` is the same for programs without an event loop.
"""

from noctule.client.auth import Mechanism, scram
from noctule.client.client import Client, connect
from noctule.client.errors import (
    AuthenticationError,
    ClientClosedError,
    ConnectionEndedError,
    ConnectionFailedError,
    ConnectionRefusedByServerError,
    OutboxFullError,
    PublishRefusedError,
    SubscribeRefusedError,
)
from noctule.client.options import ClientOptions, Credentials, Payload, Reconnect, Tls, Will
from noctule.client.outbox import OutboxError
from noctule.client.receipt import Receipt
from noctule.client.states import Closed, Connected, Connecting, Reconnecting, State
from noctule.client.subscription import Subscription
from noctule.protocol import Message, QoS, ReasonCode, Version
from noctule.protocol.errors import (
    DeliveryUnknownError,
    InvalidArgumentError,
    InvalidTopicError,
    NoctuleError,
    NotConnectedError,
    NotOfferedError,
    PacketTooLargeError,
    ProtocolError,
)

__all__ = [
    "connect",
    "Client",
    "ClientOptions",
    "Message",
    "Receipt",
    "Subscription",
    "Payload",
    "Will",
    "Credentials",
    "Reconnect",
    "Tls",
    "Mechanism",
    "scram",
    "QoS",
    "ReasonCode",
    "Version",
    "State",
    "Connecting",
    "Connected",
    "Reconnecting",
    "Closed",
    "NoctuleError",
    "AuthenticationError",
    "ClientClosedError",
    "ConnectionEndedError",
    "ConnectionFailedError",
    "ConnectionRefusedByServerError",
    "DeliveryUnknownError",
    "InvalidArgumentError",
    "InvalidTopicError",
    "NotConnectedError",
    "NotOfferedError",
    "OutboxError",
    "OutboxFullError",
    "PacketTooLargeError",
    "ProtocolError",
    "PublishRefusedError",
    "SubscribeRefusedError",
]
