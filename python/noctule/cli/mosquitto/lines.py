"""What Mosquitto has kept, as the lines of JSON that `noctule store import` reads.

The form is described in docs/durability.md: a session before what belongs to it, a queue in the
order in which it is sent.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from noctule.cli.mosquitto.state import Kept, KeptMessage, KeptState, Queued
from noctule.protocol import PropertyId
from noctule.protocol.properties import PropertyValue

__all__ = ["lines_of"]

FORMAT = 1
TRAVELLING = (
    PropertyId.PAYLOAD_FORMAT_INDICATOR,
    PropertyId.CONTENT_TYPE,
    PropertyId.RESPONSE_TOPIC,
    PropertyId.CORRELATION_DATA,
    PropertyId.USER_PROPERTY,
)


def lines_of(state: KeptState) -> Iterator[bytes]:
    """Each line with its end."""
    for line in _lines(state):
        yield json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _lines(state: KeptState) -> Iterator[dict[str, Any]]:
    yield {"type": "store", "format": FORMAT, "written_by": "noctule import mosquitto"}
    for session in state.sessions.values():
        yield from _session(session)
    for message in state.retained:
        yield {"type": "retained", "message": _message(message)}


def _session(session: Kept) -> Iterator[dict[str, Any]]:
    client = session.client_identifier
    yield {
        "type": "session",
        "client": client,
        "user": session.user_name,
        "expiry_seconds": session.expiry_seconds,
        "offline_since_ms": session.away_since * 1000,
    }
    for grant in session.subscriptions:
        yield {
            "type": "subscription",
            "client": client,
            "filter": grant.topic_filter,
            "qos": grant.qos,
            "no_local": grant.no_local,
            "retain_as_published": grant.retain_as_published,
            "subscription_identifier": grant.identifier or None,
        }
    for queued in session.queue:
        yield _queued(client, queued)
    for identifier in session.received:
        yield {"type": "received", "client": client, "packet_identifier": identifier}


def _queued(client: str, queued: Queued) -> dict[str, Any]:
    if queued.stage == "released":
        # The client has the message: what is left is the end of its handshake.
        identifier = queued.packet_identifier
        return {"type": "released", "client": client, "packet_identifier": identifier}
    fields: dict[str, Any] = {
        "type": "queued",
        "client": client,
        "qos": queued.qos,
        "retain": queued.retain,
    }
    if queued.subscription_identifiers:
        fields["subscription_identifiers"] = list(queued.subscription_identifiers)
    if queued.stage == "sent" and queued.qos == 2:
        fields["packet_identifier"] = queued.packet_identifier
    fields["message"] = _message(queued.message)
    return fields


def _message(message: KeptMessage) -> dict[str, Any]:
    fields: dict[str, Any] = {"topic": message.topic, "qos": message.qos, "retain": message.retain}
    if message.expires_at is not None:
        fields["expires_ms"] = message.expires_at * 1000
    properties = [
        (identifier.name.lower(), _value(value))
        for identifier, value in message.properties
        if identifier in TRAVELLING
    ]
    if properties:
        fields["properties"] = properties
    try:
        fields["payload"] = message.payload.decode()
    except UnicodeDecodeError:
        fields["payload_base64"] = b64encode(message.payload).decode()
    return fields


def _value(value: PropertyValue) -> PropertyValue:
    return b64encode(value).decode() if isinstance(value, bytes) else value
