"""The protocol without I/O: a session that speaks over whatever you have.

Here that is a plain blocking socket.

    python own_transport.py mqtt://localhost
"""

import socket
import sys
import time
from urllib.parse import urlsplit

from noctule.protocol import ClientSession, Delivery, SessionOptions
from noctule.protocol.events import Connected


def main(url: str) -> None:
    address = urlsplit(url)
    session = ClientSession(SessionOptions(client_identifier="own-transport"))
    with socket.create_connection((address.hostname, address.port or 1883)) as wire:
        session.connect(time.monotonic())
        delivery = Delivery("example/own", b"over a socket of my own", qos=2)
        while not delivery.is_settled:
            wire.sendall(session.data_to_send(time.monotonic()))
            session.receive_data(wire.recv(65_536), time.monotonic())
            for event in session.events():
                if isinstance(event, Connected):
                    session.publish(delivery)
        session.disconnect(time.monotonic())
        wire.sendall(session.data_to_send(time.monotonic()))
    print("delivered:", delivery.reason_code is not None)


main(sys.argv[1])
