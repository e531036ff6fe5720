"""What can go wrong between a client and its server.

    NoctuleError                          (see `noctule.protocol.errors` for its other branches)
    ├── ConnectionFailedError             no connection could be opened; OSError's text inside
    ├── ConnectionRefusedByServerError    CONNACK with a reason code of 0x80 and above
    ├── ConnectionEndedError              a connection that stood has ended
    ├── ClientClosedError                 the client is closed, by the program or by an error
    ├── PublishRefusedError               the server has answered PUBLISH with an error
    ├── SubscribeRefusedError             the server has answered SUBSCRIBE with an error
    ├── AuthenticationError               enhanced authentication failed on our side
    └── OutboxFullError                   the outbox is full, and shall not be waited for

The server's refusals carry its reason code, and its reason string if it gave one.
"""

from __future__ import annotations

from collections.abc import Mapping

from noctule.protocol._tables import PropertyId, ReasonCode, ReturnCode
from noctule.protocol.errors import NoctuleError
from noctule.protocol.properties import NO_PROPERTIES, Properties

__all__ = [
    "AuthenticationError",
    "ClientClosedError",
    "ConnectionEndedError",
    "ConnectionFailedError",
    "ConnectionRefusedByServerError",
    "OutboxFullError",
    "PublishRefusedError",
    "SubscribeRefusedError",
]


class ConnectionFailedError(NoctuleError):
    """No connection could be opened: name, network, TLS, proxy, or time."""


class ConnectionRefusedByServerError(NoctuleError):
    """The server has answered CONNECT with an error."""

    def __init__(
        self, reason_code: ReasonCode | ReturnCode, properties: Properties = NO_PROPERTIES
    ) -> None:
        reason = properties.string(PropertyId.REASON_STRING)
        super().__init__(
            f"the server refused: {told(reason_code)}{f' ({reason})' if reason else ''}"
        )
        self.reason_code = reason_code
        self.reason_string = reason
        self.server_reference = properties.string(PropertyId.SERVER_REFERENCE)


class ConnectionEndedError(NoctuleError):
    """A connection that stood has ended; `reason_code` is None where the network failed."""

    def __init__(
        self,
        what: str,
        reason_code: ReasonCode | None = None,
        properties: Properties = NO_PROPERTIES,
    ) -> None:
        super().__init__(what)
        self.reason_code = reason_code
        self.reason_string = properties.string(PropertyId.REASON_STRING)
        self.server_reference = properties.string(PropertyId.SERVER_REFERENCE)


class ClientClosedError(NoctuleError):
    """The client is closed. Where an error closed it, that is the `__cause__`."""


class PublishRefusedError(NoctuleError):
    """The server has answered a QoS 1 or 2 PUBLISH with an error, and will not deliver it."""

    def __init__(self, topic: str, reason_code: ReasonCode, properties: Properties) -> None:
        reason = properties.string(PropertyId.REASON_STRING)
        super().__init__(
            f"publishing to {topic!r}: {told(reason_code)}{f' ({reason})' if reason else ''}"
        )
        self.reason_code = reason_code
        self.reason_string = reason


class SubscribeRefusedError(NoctuleError):
    """The server has refused some of the filters; `reason_codes` has the code of each."""

    def __init__(self, reason_codes: Mapping[str, ReasonCode]) -> None:
        refused = {f: code for f, code in reason_codes.items() if code >= 0x80}
        super().__init__(", ".join(f"{f!r}: {told(code)}" for f, code in refused.items()))
        self.reason_codes = dict(reason_codes)


class AuthenticationError(NoctuleError):
    """The mechanism of enhanced authentication found fault with the server's data."""


class OutboxFullError(NoctuleError):
    """The outbox holds as many messages as it may."""


def told(code: ReasonCode | ReturnCode) -> str:
    """``0x87 not authorized``."""
    return f"0x{code:02X} {code.name.lower().replace('_', ' ')}"
