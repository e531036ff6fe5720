"""What pub and sub send, seen by a server that takes the packets apart."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from noctule.cli.flags.property import property_names
from noctule.protocol import (
    Properties,
    PropertyId,
    Version,
    decode_fixed_header,
    decode_packet,
    encode_packet,
)
from noctule.protocol._tables import ReasonCode
from noctule.protocol.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from tests.integration.cli.stage import NOCTULE, environment


class Server:
    """Accepts every client, answers what has to be answered, and keeps the packets."""

    def __init__(self, *refusals: int) -> None:
        self.packets: list[Packet] = []
        self.port = 0
        self.is_polite = True
        self._refusals = list(refusals)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version, held = Version.V5, b""
        while data := await reader.read(65_536):
            held += data
            while (header := decode_fixed_header(held)) and header.stop <= len(held):
                packet = decode_packet(version, held[: header.stop])
                held = held[header.stop :]
                self.packets.append(packet)
                if isinstance(packet, Connect):
                    version = packet.version
                for answer in self.answers(packet):
                    writer.write(encode_packet(version, answer))
        writer.close()

    def answers(self, packet: Packet) -> list[Packet]:
        match packet:
            case Connect():
                method = packet.properties.string(PropertyId.AUTHENTICATION_METHOD)
                pairs = [(PropertyId.AUTHENTICATION_METHOD, method)] if method else []
                code = self._refusals.pop(0) if self._refusals else 0
                return [Connack(False, code, Properties(pairs if self.is_polite else []))]
            case Publish(qos=1):
                return [Puback(packet.packet_identifier)]
            case Subscribe():
                codes = tuple(ReasonCode(request.qos) for request in packet.requests)
                return [Suback(packet.packet_identifier, codes)]
            case Unsubscribe():
                codes = (ReasonCode.SUCCESS,) * len(packet.topic_filters)
                return [Unsuback(packet.packet_identifier, codes)]
            case _:
                return []


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()


async def run(
    server: Server,
    home: Path,
    *arguments: str,
    text: bytes = b"",
    variables: dict[str, str] | None = None,
) -> tuple[str, int]:
    process = await asyncio.create_subprocess_exec(
        *NOCTULE,
        arguments[0],
        *("-h", "127.0.0.1", "-p", str(server.port)),
        *arguments[1:],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(home, **(variables or {})),
    )
    async with asyncio.timeout(30):
        _, stderr = await process.communicate(text)
    assert process.returncode is not None
    return stderr.decode(), process.returncode


async def connect_of(home: Path, *arguments: str, **variables: str) -> Connect:
    async with serving(Server()) as server:
        stderr, code = await run(
            server, home, "pub", *arguments, "-t", "t", "-m", "x", variables=variables
        )
    assert (stderr, code) == ("", 0)
    connect, publish, goodbye = server.packets
    assert isinstance(publish, Publish)
    assert isinstance(goodbye, Disconnect)
    assert isinstance(connect, Connect)
    return connect


async def test_connect_as_plain_as_it_can_be(tmp_path: Path) -> None:
    assert await connect_of(tmp_path) == Connect(Version.V3_1_1, "", True, 60)


async def test_password_from_the_environment(tmp_path: Path) -> None:
    connect = await connect_of(tmp_path, "-u", "alice", NOCTULE_PASSWORD="secret")
    assert (connect.user_name, connect.password) == ("alice", b"secret")


async def test_password_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("from file\n")
    connect = await connect_of(tmp_path, "-u", "alice", "--password-file", str(tmp_path / "pw"))
    assert connect.password == b"from file"


async def test_profile_of_the_home_directory(tmp_path: Path) -> None:
    file = tmp_path / ".config" / "noctule" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('[profiles.p]\nusername = "bob"\npassword = "pw"\nid = "bobs"\nkeepalive = 7\n')
    file.chmod(0o600)
    connect = await connect_of(tmp_path, "--profile", "p")
    assert (connect.user_name, connect.password) == ("bob", b"pw")
    assert (connect.client_identifier, connect.keep_alive) == ("bobs", 7)


async def test_will_and_properties(tmp_path: Path) -> None:
    connect = await connect_of(
        tmp_path,
        *("--will-topic", "w", "--will-payload", "gone", "--will-qos", "2", "--will-retain"),
        *("-D", "will", "will-delay-interval", "5", "-D", "connect", "user-property", "a", "b"),
        *("-D", "connect", "receive-maximum", "9", "-x", "30", "-i", "me", "-c"),
    )
    assert connect.version is Version.V5
    assert (connect.client_identifier, connect.clean_start) == ("me", False)
    assert connect.properties.integer(PropertyId.RECEIVE_MAXIMUM) == 9
    assert connect.properties.integer(PropertyId.SESSION_EXPIRY_INTERVAL) == 30
    assert connect.properties.user_properties == [("a", "b")]
    will = connect.will
    assert will is not None
    assert (will.topic, will.payload, will.qos, will.retain) == ("w", b"gone", 2, True)
    assert will.properties.integer(PropertyId.WILL_DELAY_INTERVAL) == 5


async def test_disconnect_and_publish_properties(tmp_path: Path) -> None:
    async with serving(Server()) as server:
        await run(
            *(server, tmp_path, "pub", "-t", "t", "-m", "x", "-q", "1", "-r"),
            *("-D", "publish", "topic-alias", "3", "-D", "publish", "content-type", "a/b"),
            *("-D", "disconnect", "user-property", "why", "bored"),
        )
    _, publish, goodbye = server.packets
    assert isinstance(publish, Publish)
    assert (publish.topic, publish.qos, publish.retain) == ("t", 1, True)
    assert publish.properties.integer(PropertyId.TOPIC_ALIAS) == 3
    assert isinstance(goodbye, Disconnect)
    assert goodbye.properties.user_properties == [("why", "bored")]


async def test_subscribe_options_and_properties(tmp_path: Path) -> None:
    async with serving(Server()) as server:
        stderr, code = await run(
            *(server, tmp_path, "sub", "-t", "a", "-t", "b/#", "-q", "1", "-E"),
            *("--retain-as-published", "--retain-handling", "never"),
            *("-D", "subscribe", "user-property", "a", "b"),
        )
    assert (stderr, code) == ("", 0)
    subscribe = server.packets[1]
    assert isinstance(subscribe, Subscribe)
    assert [
        (r.topic_filter, r.qos, r.retain_as_published, r.retain_handling)
        for r in subscribe.requests
    ] == [("a", 1, True, 2), ("b/#", 1, True, 2)]
    assert subscribe.properties.user_properties == [("a", "b")]


# Every property that a client can set, by packet: name, words, and value on the wire.
EVERY_PROPERTY: dict[str, tuple[tuple[str, tuple[str, ...], object], ...]] = {
    "connect": (
        ("session-expiry-interval", ("4294967295",), 4_294_967_295),
        ("receive-maximum", ("7",), 7),
        ("maximum-packet-size", ("4096",), 4096),
        ("topic-alias-maximum", ("5",), 5),
        ("request-response-information", ("1",), 1),
        ("request-problem-information", ("0",), 0),
        ("authentication-method", ("METHOD",), "METHOD"),
        ("authentication-data", ("d\u00e4ta",), "d\u00e4ta".encode()),
    ),
    "publish": (
        ("payload-format-indicator", ("1",), 1),
        ("message-expiry-interval", ("60",), 60),
        ("content-type", ("text/plain",), "text/plain"),
        ("response-topic", ("re/sp",), "re/sp"),
        ("correlation-data", ("c d",), b"c d"),
        ("topic-alias", ("3",), 3),
    ),
    "subscribe": (("subscription-identifier", ("268435455",), 268_435_455),),
    "unsubscribe": (),
    "disconnect": (
        ("session-expiry-interval", ("9",), 9),
        ("reason-string", ("had enough",), "had enough"),
    ),
    "will": (
        ("will-delay-interval", ("5",), 5),
        ("payload-format-indicator", ("1",), 1),
        ("message-expiry-interval", ("60",), 60),
        ("content-type", ("text/plain",), "text/plain"),
        ("response-topic", ("re/sp",), "re/sp"),
        ("correlation-data", ("c d",), b"c d"),
    ),
}


def section_of(packets: list[Packet], packet: str) -> Properties:
    """The properties of the packet of this name, as the server has got them."""
    if packet == "will":
        connect = packets[0]
        assert isinstance(connect, Connect)
        assert connect.will is not None
        return connect.will.properties
    (found,) = [each for each in packets if type(each).__name__.lower() == packet]
    properties: Properties = found.properties  # type: ignore[union-attr]
    return properties


@pytest.mark.parametrize("packet", EVERY_PROPERTY)
async def test_every_property_of_every_packet_arrives(tmp_path: Path, packet: str) -> None:
    wanted = EVERY_PROPERTY[packet]
    assert {name for name, _, _ in wanted} | {"user-property"} == {*property_names(packet)}
    given: list[tuple[str, ...]]
    given = [("-D", packet, "user-property", "k", f"v{number}") for number in (1, 2)]
    given += [("-D", packet, name, *words) for name, words, _ in wanted]
    command = {
        "publish": ("pub", "-t", "t", "-m", "x"),
        "unsubscribe": ("sub", "-U", "t", "-E"),
    }.get(packet, ("sub", "-t", "t", "-E"))
    will = ("--will-topic", "w") if packet == "will" else ()
    expiry = ("-x", "30") if packet == "disconnect" else ()
    async with serving(Server()) as server:
        outcome = await run(
            *(server, tmp_path, *command, *will, *expiry), *(word for one in given for word in one)
        )
    assert outcome == ("", 0)
    properties = section_of(server.packets, packet)
    assert properties.user_properties == [("k", "v1"), ("k", "v2")]
    assert {
        (identifier.name.lower().replace("_", "-"), value)
        for identifier, value in properties
        if identifier is not PropertyId.USER_PROPERTY
    } == {(name, value) for name, _, value in wanted}


async def test_request_subscribes_with_properties_and_options(tmp_path: Path) -> None:
    async with serving(Server()) as server:
        _, code = await run(
            *(server, tmp_path, "rr", "-t", "q", "-e", "a", "-m", "x", "-W", "2"),
            *("--retain-as-published", "--retain-handling", "never"),
            *("-D", "subscribe", "subscription-identifier", "4"),
            *("-D", "subscribe", "user-property", "a", "b"),
        )
    assert code == 27
    _, subscribe, publish, *_ = server.packets
    assert isinstance(subscribe, Subscribe)
    (request,) = subscribe.requests
    assert (request.topic_filter, request.retain_as_published, request.retain_handling) == (
        "a",
        True,
        2,
    )
    assert subscribe.properties.subscription_identifiers == (4,)
    assert subscribe.properties.user_properties == [("a", "b")]
    assert isinstance(publish, Publish)
    assert publish.properties.string(PropertyId.RESPONSE_TOPIC) == "a"


@pytest.mark.parametrize(
    ("command", "packet"), [("pub", "subscribe"), ("sub", "publish"), ("rr", "unsubscribe")]
)
async def test_properties_of_packets_that_are_not_sent_are_refused(
    tmp_path: Path, command: str, packet: str
) -> None:
    """Mosquitto's tools take them, and forget them."""
    async with serving(Server()) as server:
        stderr, code = await run(
            server, tmp_path, command, "-t", "t", "-D", packet, "user-property", "a", "b"
        )
    assert code == 1
    assert f"`{command}` sends are connect, " in stderr
    assert server.packets == []


@pytest.mark.parametrize(
    ("version", "code", "advice"),
    [
        ("311", 4, "check -u and the password"),
        ("311", 5, "check -u and the password, by"),
        ("5", 0x87, "NOCTULE_PASSWORD"),
        ("5", 0x85, "another client identifier"),
        ("5", 0x89, "try again later"),
    ],
)
async def test_refusal_is_the_exit_code(
    tmp_path: Path, version: str, code: int, advice: str
) -> None:
    async with serving(Server(code)) as server:
        stderr, exit_code = await run(server, tmp_path, "sub", "-V", version, "-t", "t")
        assert exit_code == code
        assert advice in stderr
    async with serving(Server(code)) as server:
        quiet = await run(server, tmp_path, "pub", "-V", version, "-t", "t", "-m", "x", "--quiet")
        assert quiet == ("", code)


async def test_broken_protocol_is_not_taken_for_silence(tmp_path: Path) -> None:
    """CONNACK has to name the authentication method again, MQTT 5.0 §3.2.2.3.17."""
    async with serving(Server()) as server:
        server.is_polite = False
        method = ("-D", "connect", "authentication-method", "METHOD")
        stderr, code = await run(server, tmp_path, "sub", "-t", "t", *method)
    assert code == 1
    assert "the server broke the protocol: " in stderr
    assert "hung up" not in stderr


@pytest.mark.interop
@pytest.mark.skipif(
    shutil.which("mosquitto_sub") is None, reason="mosquitto-clients is not installed"
)
@pytest.mark.parametrize(
    ("version", "code"),
    [("31", 2), ("311", 1), ("311", 3), ("311", 5), ("5", 0x80), ("5", 0x87), ("5", 0x8A)],
)
async def test_exit_codes_of_refusals_are_theirs(tmp_path: Path, version: str, code: int) -> None:
    codes = []
    for program in (("mosquitto_sub",), (*NOCTULE, "sub")):
        async with serving(Server(code)) as server:
            process = await asyncio.create_subprocess_exec(
                *program, "-p", str(server.port), "-V", version, "-t", "t", "-i", "me", "-W", "20",
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                env=environment(tmp_path),
            )  # fmt: skip
            async with asyncio.timeout(30):
                await process.communicate()
            codes.append(process.returncode)
    assert codes == [code, code]


class HangingUp(Server):
    """Ends the first connection when it is published to or subscribed at."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.packets:
            self.packets.append(Pingreq())  # Not the first one any more.
            await reader.readexactly(2)
            writer.write(encode_packet(Version.V3_1_1, Connack(False, 0)))
            await reader.read(1)
            await asyncio.sleep(0)
            writer.close()
            return
        await super().serve(reader, writer)


async def test_subscriber_comes_back(tmp_path: Path) -> None:
    async with serving(HangingUp()) as server:
        stderr, code = await run(server, tmp_path, "sub", "-t", "t", "-W", "25", "-E")
    assert code == 0
    assert "was lost" in stderr
    assert f"connected to 127.0.0.1:{server.port} again" in stderr
    assert any(isinstance(packet, Subscribe) for packet in server.packets)


async def test_publisher_of_lines_comes_back_with_what_was_not_answered(tmp_path: Path) -> None:
    lines = [b"line %d" % number for number in range(30)]
    async with serving(HangingUp()) as server:
        stderr, code = await run(
            *(server, tmp_path, "pub", "-t", "t", "-l", "-q", "1"), text=b"\n".join(lines)
        )
    assert code == 0
    assert "again" in stderr
    received = [packet.payload for packet in server.packets if isinstance(packet, Publish)]
    assert list(dict.fromkeys(received)) == lines


async def test_publisher_of_one_message_does_not(tmp_path: Path) -> None:
    """Exit code 7, as Mosquitto's: the connection was lost."""

    class Silent(Server):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(2)
            writer.write(encode_packet(Version.V3_1_1, Connack(False, 0)))
            while (await reader.read(100))[:1] != b"\x32":
                pass
            writer.close()

    async with serving(Silent()) as server:
        stderr, code = await run(server, tmp_path, "pub", "-t", "t", "-m", "x", "-q", "1")
    assert code == 7
    assert "was lost" in stderr
