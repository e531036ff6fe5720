"""A session and the server's half of its wire, in memory and with a clock of our own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from noctule.protocol import (
    ClientSession,
    Properties,
    PropertyId,
    SessionOptions,
    SessionState,
    decode_fixed_header,
    decode_packet,
    encode_packet,
)
from noctule.protocol.events import Event
from noctule.protocol.message import Delivery
from noctule.protocol.packets import Connack, Packet, Publish

Wanted = TypeVar("Wanted")


class Server:
    """Drives one `ClientSession`: reads what it writes, writes what it reads."""

    def __init__(self, state: SessionState | None = None, **options: Any) -> None:
        options.setdefault("client_identifier", "client")
        self.now = 1_000.0
        self.session = ClientSession(SessionOptions(**options), state)
        self.version = self.session.options.version
        self.events: list[Event] = []

    def sent(self) -> list[Packet]:
        """The packets that the client has written since the last call."""
        return split(self.version, self.session.data_to_send(self.now))

    def sent_bytes(self) -> bytes:
        return self.session.data_to_send(self.now)

    def send(self, *packets: Packet) -> list[Event]:
        """Gives packets to the client, and returns what happened."""
        return self.send_bytes(b"".join(encode_packet(self.version, p) for p in packets))

    def send_bytes(self, data: bytes) -> list[Event]:
        self.session.receive_data(data, self.now)
        events = self.session.events()
        self.events += events
        return events

    def accept(
        self, *, session_present: bool = False, reason_code: int = 0, **properties: Any
    ) -> list[Packet]:
        """CONNECT and CONNACK; returns what the client sends upon that."""
        self.session.connect(self.now)
        self.connect_packet = self.sent()[0]
        pairs = [(PropertyId[name.upper()], value) for name, value in properties.items()]
        self.send(Connack(session_present, reason_code, Properties(pairs)))
        return self.sent()

    def lose(self) -> None:
        """The network fails."""
        self.session.connection_lost()

    def publish(
        self, topic: str = "t", payload: bytes = b"x", qos: int = 1, **options: Any
    ) -> Delivery:
        delivery = Delivery(topic, payload, qos, **options)
        self.session.publish(delivery)
        return delivery

    def deliver(
        self, identifier: int, qos: int = 1, topic: str = "t", payload: bytes = b"x", **fields: Any
    ) -> list[Event]:
        return self.send(
            Publish(topic, payload, qos=qos, packet_identifier=identifier if qos else 0, **fields)
        )


def split(version: int, data: bytes) -> list[Packet]:
    packets = []
    while data:
        header = decode_fixed_header(data)
        assert header is not None
        packets.append(decode_packet(version, data[: header.stop]))
        data = data[header.stop :]
    return packets


def only(kind: type[Wanted], things: Iterable[object]) -> list[Wanted]:
    return [thing for thing in things if isinstance(thing, kind)]
