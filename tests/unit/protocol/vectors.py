"""The shared wire vectors, and packets in the shape they are written in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from noctule.protocol.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    WillPacket,
)
from noctule.protocol.properties import Properties

VECTORS = Path(__file__).parents[2] / "vectors" / "vectors.jsonl"


def vectors(is_valid: bool) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in VECTORS.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["valid"] is is_valid]


def wire(row: dict[str, Any]) -> bytes:
    """The packet's bytes; a long payload is written as one byte and its count."""
    tail = row.get("tail", {"byte": "", "count": 0})
    return bytes.fromhex(row["hex"] + tail["byte"] * tail["count"])


def described(packet: Packet, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`packet` as the vectors write it, with a long payload told as in `like`."""
    row: dict[str, Any] = {"type": type(packet).__name__.upper()}
    match packet:
        case Connect():
            row |= {
                "protocol_name": "MQIsdp" if packet.version == 3 else "MQTT",
                "protocol_level": int(packet.version),
                "clean": packet.clean_start,
                "keepalive": packet.keep_alive,
                "client_id": packet.client_identifier,
                "username": packet.user_name,
                "password_hex": None if packet.password is None else packet.password.hex(),
                "will": None if packet.will is None else _will(packet.will),
            }
        case Connack():
            row |= {"session_present": packet.session_present, "code": int(packet.reason_code)}
        case Publish():
            row |= {
                "dup": packet.dup,
                "qos": packet.qos,
                "retain": packet.retain,
                "topic": packet.topic,
                "packet_id": packet.packet_identifier or None,
            }
            row |= _payload(packet.payload, like is not None and "payload_sha256" in like)
        case Subscribe():
            row["packet_id"] = packet.packet_identifier
            row["filters"] = [
                {
                    "filter": request.topic_filter,
                    "qos": request.qos,
                    "no_local": request.no_local,
                    "retain_as_published": request.retain_as_published,
                    "retain_handling": request.retain_handling,
                }
                for request in packet.requests
            ]
        case Unsubscribe():
            row |= {
                "packet_id": packet.packet_identifier,
                "filters": list(packet.topic_filters),
            }
        case Suback() | Unsuback():
            row |= {
                "packet_id": packet.packet_identifier,
                "codes": [int(code) for code in packet.reason_codes],
            }
        case Disconnect() | Auth():
            row["code"] = int(packet.reason_code)
        case Puback() | Pubrec() | Pubrel() | Pubcomp():
            row |= {"packet_id": packet.packet_identifier, "code": int(packet.reason_code)}
    if not isinstance(packet, Pingreq | Pingresp):
        row["properties"] = _properties(packet.properties)
    return row


def _payload(payload: bytes, is_long: bool) -> dict[str, Any]:
    if not is_long:
        return {"payload_hex": payload.hex()}
    return {"payload_len": len(payload), "payload_sha256": sha256(payload).hexdigest()}


def _will(will: WillPacket) -> dict[str, Any]:
    return {
        "topic": will.topic,
        "payload_hex": will.payload.hex(),
        "qos": will.qos,
        "retain": will.retain,
        "properties": _properties(will.properties),
    }


def _properties(properties: Properties) -> list[list[Any]]:
    return [[identifier.name.lower(), _plain(value)] for identifier, value in properties]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return list(value) if isinstance(value, tuple) else value
