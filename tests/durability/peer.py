"""A client whose broker may be gone at any moment: what it keeps itself, and how it goes on."""

from typing import Any

from tests.conformance.wire import Client, ClosedError, packets
from tests.conformance.wire.packets import Packet

__all__ = ["NEVER_EXPIRES", "Address", "Peer"]

NEVER_EXPIRES = 0xFFFF_FFFF
"""Session expiry interval in seconds."""

SHUTTING_DOWN = 0x8B

Address = tuple[str, int]


class Peer:
    """A client with a session that never expires, at protocol level 4 or 5.

    What a subclass keeps in itself outlives its connections, as the client's session state does
    (MQTT 5.0 §4.1). A connection ends without notice; the next `connect` goes on. Whatever the
    broker has sent before it ended is heard, even where nothing can be sent any more.
    """

    def __init__(self, name: str, version: int, **properties: int) -> None:
        self.name = name
        self.version = version
        self.properties: dict[str, Any] = {"session_expiry_interval": NEVER_EXPIRES, **properties}
        self.client: Client | None = None
        self.has_session = False
        """The broker has said, in a CONNACK that came, that it keeps a session for us."""
        self.heard = 0
        """Packets that were handled."""
        self._identifier = 0

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as we have seen."""
        return self.client is not None

    def connect(self, address: Address) -> None:
        """Connect and take up what was left; that the broker ends meanwhile is no failure."""
        try:
            self.client = Client(address, self.version, client_id=self.name)
            properties = self.properties if self.version == 5 else {}
            connack = self.client.connect(clean=False, keep_alive=0, **properties)
        except TimeoutError:
            raise
        except (ClosedError, OSError):
            self.lose()
            return
        if self.has_session:
            assert connack.session_present, f"the session of {self.name} is gone"
        self.has_session = True
        self.resume()

    def resume(self) -> None:
        """Send again what is not finished."""

    def act(self) -> None:
        """Send something new, if it is time to."""

    def handle(self, packet: Packet) -> None:
        """Take a packet other than CONNACK."""
        raise NotImplementedError

    def turn(self) -> None:
        """Handle what has come, and act."""
        while self.client is not None and self.client.has_packet():
            packet = self.client.receive()
            if packet is None or is_farewell(packet):
                self.lose()
                return
            self.handle(packet)
            self.heard += 1
        if self.client is not None:
            self.act()

    def send(self, data: bytes) -> None:
        """Send, or find the connection broken: reading will come to its end."""
        assert self.client is not None
        try:
            self.client.send(data)
        except TimeoutError:
            raise
        except OSError:
            return

    def acknowledge(self, kind: str, packet_id: int) -> None:
        """Send PUBACK, PUBREC, PUBREL or PUBCOMP with reason code 0."""
        self.send(packets.acknowledgement(self.version, kind, packet_id))

    def next_identifier(self, taken: object = ()) -> int:
        """A packet identifier that is not among those `taken`."""
        assert hasattr(taken, "__contains__")
        while True:
            self._identifier = self._identifier % 65_535 + 1
            if self._identifier not in taken:
                return self._identifier

    def lose(self) -> None:
        """The connection is gone."""
        if self.client is not None:
            self.client.close()
            self.client = None


def is_farewell(packet: Packet) -> bool:
    """Whether the broker says that it is shutting down."""
    return packet.type == "DISCONNECT" and packet.code == SHUTTING_DOWN
