"""MQTT over WebSocket, with a client of that protocol which nobody here wrote.

What no good client sends is in tests/conformance/test_websocket.py and tests/hostile.
"""

import asyncio
import random
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.typing import Subprotocol

from noctule.broker import Broker
from tests.conformance.websocket import BINARY, CONTINUATION, PING, PONG, WebSocket
from tests.integration.broker import wire
from tests.integration.broker.wire import CONNACK, PINGRESP, PUBLISH, SUBACK
from tests.integration.listeners.secure import SERVER, trusting

WAIT_SECONDS = 30.0
LISTENER = {"scheme": "ws", "port": 0}
ORIGIN = "https://app.example"
COMPRESSED = 0x40 | BINARY
TAIL = b"\x00\x00\xff\xff"


class MqttOverWebSocket:
    """Packets of MQTT 3.1.1 over an open WebSocket."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self._unread = bytearray()

    async def packet(self) -> tuple[int, bytes]:
        """The next packet's type and body."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not (found := next(wire.split(self._unread), None)):
                payload = await self.websocket.recv()
                assert isinstance(payload, bytes), "packets travel in binary frames"
                self._unread += payload
        kind, _, body, end = found
        del self._unread[:end]
        return kind, body

    async def exchange(self, packet: bytes | Iterable[bytes]) -> tuple[int, bytes]:
        await self.websocket.send(packet)
        return await self.packet()


@asynccontextmanager
async def opened(url: str, *offered: str, **given: Any) -> AsyncIterator[MqttOverWebSocket]:
    given.setdefault("max_size", None)
    # A ping now and then would wake up what has gone to sleep.
    given.setdefault("ping_interval", None)
    # Connects to this machine alone, whatever the environment says of proxies.
    given.setdefault("proxy", None)
    names = [Subprotocol(name) for name in offered or ("mqtt",)]
    async with connect(url, subprotocols=names, **given) as websocket:
        yield MqttOverWebSocket(websocket)


async def refusal(url: str, *offered: str, **given: Any) -> tuple[int, str]:
    """Status and text with which a handshake is refused."""
    with pytest.raises(InvalidStatus) as caught:
        async with opened(url, *offered, **given):
            pass
    response = caught.value.response
    return response.status_code, (response.body or b"").decode()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (("mqtt",), "mqtt"),
        (("mqttv3.1",), "mqttv3.1"),
        (("mqttv3.1", "mqtt"), "mqttv3.1"),
        (("chat", "mqtt"), "mqtt"),
    ],
)
async def test_sub_protocol_is_agreed_and_mqtt_spoken(
    offered: tuple[str, ...], chosen: str
) -> None:
    async with Broker(listeners=[LISTENER]) as broker:
        (url,) = broker.addresses
        async with opened(url, *offered) as client:
            assert client.websocket.subprotocol == chosen
            assert await client.exchange(wire.connect("client")) == (CONNACK, b"\x00\x00")


async def test_secure_websocket() -> None:
    async with Broker(listeners=[{**SERVER, "scheme": "wss"}]) as broker:
        context = trusting(protocols=("http/1.1",))
        url = f"wss://localhost:{broker.port}/mqtt"
        async with opened(url, ssl=context, host="127.0.0.1") as client:
            assert await client.exchange(wire.connect("client")) == (CONNACK, b"\x00\x00")
            tls = client.websocket.transport.get_extra_info("ssl_object")
            assert (tls.version(), tls.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")


async def test_pings_are_answered_with_what_they_hold() -> None:
    async with Broker(listeners=[LISTENER]) as broker, opened(broker.addresses[0]) as client:
        for payload in (b"", b"before CONNECT", bytes(125)):
            async with asyncio.timeout(WAIT_SECONDS):
                await (await client.websocket.ping(payload))
        await client.exchange(wire.connect("client"))
        async with asyncio.timeout(WAIT_SECONDS):
            await (await client.websocket.ping(b"after"))
        # A pong that nobody asked for is no error.
        await client.websocket.pong(b"early")
        assert await client.exchange(wire.PINGREQ) == (PINGRESP, b"")


async def test_packets_and_fragments_have_nothing_to_do_with_each_other() -> None:
    async with Broker(listeners=[LISTENER]) as broker, opened(broker.addresses[0]) as client:
        packet = wire.connect("client")
        fragments = [packet[at : at + 1] for at in range(len(packet))]
        assert await client.exchange(fragments) == (CONNACK, b"\x00\x00")
        both = wire.subscribe("a", 0) + wire.publish("a", b"x")
        kinds = [await client.exchange([both[:7], b"", both[7:]]), await client.packet()]
        assert kinds[1] == (PUBLISH, b"\x00\x01ax")
        # Larger than any frame that is sent, and than any that comes.
        payload = bytes(range(256)) * 8_192
        large = wire.publish("a", payload)
        fragments = [large[at : at + 100_000] for at in range(0, len(large), 100_000)]
        assert await client.exchange(fragments) == (PUBLISH, b"\x00\x01a" + payload)
        assert await client.exchange(large) == (PUBLISH, b"\x00\x01a" + payload)


async def test_only_its_path_leads_to_a_listener() -> None:
    listeners = [LISTENER, {**LISTENER, "websocket_path": "/things/mqtt"}]
    async with Broker(listeners=listeners) as broker:
        usual, own = broker.addresses
        assert own.endswith("/things/mqtt")
        for url in (usual, own, f"{own}?token=1"):
            async with opened(url) as client:
                assert await client.exchange(wire.connect("client")) == (CONNACK, b"\x00\x00")
        for url in (usual, own):
            base = url.partition("/mqtt")[0].partition("/things")[0]
            for path in ("", "/", "/mqtt/", "/MQTT", "/things"):
                status, text = await refusal(base + path)
                assert status == 404
                assert text.rstrip().endswith(url.removeprefix(base))


async def test_pages_come_in_from_the_same_host_and_listed_origins() -> None:
    listeners = [LISTENER, {**LISTENER, "origins": [ORIGIN]}, {**LISTENER, "origins": "*"}]
    async with Broker(listeners=listeners) as broker:
        closed, listed, wide = broker.addresses
        for url, origin, is_welcome in [
            # Programs send none.
            (closed, None, True),
            (closed, "http://127.0.0.1:8000", True),
            (closed, ORIGIN, False),
            (closed, "null", False),
            (listed, ORIGIN, True),
            (listed, "http://app.example", False),
            (listed, f"{ORIGIN}.evil.example", False),
            (wide, "https://evil.example", True),
        ]:
            if is_welcome:
                async with opened(url, origin=origin) as client:
                    assert (await client.exchange(wire.connect("client")))[0] == CONNACK
            else:
                status, text = await refusal(url, origin=origin)
                assert (status, "origins" in text) == (403, True)


async def test_compression_is_agreed_to_where_the_listener_says_so() -> None:
    listeners = [LISTENER, {**LISTENER, "websocket_compression": True}]
    async with Broker(listeners=listeners) as broker:
        plain, compressing = broker.addresses
        for url, offers, agreed in [
            (plain, "deflate", []),
            (compressing, "deflate", ["permessage-deflate"]),
            (compressing, None, []),
        ]:
            async with opened(url, compression=offers) as client:
                extensions = client.websocket.protocol.extensions
                assert [each.name for each in extensions] == agreed
                assert (await client.exchange(wire.connect("client")))[0] == CONNACK
        # This client can be held to a window, and offers that alone: it is not accepted.
        narrow = [ClientPerMessageDeflateFactory(server_max_window_bits=10)]
        async with opened(compressing, compression=None, extensions=narrow) as client:
            assert client.websocket.protocol.extensions == []


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_compressed_messages_come_and_go(scheme: str) -> None:
    listener = {**(SERVER if scheme == "wss" else {}), **LISTENER, "scheme": scheme}
    async with Broker(listeners=[{**listener, "websocket_compression": True}]) as broker:
        url = broker.addresses[0].replace("127.0.0.1", "localhost")
        given: dict[str, Any] = {"host": "127.0.0.1", "compression": "deflate"}
        if scheme == "wss":
            given["ssl"] = trusting()
        async with opened(url, **given) as client:
            # In one frame with CONNECT, and more than is taken out at once: it is not forgotten
            # though nothing else comes.
            behind = wire.subscribe("a", 0) + wire.publish("a", bytes(800_000))
            await client.websocket.send(wire.connect("client") + behind)
            kinds = [(await client.packet())[0] for _ in range(3)]
            assert kinds == [CONNACK, SUBACK, PUBLISH]
            payloads = [
                b"x",
                b"",
                b"compresses well " * 100_000,
                # Does not: it goes in frames as they are.
                random.Random(1).randbytes(300_000),
                bytes(800_000),
            ]
            for payload in payloads:
                packet = wire.publish("a", payload)
                fragments = [packet[at : at + 50_000] for at in range(0, len(packet), 50_000)]
                for message in (packet, fragments):
                    assert await client.exchange(message) == (PUBLISH, b"\x00\x01a" + payload)
                    async with asyncio.timeout(WAIT_SECONDS):
                        await (await client.websocket.ping())
            # All at once, and read afterwards.
            for payload in payloads:
                await client.websocket.send(wire.publish("a", payload))
            for payload in payloads:
                assert await client.packet() == (PUBLISH, b"\x00\x01a" + payload)


async def test_compressed_messages_are_shorter_and_others_may_stand_between() -> None:
    """By hand: what a library hides."""

    def play(address: tuple[str, int]) -> None:
        offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
        websocket = WebSocket(address, headers=[offer])
        with websocket.socket:
            assert "server_no_context_takeover" in websocket.headers["sec-websocket-extensions"]
            payload, topic = b"to and fro " * 1_000, "a"
            packet = wire.publish(topic, payload)
            websocket.send(deflated(wire.connect("client")), COMPRESSED)
            assert websocket.frame() == (BINARY, b"\x20\x02\x00\x00")
            # In the middle of a message, and between two.
            first = deflated(wire.subscribe(topic, 0))
            websocket.send(first[:4], COMPRESSED, final=False)
            websocket.send(b"1", PING)
            assert websocket.frame() == (PONG, b"1")
            websocket.send(first[4:], CONTINUATION)
            assert websocket.frame() == (BINARY, b"\x90\x03\x00\x01\x00")
            websocket.send(b"2", PING)
            assert websocket.frame() == (PONG, b"2")
            for message, opcode in ((packet, BINARY), (deflated(packet), COMPRESSED)) * 2:
                websocket.send(message, opcode)
                frame = websocket.frame()
                assert frame is not None
                assert len(frame[1]) < len(packet) / 10
                assert zlib.decompressobj(-15).decompress(frame[1] + TAIL) == packet

    listener = {**LISTENER, "websocket_compression": True}
    async with Broker(listeners=[listener]) as broker:
        await asyncio.to_thread(play, ("127.0.0.1", broker.port))


def deflated(message: bytes) -> bytes:
    """As permessage-deflate has it: RFC 7692 §7.2.1."""
    compress = zlib.compressobj(wbits=-15)
    packed = compress.compress(message) + compress.flush(zlib.Z_SYNC_FLUSH)
    return packed.removesuffix(TAIL)


async def test_either_side_closes_as_the_protocol_wants_it() -> None:
    async with Broker(listeners=[LISTENER]) as broker:
        (url,) = broker.addresses
        async with opened(url) as client:
            await client.exchange(wire.connect("leaving"))
            await client.websocket.close(1001, "the page is left")
            assert client.websocket.protocol.close_rcvd is not None
            assert client.websocket.protocol.close_rcvd.code == 1001
        async with opened(url) as client:
            await client.exchange(wire.connect("staying"))
            await broker.stop()
            with pytest.raises(ConnectionClosed) as caught:
                await client.packet()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1000
