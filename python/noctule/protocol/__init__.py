"""MQTT without I/O: the codec and the client's session.

`decode_packet` and `encode_packet` turn bytes into packets and back, for 3.1, 3.1.1 and
5.0. `ClientSession` is a client as a state machine: bytes and time in, bytes and events out.
"""

from noctule.protocol._tables import PacketType, PropertyId, ReasonCode, ReturnCode
from noctule.protocol.decoder import (
    check_from_client,
    check_from_server,
    decode_fixed_header,
    decode_packet,
)
from noctule.protocol.encoder import encode_packet
from noctule.protocol.message import Delivery, Message
from noctule.protocol.options import Granted, SessionOptions
from noctule.protocol.packets import QoS, SubscriptionRequest, Version
from noctule.protocol.properties import Properties
from noctule.protocol.session import ClientSession, Phase
from noctule.protocol.state import SessionState
from noctule.protocol.topics import check_topic_filter, check_topic_name, filter_matches

__all__ = [
    "ClientSession",
    "Delivery",
    "Granted",
    "Message",
    "PacketType",
    "Phase",
    "Properties",
    "PropertyId",
    "QoS",
    "ReasonCode",
    "ReturnCode",
    "SessionOptions",
    "SessionState",
    "SubscriptionRequest",
    "Version",
    "check_from_client",
    "check_from_server",
    "check_topic_filter",
    "check_topic_name",
    "decode_fixed_header",
    "decode_packet",
    "encode_packet",
    "filter_matches",
]
