"""A session's state as a value: to be kept over a restart of the program, MQTT 5.0 §4.1."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from noctule.protocol._tables import PropertyId, ReasonCode
from noctule.protocol.errors import InvalidArgumentError
from noctule.protocol.message import Delivery
from noctule.protocol.properties import Properties, PropertyValue

__all__ = ["SessionState", "dump_properties", "load_properties"]

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """What client and server have agreed on and a new connection goes on with.

    `in_flight` are deliveries in the order of their first sending, `received` the reason
    codes of their PUBRECs, `released` those with a PUBREL sent, `pending` those never sent,
    `unreleased` the identifiers of incoming QoS 2 messages whose PUBREL has not come.
    """

    client_identifier: str = ""
    is_established: bool = False
    in_flight: tuple[Delivery, ...] = ()
    received: Mapping[int, ReasonCode] = field(default_factory=dict)
    released: frozenset[int] = frozenset()
    pending: tuple[Delivery, ...] = ()
    unreleased: frozenset[int] = frozenset()

    def to_json(self) -> str:
        """The state as a JSON document."""
        return json.dumps(
            {
                "format": FORMAT,
                "client_identifier": self.client_identifier,
                "is_established": self.is_established,
                "in_flight": [_dump_delivery(delivery) for delivery in self.in_flight],
                "received": [[identifier, int(c)] for identifier, c in self.received.items()],
                "released": sorted(self.released),
                "pending": [_dump_delivery(delivery) for delivery in self.pending],
                "unreleased": sorted(self.unreleased),
            }
        )

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Reads what `to_json` wrote; InvalidArgumentError if it is something else."""
        try:
            fields = json.loads(document)
            if fields["format"] != FORMAT:
                raise InvalidArgumentError(f"session state of format {fields['format']}")
            return cls(
                client_identifier=fields["client_identifier"],
                is_established=fields["is_established"],
                in_flight=tuple(map(_load_delivery, fields["in_flight"])),
                received={identifier: ReasonCode(c) for identifier, c in fields["received"]},
                released=frozenset(fields["released"]),
                pending=tuple(map(_load_delivery, fields["pending"])),
                unreleased=frozenset(fields["unreleased"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArgumentError(f"this is no session state: {error}") from error


def dump_properties(properties: Properties) -> list[list[Any]]:
    """Properties as JSON has them; binary data becomes {"base64": …}."""
    return [
        [int(identifier), {"base64": b64encode(v).decode()} if isinstance(v, bytes) else v]
        for identifier, v in properties
    ]


def load_properties(rows: list[list[Any]]) -> Properties:
    """Reads what `dump_properties` wrote."""
    return Properties((PropertyId(identifier), _load_value(value)) for identifier, value in rows)


def _load_value(value: Any) -> PropertyValue:
    if isinstance(value, dict):
        return b64decode(value["base64"])
    if isinstance(value, list):
        return str(value[0]), str(value[1])
    if isinstance(value, int | str):
        return value
    raise ValueError(f"property value {value!r}")


def _dump_delivery(delivery: Delivery) -> dict[str, Any]:
    return {
        "topic": delivery.topic,
        "payload": b64encode(delivery.payload).decode(),
        "qos": delivery.qos,
        "retain": delivery.retain,
        "packet_identifier": delivery.packet_identifier,
        "dup": delivery.dup,
        "properties": dump_properties(delivery.properties),
    }


def _load_delivery(row: dict[str, Any]) -> Delivery:
    delivery = Delivery(
        row["topic"],
        b64decode(row["payload"]),
        row["qos"],
        row["retain"],
        load_properties(row["properties"]),
    )
    delivery.packet_identifier = row["packet_identifier"]
    delivery.dup = row["dup"]
    return delivery
