"""What can go wrong in the protocol, apart from the network.

    NoctuleError
    ├── ProtocolError                the peer broke a rule; has the reason code to answer with
    │   └── MalformedPacketError     the peer's bytes are no packet
    ├── InvalidArgumentError         our own program asked for what cannot be written
    │   ├── InvalidTopicError        a topic name or filter against its syntax
    │   └── PacketTooLargeError      larger than the server takes
    ├── NotOfferedError              the server said that it does not have this
    ├── NotConnectedError            asked for something that needs a connection
    └── DeliveryUnknownError         the server lost the session of a QoS 2 message in flight

The client's errors, which have to do with connections, are in `noctule.client.errors`.
"""

from __future__ import annotations

from noctule.protocol._tables import ReasonCode

__all__ = [
    "DeliveryUnknownError",
    "InvalidArgumentError",
    "InvalidTopicError",
    "MalformedPacketError",
    "NoctuleError",
    "NotConnectedError",
    "NotOfferedError",
    "PacketTooLargeError",
    "ProtocolError",
]


class NoctuleError(Exception):
    """The base of every error that this package raises on purpose."""


class ProtocolError(NoctuleError):
    """The peer broke a rule of the protocol.

    `reason_code` is the one to answer with (MQTT 5.0 §4.13), 0x81 to 0xA2.
    """

    def __init__(self, what: str, reason_code: ReasonCode = ReasonCode.PROTOCOL_ERROR) -> None:
        super().__init__(what)
        self.reason_code = reason_code


class MalformedPacketError(ProtocolError):
    """The peer's bytes cannot be read as a packet."""

    def __init__(self, what: str, reason_code: ReasonCode = ReasonCode.MALFORMED_PACKET) -> None:
        super().__init__(what, reason_code)


class InvalidArgumentError(NoctuleError, ValueError):
    """The program asked for something that the protocol cannot express."""


class InvalidTopicError(InvalidArgumentError):
    """A topic name or topic filter against the syntax of MQTT 5.0 §4.7."""


class PacketTooLargeError(InvalidArgumentError):
    """The packet is larger than the server's maximum packet size."""


class NotOfferedError(NoctuleError):
    """The server told at CONNACK that it does not offer this feature."""


class NotConnectedError(NoctuleError):
    """The request needs a connection, and there is none."""


class DeliveryUnknownError(NoctuleError):
    """The server lost the session while a QoS 2 message was in flight.

    Whether the message has arrived cannot be known: to send it again may deliver it twice,
    not to send it may lose it. That choice belongs to the program.
    """
