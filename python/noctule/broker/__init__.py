"""A broker in your program: options in, the engine started, events out.

    async with Broker(listeners=["mqtt://127.0.0.1:0"]) as broker:
        print("listening on port", broker.port)
        await broker.serve_forever()

A wrong option raises pydantic's ValidationError, everything else a BrokerError.
"""

from noctule.broker.authentication import (
    Accept,
    AccessControl,
    Answer,
    AuthenticationRequest,
    Authenticator,
    Challenge,
    Client,
    EngineRule,
    Refuse,
    Sessions,
)
from noctule.broker.bans import Ban
from noctule.broker.broker import Broker
from noctule.broker.errors import (
    BrokerError,
    EngineFailedError,
    ExposedListenerError,
    PluginError,
    StartError,
)
from noctule.broker.events import Event, EventStream
from noctule.broker.exposure import refuse_exposed
from noctule.broker.listener import Listener
from noctule.broker.options import (
    BanOptions,
    BrokerOptions,
    DurabilityRule,
    Limits,
    ProtocolOptions,
)
from noctule.broker.plugins import Plugin
from noctule.broker.properties import MessageProperties
from noctule.broker.requests import (
    AccessRequest,
    ConnectRequest,
    PublishRequest,
    RequestedSubscription,
    SubscribeRequest,
    WillTopic,
)
from noctule.broker.retained import Retained
from noctule.broker.subscription import Subscription
from noctule.broker.tap import TappedMessage

__all__ = [
    "Accept",
    "AccessControl",
    "AccessRequest",
    "Answer",
    "AuthenticationRequest",
    "Authenticator",
    "Ban",
    "BanOptions",
    "Broker",
    "BrokerError",
    "BrokerOptions",
    "Challenge",
    "Client",
    "ConnectRequest",
    "DurabilityRule",
    "EngineFailedError",
    "EngineRule",
    "Event",
    "EventStream",
    "ExposedListenerError",
    "Limits",
    "Listener",
    "MessageProperties",
    "Plugin",
    "PluginError",
    "ProtocolOptions",
    "PublishRequest",
    "Refuse",
    "RequestedSubscription",
    "Retained",
    "Sessions",
    "StartError",
    "SubscribeRequest",
    "Subscription",
    "TappedMessage",
    "WillTopic",
    "refuse_exposed",
]
