"""Group E of the catalogue: what is done to the transport."""

import contextlib
import os
import resource
import selectors
import signal
import socket
import ssl
import struct
import time
import zlib

import pytest

from tests.conformance import brokers, certificates, wire
from tests.conformance.brokers import Options
from tests.conformance.websocket import BINARY, CONTINUATION, PING, PONG, TEXT, WebSocket
from tests.conformance.wire import Client, ClosedError, Will
from tests.hostile.siege import besieged, size
from tests.hostile.witness import Witness

hostile = pytest.mark.hostile
MALFORMED, PROTOCOL_ERROR, TOO_LARGE, SHUTTING_DOWN = 0x81, 0x82, 0x95, 0x8B
TCP_REPAIR = 19


def vanish(client):
    """Go without FIN or RST, as a host without power; be silent where that is not allowed."""
    with contextlib.suppress(PermissionError):
        client.socket.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        client.close()


@hostile("E1")
@pytest.mark.versions(5)
def test_host_vanishes(siege, version, topic):
    keep_alive, watcher = size(2, 10), siege.watch(topic)
    client = siege.connect(version, keep_alive=keep_alive, will=Will(topic, b"vanished"))
    begin, stopwatch = time.monotonic(), siege.stopwatch()
    vanish(client)
    watcher.expect("PUBLISH", payload=b"vanished")
    assert time.monotonic() - begin >= keep_alive
    assert stopwatch.seconds() <= keep_alive * 1.5 + 1


@hostile("E2")
def test_half_close_is_an_end(siege, version, topic):
    watcher = siege.watch(topic)
    client = siege.connect(version, will=Will(topic, b"half closed"))
    client.socket.shutdown(socket.SHUT_WR)
    watcher.expect_message(topic, b"half closed")
    client.expect_close()


@hostile("E3", "E4")
@pytest.mark.broker(limits={"write_timeout_seconds": 2})
@pytest.mark.parametrize("reads", [0, 1], ids=["zero-window", "byte-a-second"])
def test_subscriber_stops_reading(siege, topic, reads):
    stalled = siege.dial(5, receive_buffer_bytes=4_096)
    stalled.connect(will=Will(f"{topic}/end", b"cut"))
    stalled.subscribe(topic)
    watcher, reader, publisher = siege.watch(f"{topic}/end"), siege.watch(topic), siege.connect()
    before, stopwatch, sent = siege.broker.resident_bytes(), siege.stopwatch(), 0
    read_at = time.monotonic()
    while not watcher.has_packet():
        for _ in range(10):
            publisher.publish(topic, b"%d " % sent + b"x" * 10_000)
            sent += 1
        publisher.ping()
        for _ in range(10):
            reader.expect_message(topic)
        if reads and time.monotonic() - read_at > 1:
            stalled.socket.recv(1)
            read_at = time.monotonic()
        assert stopwatch.seconds() < 10, "the stalled connection is put up with for ever"
        assert siege.broker.resident_bytes() - before < 16 << 20
        time.sleep(0.005)
    watcher.expect_message(payload=b"cut")
    assert sent * 10_000 > 2 << 20, "the buffer was never full"


@hostile("E5")
def test_resets_in_mid_packet(siege, topic):
    watcher = siege.watch(topic)
    whole = wire.publish(5, topic, b"half" * 100)
    for at in range(size(300, 10_000)):
        client = siege.connect()
        client.send(whole[: 1 + at % (len(whole) - 1)])
        client.cut()
        siege.clients.remove(client)
    watcher.expect_nothing(after=siege.connect())


@hostile("E6")
@pytest.mark.broker(workers=1)
def test_pipelined_messages_leave_others_their_turn(siege):
    """One worker serves all; each flooding client has a megabyte of tiny messages in the pipe."""
    packet = wire.publish(5, "f", b"")
    flood = packet * ((2 << 20) // len(packet))
    attackers = [siege.connect() for _ in range(8)]
    other, slowest, sent = siege.connect(), 0.0, dict.fromkeys(range(len(attackers)), 0)
    deadline = time.monotonic() + size(1, 20)
    while time.monotonic() < deadline:
        for at, attacker in enumerate(attackers):
            with contextlib.suppress(BlockingIOError):
                rest = memoryview(flood)[sent[at] % len(packet) :]
                sent[at] += attacker.socket.send(rest, socket.MSG_DONTWAIT)
        stopwatch = siege.stopwatch()
        other.ping()
        slowest = max(slowest, stopwatch.seconds())
    assert sum(sent.values()) > len(attackers) << 20
    assert slowest < 0.25, slowest


@pytest.fixture
def websocket(siege):
    """Opens WebSockets; all are closed behind the test."""
    opened = []

    def open_one(**options):
        opened.append(WebSocket(siege.broker.addresses["websocket"], **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.socket.close()


websockets = pytest.mark.broker(listeners=("websocket",))


@hostile("E7")
@websockets
def test_websocket_with_each_byte_in_a_frame(siege, websocket, topic):
    one = websocket()
    stream = wire.connect(5, siege.unique()) + wire.subscribe(5, 1, [(topic, 0)])
    stream += wire.publish(5, topic, b"bytes") + wire.PINGREQ
    for at in range(len(stream)):
        one.send(stream[at : at + 1])
    for kind in ("CONNACK", "SUBACK", "PUBLISH", "PINGRESP"):
        assert one.packet().type == kind


@hostile("E7")
@websockets
def test_websocket_message_of_many_fragments_and_pings_between(siege, websocket):
    one, packet = websocket(), wire.connect(5, siege.unique())
    for at in range(len(packet)):
        last = at == len(packet) - 1
        one.send(b"between", PING)
        assert one.frame() == (PONG, b"between")
        one.send(packet[at : at + 1], BINARY if at == 0 else CONTINUATION, final=last)
    assert one.packet().type == "CONNACK"


@hostile("E7")
@websockets
@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("text", {1003}),
        ("unmasked", {1002}),
        ("reserved-bits", {1002}),
        ("reserved-opcode", {1002}),
        ("continuation-of-nothing", {1002}),
        ("fragmented-ping", {1002}),
        ("long-ping", {1002}),
        ("length-of-2^63", {1002, 1009}),
        ("length-of-16-MiB-and-more", {1009}),
    ],
)
def test_websocket_frames_that_must_not_be(siege, websocket, name, codes):
    one, before = websocket(), siege.broker.resident_bytes()
    frames = {
        "text": lambda: one.send(b"text", TEXT),
        "unmasked": lambda: one.send(b"\x10", masked=False),
        "reserved-bits": lambda: one.socket.sendall(b"\xf2\x80\x00\x00\x00\x00"),
        "reserved-opcode": lambda: one.send(b"", 3),
        "continuation-of-nothing": lambda: one.send(b"\x10", CONTINUATION),
        "fragmented-ping": lambda: one.send(b"", PING, final=False),
        "long-ping": lambda: one.send(b"p" * 126, PING),
        "length-of-2^63": lambda: one.socket.sendall(b"\x82\xff" + b"\xff" * 8 + b"\x00" * 100),
        "length-of-16-MiB-and-more": lambda: one.socket.sendall(
            b"\x82\xff" + struct.pack(">Q", 1 << 40) + b"\x00" * 100
        ),
    }
    frames[name]()
    assert one.close_code() in codes
    assert siege.broker.resident_bytes() - before < 16 << 20


@hostile("E7")
@websockets
def test_websocket_closed_in_mid_packet(siege, websocket, topic):
    watcher = siege.watch(topic)
    for _ in range(size(50, 1_000)):
        one = websocket()
        one.send(wire.connect(5, siege.unique()) + wire.publish(5, topic, b"half")[:-1])
        one.send(struct.pack(">H", 1000), 8)
        one.socket.close()
    watcher.expect_nothing(after=siege.connect())


@hostile("E7")
@websockets
def test_websocket_ping_flood(siege, websocket):
    one, before = websocket(), siege.broker.resident_bytes()
    one.send(wire.connect(5, siege.unique()))
    assert one.packet().type == "CONNACK"
    frame = bytes([0x80 | PING, 0x80, 0, 0, 0, 0])
    one.socket.settimeout(0.5)
    with contextlib.suppress(OSError):  # throttled or cut: both will do
        for _ in range(size(500, 20_000)):
            one.socket.sendall(frame * 1_000)
            assert siege.broker.resident_bytes() - before < 16 << 20


@hostile("E7")
@websockets
@pytest.mark.parametrize(
    "head",
    [
        "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
        "GET /other HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /mqtt HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n",
        "GET /mqtt HTTP/1.1\r\n" + "X: y\r\n" * 10_000 + "\r\n",
        "GET /" + "m" * 1_000_000,
    ],
    ids=["no-key", "other-path", "post", "many-headers", "endless-line"],
)
def test_websocket_handshakes_that_are_none(siege, head):
    connection = socket.create_connection(siege.broker.addresses["websocket"], timeout=30)
    answer, stopwatch = b"", siege.stopwatch()
    with contextlib.suppress(OSError):
        connection.sendall(head.encode())
        while received := connection.recv(65_536):
            answer += received
    connection.close()
    assert b" 101 " not in answer
    assert stopwatch.seconds() < 1


@hostile("E7")
@websockets
def test_websocket_of_another_protocol(websocket):
    assert "101" not in websocket(protocol="chat").status


@hostile("E7")
@pytest.mark.broker(listeners=("compressing",))
@pytest.mark.parametrize("bomb", ["packet", "packets", "acknowledged", "garbage", "unfinished"])
def test_websocket_messages_that_grow_a_thousandfold(siege, topic, bomb):
    """What comes out is bounded like what comes in clear; and so is what it takes to find out."""
    watcher, before = siege.watch(topic), siege.broker.resident_bytes()
    growth = size(8, 64) << 20
    for _ in range(size(1, 100)):
        headers = ["Sec-WebSocket-Extensions: permessage-deflate"]
        one = WebSocket(siege.broker.addresses["compressing"], headers=headers)
        one.send(wire.connect(5, siege.unique()))
        assert one.packet().type == "CONNACK"
        streams = {
            "packet": b"\x30\xff\xff\xff\x7f" + bytes(growth),
            "packets": wire.publish(5, "nobody/listens", b"") * (growth // 20),
            "acknowledged": wire.PINGREQ * (growth // 2),
            "garbage": b"",
            "unfinished": bytes(growth),
        }
        compress = zlib.compressobj(wbits=-15)
        packed = compress.compress(streams[bomb]) + compress.flush(zlib.Z_SYNC_FLUSH)[:-4]
        if bomb == "garbage":
            packed = os.urandom(1 << 16)
        with contextlib.suppress(OSError):  # cut in the middle
            for at in range(0, len(packed), 60_000):
                opcode = CONTINUATION if at else 0x40 | BINARY
                final = at + 60_000 >= len(packed) and bomb != "unfinished"
                one.send(packed[at : at + 60_000], opcode, final)
        if bomb == "packet":
            assert one.packet().code == TOO_LARGE
        if bomb == "garbage":
            assert one.close_code() in (1002, 1007)
        assert siege.broker.resident_bytes() - before < 32 << 20
        one.socket.close()
    watcher.expect_nothing(after=siege.connect())


tls = pytest.mark.broker(listeners=("tls",))


@hostile("E8")
@tls
def test_tls_records_of_one_byte(siege):
    client = siege.connect_tls()
    for byte in wire.PINGREQ * 500:
        client.send(bytes([byte]))
    for _ in range(500):
        client.expect("PINGRESP")


@hostile("E8")
@pytest.mark.broker(listeners=("mutual_tls",))
@pytest.mark.parametrize("certificate", ["", "expired", "revoked", "foreign"])
def test_tls_client_certificates_that_are_no_good(siege, certificate):
    siege.connect_tls("good", "mutual_tls").ping()
    with pytest.raises((ssl.SSLError, ClosedError, ConnectionError)):
        siege.connect_tls(certificate, "mutual_tls")


@hostile("E8")
@tls
@pytest.mark.parametrize("old", ["TLSv1", "TLSv1_1"])
def test_tls_of_old(siege, old):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        context.minimum_version = getattr(ssl.TLSVersion, old)
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        context.maximum_version = getattr(ssl.TLSVersion, old)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Client(siege.broker.addresses["tls"], tls=context)


@hostile("E8")
@tls
@pytest.mark.parametrize("record", ["garbage", "huge", "fragments", "alerts", "flipped"])
def test_tls_handshakes_of_garbage(siege, record):
    hello = client_hello(b"\x00" * 200 if record == "garbage" else None)
    streams = {
        "garbage": hello,
        "huge": b"\x16\x03\x01\xff\xff" + b"\x01" * 65_535,
        "fragments": b"".join(b"\x16\x03\x01\x00\x01" + bytes([byte]) for byte in hello[5:15]),
        "alerts": b"\x15\x03\x03\x00\x02\x01\x00" * 10_000,
        "flipped": bytes(byte ^ 0x55 if at > 60 else byte for at, byte in enumerate(hello)),
    }
    for _ in range(size(20, 1_000)):
        client = siege.dial_tls()
        with contextlib.suppress(OSError):
            client.send(streams[record])
            client.socket.shutdown(socket.SHUT_WR)
            while client.socket.recv(65_536):
                pass
        client.close()
    siege.connect_tls().ping()


@hostile("E8")
@tls
def test_tls_handshakes_stopped_half_way(siege):
    """In the middle of what the client says first, or with the server's answer unread; by a
    reset, or by an end that leaves the server waiting for more."""
    hello = client_hello()
    for at in range(2_000):
        client = siege.dial_tls()
        client.send(hello if at % 4 == 0 else hello[: 1 + at % (len(hello) - 1)])
        if at % 4 == 0:
            assert client.socket.recv(1) == b"\x16"
        if at % 2:
            client.cut()
        else:
            client.close()
    siege.connect_tls().ping()


@hostile("E8")
@tls
def test_tls_listener_gets_plain_bytes(siege, topic):
    watcher = siege.watch(topic)
    for first in (
        wire.connect(5, "plain") + wire.publish(5, topic, b"plain"),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00" * 10_000,
        b"\xff" * 10_000,
        os.urandom(10_000),
    ):
        for _ in range(size(10, 1_000)):
            client = siege.dial_tls()
            with contextlib.suppress(OSError):
                client.send(first)
                client.socket.shutdown(socket.SHUT_WR)
                while client.socket.recv(65_536):
                    pass
            client.close()
    watcher.expect_nothing(after=siege.connect())
    siege.connect_tls().ping()


def client_hello(server_name=None):
    """What a client begins a TLS handshake with, with other bytes for the server's name."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = certificates.client_context()
    handshake = context.wrap_bio(incoming, outgoing, server_hostname="n" * 60 + ".example")
    with contextlib.suppress(ssl.SSLWantReadError):
        handshake.do_handshake()
    hello = outgoing.read()
    return hello.replace(b"n" * 60, (server_name or b"n" * 60)[:60])


@hostile("E8")
@pytest.mark.broker(
    listeners=("tls",),
    limits={"max_connections_per_address": 50, "connect_timeout_seconds": 600},
)
def test_tls_handshakes_of_one_address_are_bounded(siege):
    """Others (here the witness, which is there already) keep what they have."""
    hello, refused = client_hello(), 0
    for _ in range(size(200, 2_000)):
        client = Client(siege.broker.addresses["tls"])
        siege.clients.append(client)
        with contextlib.suppress(OSError):
            client.send(hello)
            refused += client.socket.recv(1) == b""
            continue
        refused += 1
    assert refused >= size(200, 2_000) - 50


PROXY_2 = b"\r\n\r\n\x00\r\nQUIT\n"


@hostile("E9")
@pytest.mark.broker(listeners=("proxied",))
@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"PROXY TCP4 1.2.3.4\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 99999 1\r\n",
        b"PROXY TCP9 a b c d\r\n",
        b"PROXY UNKNOWN " + b"x" * 200,
        PROXY_2 + b"\x31\x11\x00\x0c" + b"\x01" * 12,
        PROXY_2 + b"\x21\x11\x00\x01" + b"\x01" * 12,
        PROXY_2 + b"\x21\x11\xff\xff" + b"\x01" * 12,
        PROXY_2 + b"\x2f\x11\x00\x0c" + b"\x01" * 12,
    ],
    ids=lambda header: header[:14].hex() + f"-{len(header)}",
)
def test_proxy_headers_that_are_none(siege, header):
    client = Client(siege.broker.addresses["proxied"], 5, client_id=siege.unique())
    siege.clients.append(client)
    client.send(header + wire.connect(5, client.client_id))
    client.expect_close()


@hostile("E9")
@pytest.mark.broker(listeners=("proxied",))
@pytest.mark.parametrize("header", [b"PROXY TCP4 1.2.3.4 5.6.7.8 9 1883\r\n", PROXY_2])
def test_proxy_header_where_none_is_expected(siege, header):
    client = siege.dial()
    client.send(header + wire.connect(5, client.client_id))
    client.expect_close()
    good = Client(siege.broker.addresses["proxied"], 5, client_id=siege.unique())
    siege.clients.append(good)
    good.send(b"PROXY TCP4 1.2.3.4 5.6.7.8 9 1883\r\n")
    good.connect()
    good.ping()


@pytest.fixture
def own_siege(clients):
    """A siege of a broker that is the test's own: it may be starved, told and stopped."""
    try:
        # No time-out may do the work.
        broker = brokers.start(Options.of(limits={"connect_timeout_seconds": 600}))
    except brokers.NotOfferedError as reason:
        pytest.skip(str(reason))
    witness = Witness(broker.address, broker.pid)
    try:
        with besieged(broker, witness, clients) as siege:
            yield siege
    finally:
        witness.stop()
        broker.stop()


@hostile("E10")
def test_out_of_descriptors(own_siege):
    siege = own_siege
    room = 64
    pid = siege.broker.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (siege.broker.descriptors() + room, limits[1]))
    connections = [socket.create_connection(siege.broker.address) for _ in range(room + 200)]
    await_closed(connections, 100)
    spent = processor_seconds(pid)
    begin = time.monotonic()
    time.sleep(0.5)
    share = (processor_seconds(pid) - spent) / (time.monotonic() - begin)
    assert share < 0.6, f"accept spins: {share:.0%} of a processor"
    for connection in connections:
        connection.close()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(ClosedError, OSError):
            siege.connect().ping()
            break
        assert time.monotonic() < deadline, "nobody is let in again"


def await_closed(connections, count):
    """Wait until the broker, which has nothing to say, has closed so many of these."""
    deadline, closed = time.monotonic() + 30, 0
    with selectors.DefaultSelector() as waiting:
        for connection in connections:
            waiting.register(connection, selectors.EVENT_READ)
        while closed < count:
            assert time.monotonic() < deadline, f"{closed} of {count} are closed"
            for key, _ in waiting.select(1):
                with contextlib.suppress(ConnectionResetError):
                    assert key.fileobj.recv(1) == b""
                waiting.unregister(key.fileobj)
                closed += 1


def processor_seconds(pid):
    """User and system time of a process."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@hostile("E11")
def test_hang_ups_under_load(own_siege, topic):
    siege = own_siege
    watcher, publisher = siege.watch(topic), siege.connect()
    for at in range(size(100, 1_000)):
        siege.broker.process.send_signal(signal.SIGHUP)
        publisher.publish(topic, b"%d" % at, 1)
        watcher.expect_message(topic, b"%d" % at)


@hostile("E11")
def test_termination_under_load_keeps_what_was_acknowledged(tmp_path, clients, topic):
    """Everybody is told, and the store has it all when the process is gone."""
    arguments = ("--data-dir", str(tmp_path / "data"), "--durability", "disk")
    try:
        broker = brokers.start(Options(), *arguments)
    except brokers.NotOfferedError as reason:
        pytest.skip(str(reason))
    try:
        keeper = Client(broker.address, client_id="keeper")
        keeper.connect(clean=False, session_expiry_interval=300)
        keeper.subscribe(topic, qos=1)
        keeper.disconnect()
        idle, publisher = Client(broker.address, client_id="i"), Client(broker.address)
        clients += [keeper, idle, publisher]
        idle.connect()
        publisher.connect()
        for at in range(500):
            publisher.send_publish(topic, b"%d" % at, 1)
        broker.process.send_signal(signal.SIGTERM)
        acknowledged = 0
        while (packet := publisher.receive()) is not None and packet.type == "PUBACK":
            acknowledged += packet.code == 0
        assert packet is None or packet.code == SHUTTING_DOWN
        idle.expect_disconnect(SHUTTING_DOWN)
        assert broker.process.wait(30) == 0
    finally:
        broker.stop()
    broker = brokers.start(Options(), *arguments)
    try:
        keeper = Client(broker.address, client_id="keeper")
        clients.append(keeper)
        keeper.connect(clean=False, session_expiry_interval=300)
        assert keeper.connack.session_present
        for at in range(acknowledged):
            keeper.expect_message(topic, b"%d" % at)
    finally:
        broker.stop()
