"""Limits that one listener has, and its neighbour has not."""

import socket
from asyncio import to_thread
from contextlib import ExitStack
from pathlib import Path

from argon2 import PasswordHasher

from noctule.broker import Broker
from noctule.config import Configuration, broker_of
from tests.conformance.websocket import WebSocket
from tests.conformance.wire import Client, Will
from tests.integration.listeners.secure import SERVER, SecureConnection, trusting

CHEAP = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
QOS_NOT_SUPPORTED, PACKET_TOO_LARGE, NOT_AUTHORIZED, BAD_USER_NAME = 0x9B, 0x95, 0x87, 0x86


def new_client(port: int, name: str = "", version: int = 5) -> Client:
    return Client(("127.0.0.1", port), version, client_id=name)


async def test_highest_qos_is_the_listeners_own() -> None:
    listeners = ["mqtt://127.0.0.1:0?maximum_qos=0", "mqtt://127.0.0.1:0?maximum_qos=1"]
    async with Broker(listeners=[*listeners, "mqtt://127.0.0.1:0"]) as broker:

        def play() -> None:
            for highest, port in enumerate(broker.ports):
                with new_client(port, "client") as client:
                    told = client.connect().properties.get("maximum_qos")
                    assert told == (highest if highest < 2 else None)
                    # What it asks for beyond is granted as far as it may be (MQTT 5.0 §3.2.2.3.4).
                    assert client.subscribe(f"t/{highest}", qos=2) == (highest,)
                with new_client(broker.ports[2], "other") as other, new_client(port) as client:
                    client.connect()
                    client.subscribe("t", qos=2)
                    other.connect()
                    other.publish("t", b"x", 2)
                    client.expect_message("t", b"x", qos=highest)
                    if highest < 2:
                        client.send_publish("t", b"x", highest + 1)
                        client.expect_disconnect(QOS_NOT_SUPPORTED)
                with new_client(port, "willing") as client:
                    will = Will("t", b"gone", qos=2)
                    client.send_connect(will=will)
                    if highest < 2:
                        client.expect_refusal(QOS_NOT_SUPPORTED, may_just_close=False)
                    else:
                        client.expect("CONNACK", code=0)

        await to_thread(play)


async def test_keep_alive_and_packet_size_are_the_listeners_own() -> None:
    query = "max_keep_alive_seconds=20&max_packet_bytes=1000"
    async with Broker(listeners=[f"mqtt://127.0.0.1:0?{query}", "mqtt://127.0.0.1:0"]) as broker:

        def play() -> None:
            tight, wide = broker.ports
            for asked, told in ((0, 20), (60, 20), (10, None)):
                with new_client(tight) as client:
                    properties = client.connect(keep_alive=asked).properties
                    assert properties.get("server_keep_alive") == told
                    assert properties["maximum_packet_size"] == 1_000
                    client.send_publish("t", bytes(1_000))
                    client.expect_disconnect(PACKET_TOO_LARGE)
            # Nobody tells a client of old.
            with new_client(tight, version=4) as client:
                client.connect()
                client.publish("t", bytes(900), 1)
                client.send_publish("t", bytes(1_000))
                client.expect_disconnect()
            with new_client(wide) as client:
                properties = client.connect(keep_alive=60).properties
                assert properties.get("server_keep_alive") is None
                assert properties.get("maximum_packet_size", 1 << 20) > 1_000
                client.publish("t", bytes(1_000), 1)

        await to_thread(play)


async def test_connections_are_counted_for_each_listener() -> None:
    listeners = ["mqtt://127.0.0.1:0?max_connections=2", "mqtt://127.0.0.1:0"]
    async with Broker(listeners=listeners) as broker:

        def play() -> None:
            full, other = broker.ports
            with ExitStack() as stack:
                for number in range(2):
                    stack.enter_context(new_client(full, f"in-{number}")).connect()
                with new_client(full, "out") as client:
                    client.send_connect()
                    client.expect_close()
                for number in range(4):
                    stack.enter_context(new_client(other, f"other-{number}")).connect()

        await to_thread(play)
        assert broker.statistics()["sockets_refused"] == 1


async def test_handshakes_are_bounded_in_number_and_in_time() -> None:
    """Whoever stops in the middle of TLS, of HTTP, or in front of CONNECT holds a place only
    until its time is over, and only on its own listener."""
    places, limits = 8, {"connect_timeout_seconds": 4}
    schemes = ("mqtt", "ws", "mqtts", "wss")
    listeners: list[dict[str, object]] = [
        {**(SERVER if scheme in ("mqtts", "wss") else {"port": 0}), "scheme": scheme}
        | {"max_handshakes": places}
        for scheme in schemes
    ]
    listeners.append({"port": 0})
    # One worker takes them in their order.
    async with Broker(listeners=listeners, limits=limits, workers=1) as broker:

        def play() -> None:
            *bounded, free = broker.ports
            begun = (b"\x10", b"GET /mqtt HTTP/1.1\r\n", b"\x16\x03\x01\x02", b"\x16\x03\x01\x02")
            with ExitStack() as stack:
                waiting = []
                for port, first in zip(bounded, begun, strict=True):
                    for _ in range(places):
                        idle = socket.create_connection(("127.0.0.1", port), timeout=60)
                        stack.enter_context(idle)
                        idle.sendall(first)
                        waiting.append(idle)
                    # There is no place until one of them is given up.
                    late = socket.create_connection(("127.0.0.1", port), timeout=60)
                    stack.enter_context(late)
                    assert late.recv(1) == b""
                with new_client(free) as client:
                    client.connect()
                for idle in waiting:
                    while idle.recv(100):
                        pass
                stack.enter_context(new_client(bounded[0], "again")).connect()
                websocket = WebSocket(("127.0.0.1", bounded[1]))
                assert " 101 " in websocket.status
                websocket.socket.close()
                with SecureConnection(bounded[2], trusting()) as again:
                    again.open("again")

        await to_thread(play)
        statistics = broker.statistics()
        assert statistics["connect_timeouts"] >= places * len(schemes)
        assert statistics["sockets_refused"] == len(schemes)


async def test_anonymous_clients_are_welcome_where_the_listener_says_so(tmp_path: Path) -> None:
    users = tmp_path / "users.pw"
    users.write_text(f"alice:{CHEAP.hash('a')}\n")
    listeners = [{"port": 0, "allow_anonymous": True}, {"port": 0}]
    access = {"password_file": users}
    configuration = Configuration.model_validate({"listeners": listeners, "access": access})
    async with broker_of(configuration) as broker:

        def play() -> None:
            for port, is_open in zip(broker.ports, (True, False), strict=True):
                with new_client(port, "nobody") as client:
                    client.send_connect()
                    if is_open:
                        client.expect("CONNACK", code=0)
                    else:
                        client.expect_refusal(NOT_AUTHORIZED, may_just_close=False)
                with new_client(port, "of-alice") as client:
                    client.connect(username="alice", password=b"a")
                # Who says something has to say what is right, wherever that is.
                with new_client(port, "of-mallory") as client:
                    client.send_connect(username="alice", password=b"b")
                    client.expect_refusal(BAD_USER_NAME, NOT_AUTHORIZED, may_just_close=False)

        await to_thread(play)
