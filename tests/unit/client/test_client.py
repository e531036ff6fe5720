"""The client against servers that do what the test says."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

import noctule.client as noctule
from noctule.client import (
    ClientClosedError,
    Closed,
    Connected,
    ConnectionEndedError,
    ConnectionFailedError,
    ConnectionRefusedByServerError,
    Credentials,
    InvalidArgumentError,
    OutboxFullError,
    PublishRefusedError,
    Reconnect,
    Reconnecting,
    SubscribeRefusedError,
    Version,
    connect,
)
from noctule.client.options import ClientOptions, ConnectArguments
from noctule.protocol import Properties, PropertyId, ReasonCode
from noctule.protocol.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Unsubscribe,
)
from tests.unit.client.scripted import Peer, scripted, serving

FAST = Reconnect(first_delay=0.01, max_delay=0.02)


async def eventually(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def test_connect_takes_every_option() -> None:
    assert set(ConnectArguments.__annotations__) == set(ClientOptions.__dataclass_fields__)


@pytest.mark.parametrize(
    "options",
    [
        {"outbox_limit": 0},
        {"outbox_full": "burst"},
        {"clean_start": False},
        {"credentials": Credentials, "user_name": "a"},
        {"on_handler_error": "ignore"},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        connect("mqtt://localhost", **options)


async def test_publish_waits_as_its_qos_asks() -> None:
    async with scripted() as server, connect(server.url) as client:
        for qos in (0, 1, 2):
            receipt = await client.publish("a", "b", qos=qos)
            assert receipt.reason_code == 0
        await eventually(lambda: len(server.peers[0].seen) >= 5)
        assert client.outbox_size == 0


async def test_publish_at_qos_0_does_not_suspend() -> None:
    async with scripted() as server, connect(server.url) as client:
        publishing = client.publish("a", b"b")
        with pytest.raises(StopIteration):
            publishing.send(None)
        await eventually(lambda: any(isinstance(p, Publish) for p in server.peers[0].seen))


async def test_receipts_can_be_awaited_later_and_often() -> None:
    async with scripted() as server, connect(server.url) as client:
        receipts = [await client.enqueue("a", str(i), qos=1 + i % 2) for i in range(200)]
        assert receipts[-1].reason_code is None
        for receipt in reversed(receipts):
            assert await receipt is receipt
        first, second = client.publish_nowait("a"), client.publish_nowait("a")
        await asyncio.gather(*(_wait(r) for r in (first, first, second)))


async def _wait(receipt: noctule.Receipt) -> None:
    await receipt


async def test_refused_message_raises_where_it_is_awaited(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.accept()
        while True:
            packet = await peer.read()
            if isinstance(packet, Publish):
                reason = Properties([(PropertyId.REASON_STRING, "not you")])
                peer.send(Puback(packet.packet_identifier, ReasonCode.NOT_AUTHORIZED, reason))
            else:
                peer.answer(packet)

    async with scripted(refuse) as server, connect(server.url) as client:
        with pytest.raises(PublishRefusedError, match="not you") as caught:
            await client.publish("a", qos=1)
        assert caught.value.reason_code == ReasonCode.NOT_AUTHORIZED
        with caplog.at_level(logging.ERROR):
            await client.enqueue("nobody/waits", qos=1)
            await eventually(lambda: "nobody/waits" in caplog.text)


async def test_subscription_yields_messages_and_unsubscribes() -> None:
    async def publish(peer: Peer) -> None:
        await peer.accept()
        while True:
            packet = await peer.read()
            peer.answer(packet)
            if isinstance(packet, Subscribe):
                [identifier] = packet.properties.subscription_identifiers
                tag = Properties([(PropertyId.SUBSCRIPTION_IDENTIFIER, identifier)])
                peer.send(
                    Publish("a/1", b"one", properties=tag),
                    Publish("a/2", b"two", qos=1, packet_identifier=1, properties=tag),
                )

    async with scripted(publish) as server, connect(server.url) as client:
        async with client.subscribe("a/+", qos=1) as messages:
            assert messages.reason_codes == {"a/+": 1}
            assert [(await messages.next(30)).text for _ in range(2)] == ["one", "two"]
        assert any(isinstance(p, Unsubscribe) for p in server.peers[0].seen)
        await eventually(lambda: Puback(1) in server.peers[0].seen)


async def test_refused_filter_raises_and_leaves_nothing() -> None:
    async def refuse(peer: Peer) -> None:
        await peer.accept()
        packet = await peer.read()
        assert isinstance(packet, Subscribe)
        peer.send(Suback(packet.packet_identifier, (ReasonCode.NOT_AUTHORIZED,)))
        await peer.serve()

    async with scripted(refuse) as server, connect(server.url) as client:
        with pytest.raises(SubscribeRefusedError, match="secret"):
            await client.subscribe("secret").open()
        async with client.subscribe("open"):
            pass


async def test_wrong_calls_are_named_at_once() -> None:
    async with scripted() as server, connect(server.url) as client:
        with pytest.raises(InvalidArgumentError):
            await client.publish("a/+")
        with pytest.raises(InvalidArgumentError):
            await client.publish("a", 5)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgumentError):
            await client.publish("a", colour="red")  # type: ignore[call-arg]
        with pytest.raises(InvalidArgumentError):
            await client.publish("a", qos=3)
        with pytest.raises(InvalidArgumentError):
            client.subscribe()
        with pytest.raises(InvalidArgumentError):
            client.on("a/x{b}")
        with pytest.raises(InvalidArgumentError):
            client.on("a/{b}")(lambda: None)
        with pytest.raises(InvalidArgumentError):
            await client.subscribe("a/#/b").open()
        assert (await client.publish("a", qos=1)).reason_code == 0


# --- Connecting -----------------------------------------------------------------------


async def test_first_attempt_that_fails_raises() -> None:
    with pytest.raises(ConnectionFailedError):
        async with connect("mqtt://127.0.0.1:1"):
            pass


async def test_refusal_raises_with_its_code() -> None:
    async def refuse(peer: Peer) -> None:
        await peer.read()
        peer.send(Connack(False, ReasonCode.NOT_AUTHORIZED))
        await peer.serve()

    async with scripted(refuse) as server:
        with pytest.raises(ConnectionRefusedByServerError) as caught:
            await connect(server.url).open()
        assert caught.value.reason_code == ReasonCode.NOT_AUTHORIZED


async def test_server_that_says_nothing_is_given_up() -> None:
    async def silent(peer: Peer) -> None:
        await peer.serve()

    async def hold(peer: Peer) -> None:
        await peer.read()
        await asyncio.sleep(30)

    async with scripted(hold) as server:
        with pytest.raises(ConnectionFailedError, match="CONNACK"):
            await connect(server.url, connect_timeout=1).open()


async def test_client_that_need_not_be_connected_tries_in_the_background() -> None:
    async def fail(peer: Peer) -> None:
        await peer.read()
        peer.abort()

    async with (
        scripted(fail, fail, serving) as server,
        connect(server.url, require_connection=False, reconnect=FAST) as client,
    ):
        receipt = client.publish_nowait("a", "early", qos=1)
        assert client.outbox_size == 1
        await receipt
        assert len(server.peers) == 3


async def test_states_tell_of_every_change() -> None:
    async def short(peer: Peer) -> None:
        await peer.accept()
        peer.send(Disconnect(ReasonCode.SERVER_BUSY))

    seen = []

    async def watch(client: noctule.Client) -> None:
        async for state in client.states():
            seen.append(state)  # noqa: PERF401

    async with scripted(short, serving) as server:
        async with connect(server.url, reconnect=FAST) as client:
            watcher = asyncio.create_task(watch(client))
            await eventually(lambda: len(server.peers) == 2 and client.is_connected)
            await client.wait_connected()
        await watcher
    kinds = [type(state) for state in seen]
    assert kinds[-3:] == [Reconnecting, Connected, Closed]
    reconnecting = seen[-3]
    assert isinstance(reconnecting, Reconnecting)
    assert "busy" in str(reconnecting.error)


async def test_lost_connection_is_made_again_and_all_goes_on() -> None:
    async def cut(peer: Peer) -> None:
        await peer.accept()
        while not isinstance(packet := await peer.read(), Publish):
            peer.answer(packet)
        peer.abort()

    async def resumed(peer: Peer) -> None:
        await peer.accept(session_present=True)
        await peer.serve()

    async with (
        scripted(cut, resumed) as server,
        connect(server.url, reconnect=FAST) as client,
        client.subscribe("a"),
    ):
        assert (await client.publish("a", "x", qos=2)).reason_code == 0
        seen = server.peers[1].seen
        assert not any(isinstance(p, Subscribe) for p in seen)
        [publish] = [p for p in seen if isinstance(p, Publish)]
        assert publish.dup


async def test_without_its_session_the_client_subscribes_again() -> None:
    async def cut(peer: Peer) -> None:
        await peer.accept()
        peer.answer(await peer.read())
        peer.close()

    async with (
        scripted(cut, serving) as server,
        connect(server.url, reconnect=FAST) as client,
        client.subscribe("a", "b"),
    ):
        await eventually(
            lambda: (
                len(server.peers) == 2
                and sum(isinstance(p, Subscribe) for p in server.peers[1].seen) == 2
            )
        )


@pytest.mark.parametrize("session_present", [True, False])
async def test_subscriptions_go_out_before_messages_that_waited(session_present: bool) -> None:
    """A program that publishes to its own subscription, or awaits an answer, loses nothing."""
    is_offline = asyncio.Event()

    async def cut(peer: Peer) -> None:
        await peer.accept()
        peer.answer(await peer.read())
        await peer.read()
        peer.abort()

    async def back(peer: Peer) -> None:
        await is_offline.wait()
        await peer.accept(session_present=session_present)
        await peer.serve()

    async with (
        scripted(cut, back) as server,
        connect(server.url, reconnect=FAST) as client,
        client.subscribe("old"),
    ):
        in_flight = await client.enqueue("old", "1", qos=1)
        await eventually(lambda: not client.is_connected)
        opening = asyncio.create_task(client.subscribe("new").open())
        waiting = [await client.enqueue("new", "2", qos=qos) for qos in (0, 1, 2)]
        is_offline.set()
        await opening
        for receipt in (in_flight, *waiting):
            await receipt
        sent = [p for p in server.peers[1].seen if isinstance(p, Subscribe | Publish)]
        first = [isinstance(p, Publish) for p in sent].index(True)
        wanted = [p.requests[0].topic_filter for p in sent[:first] if isinstance(p, Subscribe)]
        assert wanted == (["new"] if session_present else ["old", "new"])
        assert [(p.topic, p.qos) for p in sent[first:] if isinstance(p, Publish)] == [
            ("old", 1),
            ("new", 0),
            ("new", 1),
            ("new", 2),
        ]


async def test_final_refusal_ends_the_block() -> None:
    async def cut(peer: Peer) -> None:
        await peer.accept()
        peer.close()

    async def ban(peer: Peer) -> None:
        await peer.read()
        peer.send(Connack(False, ReasonCode.BANNED))
        await peer.serve()

    async with scripted(cut, ban) as server:
        with pytest.raises(ConnectionRefusedByServerError):
            async with connect(server.url, reconnect=FAST):
                await asyncio.sleep(30)


async def test_attempts_can_be_limited() -> None:
    async def cut(peer: Peer) -> None:
        await peer.accept()
        peer.close()

    async with scripted(cut) as server:
        with pytest.raises(noctule.ConnectionEndedError):
            async with connect(
                server.url,
                reconnect=Reconnect(first_delay=0.001, max_delay=0.002, max_attempts=3),
            ):
                await asyncio.sleep(30)
        assert len(server.peers) == 4


async def test_taken_over_client_does_not_fight() -> None:
    async def take_over(peer: Peer) -> None:
        await peer.accept()
        peer.send(Disconnect(ReasonCode.SESSION_TAKEN_OVER))

    async with scripted(take_over) as server:
        with pytest.raises(noctule.ConnectionEndedError):
            async with connect(server.url, reconnect=FAST):
                await asyncio.sleep(30)
        assert len(server.peers) == 1


async def test_client_is_not_beaten_by_its_own_late_connection() -> None:
    async def cut(peer: Peer) -> None:
        await peer.accept()
        peer.abort()

    async def unanswered(peer: Peer) -> None:
        await peer.read()
        peer.abort()

    async def taken_over(peer: Peer) -> None:
        await peer.accept(session_present=True)
        peer.send(Disconnect(ReasonCode.SESSION_TAKEN_OVER))

    async with (
        scripted(cut, unanswered, taken_over, serving) as server,
        connect(server.url, reconnect=FAST) as client,
    ):
        await eventually(lambda: len(server.peers) == 4)
        await client.publish("a", qos=1)
    async with scripted(cut, unanswered, taken_over) as server:
        with pytest.raises(noctule.ConnectionEndedError, match="taken over"):
            async with connect(server.url, reconnect=FAST):
                await asyncio.sleep(30)
        assert len(server.peers) == 4  # Forgiven once.


async def test_server_reference_is_followed() -> None:
    async with scripted() as other:

        async def move(peer: Peer) -> None:
            await peer.read()
            there = Properties([(PropertyId.SERVER_REFERENCE, f"127.0.0.1:{other.port}")])
            peer.send(Connack(False, ReasonCode.SERVER_MOVED, there))
            await peer.serve()

        async with scripted(move) as server, connect(server.url) as client:
            await client.publish("a", qos=1)
            assert len(other.peers) == 1


async def test_credentials_come_fresh_for_every_connection() -> None:
    tokens = iter(["one", "two"])

    async def token() -> Credentials:
        return Credentials("user", next(tokens))

    async def cut(peer: Peer) -> None:
        await peer.accept()
        peer.close()

    async with (
        scripted(cut, serving) as server,
        connect(server.url, credentials=token, reconnect=FAST) as client,
    ):
        await eventually(lambda: len(server.peers) == 2 and client.is_connected)
        connects = [peer.seen[0] for peer in server.peers]
        assert [c.password for c in connects if isinstance(c, Connect)] == [b"one", b"two"]


@pytest.mark.parametrize("how", ["refuses", "hangs up"])
async def test_client_falls_back_to_3_1_1(how: str) -> None:
    async def old(peer: Peer) -> None:
        await peer.read()
        if how == "refuses":
            peer.send_bytes(b"\x20\x02\x00\x01")
        peer.close()

    async with scripted(old, serving) as server:
        async with connect(server.url, fall_back=True) as client:
            assert client.version == Version.V3_1_1
            assert (await client.publish("a", qos=1)).reason_code == 0
        assert server.peers[1].version == Version.V3_1_1


async def test_unix_socket(tmp_path: Path) -> None:
    from tests.unit.client.scripted import ScriptedServer

    server = ScriptedServer((serving,))
    path = tmp_path / "mqtt.sock"
    listener = await asyncio.start_unix_server(server.handle, path)
    async with connect(f"unix://{path}") as client:
        await client.publish("a", qos=1)
    listener.close()


async def test_session_of_a_made_up_client_is_not_left_behind() -> None:
    async with scripted() as server:
        async with connect(server.url):
            pass
        async with connect(server.url, client_id="mine"):
            pass
        await eventually(lambda: all(isinstance(p.seen[-1], Disconnect) for p in server.peers))
        ends = [peer.seen[-1] for peer in server.peers]
        assert [
            p.properties.integer(PropertyId.SESSION_EXPIRY_INTERVAL)
            for p in ends
            if isinstance(p, Disconnect)
        ] == [0, None]


# --- Queues ---------------------------------------------------------------------------


def flood(count: int, qos: int) -> Any:
    async def script(peer: Peer) -> None:
        await peer.accept()
        while not isinstance(packet := await peer.read(), Subscribe):
            peer.answer(packet)
        peer.answer(packet)
        for index in range(count):
            peer.send(Publish("a", b"%d" % index, qos=qos, packet_identifier=index + 1))
        await peer.serve()

    return script


@pytest.mark.parametrize(
    ("overflow", "expected"), [("drop-oldest", range(90, 100)), ("drop-newest", range(10))]
)
async def test_full_queue_drops_by_its_policy(overflow: Any, expected: range) -> None:
    async with (
        scripted(flood(100, 1)) as server,
        connect(server.url) as client,
        client.subscribe("a", qos=1, queue_limit=10, overflow=overflow) as messages,
    ):
        await eventually(lambda: messages.dropped == 90)
        assert [int(m.payload) for m in await messages.take()] == list(expected)
        await eventually(lambda: Puback(100) in server.peers[0].seen)


async def test_full_queue_stops_the_reading_and_nothing_is_lost() -> None:
    async with (
        scripted(flood(20_000, 0)) as server,
        connect(server.url) as client,
        client.subscribe("a", queue_limit=100) as messages,
    ):
        await eventually(lambda: len(messages) >= 100)
        await asyncio.sleep(0.05)
        assert len(messages) < 20_000
        got: list[int] = []
        while len(got) < 20_000:
            got += [int(m.payload) for m in await messages.take()]
        assert got == list(range(20_000))


async def test_program_that_waits_for_the_server_with_a_full_queue_gets_its_answer() -> None:
    async with (
        scripted(flood(200_000, 0)) as server,
        connect(server.url) as client,
        client.subscribe("a", queue_limit=10) as messages,
    ):
        async with asyncio.timeout(30):
            for _ in range(20):
                await messages.next()
                await client.publish("b", qos=1)
        assert messages.dropped
        assert len(messages) < 40_000


async def test_server_that_goes_a_little_over_the_receive_maximum_is_borne_with() -> None:
    async with (
        scripted(flood(80, 1)) as server,
        connect(server.url, receive_maximum=5, reconnect=None) as client,
        client.subscribe("a", qos=1, manual_acknowledgement=True) as messages,
    ):
        assert len([await messages.next(30) for _ in range(80)]) == 80
        await client.publish("b", qos=1)


async def test_server_that_goes_far_over_the_receive_maximum_is_told_so() -> None:
    async with scripted(flood(81, 1)) as server:
        with pytest.raises(ConnectionEndedError, match="receive maximum"):
            async with (
                connect(server.url, receive_maximum=5, reconnect=None) as client,
                client.subscribe("a", qos=1, manual_acknowledgement=True) as messages,
            ):
                while await messages.take():
                    pass
        await eventually(lambda: isinstance(server.peers[0].seen[-1], Disconnect))
        assert server.peers[0].seen[-1] == Disconnect(
            ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
            Properties([(PropertyId.REASON_STRING, "more messages than the receive maximum")]),
        )


async def test_manual_acknowledgement_is_up_to_the_program() -> None:
    async with (
        scripted(flood(3, 1)) as server,
        connect(server.url) as client,
        client.subscribe("a", qos=1, manual_acknowledgement=True) as messages,
    ):
        got = [await messages.next(30) for _ in range(3)]
        await client.publish("b", qos=1)
        assert not any(isinstance(p, Puback) for p in server.peers[0].seen)
        messages.acknowledge(got[1])
        messages.acknowledge(got[0])
        messages.acknowledge(got[2], ReasonCode.UNSPECIFIED_ERROR)
        await client.publish("b", qos=1)
        assert [p for p in server.peers[0].seen if isinstance(p, Puback)] == [
            Puback(1),
            Puback(2),
            Puback(3, ReasonCode.UNSPECIFIED_ERROR),
        ]


async def test_full_outbox_waits_or_raises() -> None:
    async def hold(peer: Peer) -> None:
        await peer.accept()
        gate.clear()
        await gate.wait()
        await peer.serve()

    gate = asyncio.Event()
    async with scripted(hold) as server, connect(server.url, outbox_limit=3) as client:
        for _ in range(3):
            client.publish_nowait("a")
        with pytest.raises(OutboxFullError):
            client.publish_nowait("a")
        waiting = asyncio.create_task(client.enqueue("a"))
        await asyncio.sleep(0.02)
        assert not waiting.done()
        gate.set()
        await waiting
    async with (
        scripted(hold) as server,
        connect(server.url, outbox_limit=1, outbox_full="raise") as client,
    ):
        await client.enqueue("a")
        with pytest.raises(OutboxFullError):
            await client.enqueue("a")
        gate.set()


# --- Handlers, requests ---------------------------------------------------------------


async def relay(peer: Peer) -> None:
    """Sends what is published back, tagged with all identifiers that were subscribed."""
    await peer.accept()
    number = 100
    while True:
        packet = await peer.read()
        peer.answer(packet)
        if isinstance(packet, Publish):
            number += 1
            peer.send(
                Publish(
                    packet.topic,
                    packet.payload,
                    qos=packet.qos,
                    packet_identifier=number if packet.qos else 0,
                    properties=packet.properties,
                )
            )


async def test_handlers_get_their_parameters_and_acknowledge() -> None:
    calls: list[tuple[str, str]] = []
    async with scripted(relay) as server:
        client = connect(server.url)

        @client.on("plant/{line}/temp", qos=1)
        async def temperature(message: noctule.Message, line: str) -> None:
            calls.append((line, message.text))

        @client.on("log/{rest...}")
        def log(message: noctule.Message, rest: str) -> None:
            calls.append((rest, message.text))

        async with client:
            await client.publish("plant/7/temp", "21", qos=1)
            await client.publish("log/a/b", "hello")
            await eventually(lambda: len(calls) == 2)

            @client.on("late/{x}")
            def late(message: noctule.Message, x: str) -> None:
                calls.append((x, message.text))

            await client.publish("late/1", "now", qos=1)
            await eventually(lambda: len(calls) == 3)
        assert sorted(calls) == [("1", "now"), ("7", "21"), ("a/b", "hello")]
        assert any(isinstance(p, Puback) for p in server.peers[0].seen)


async def test_exception_in_a_handler_ends_the_block() -> None:
    async with scripted(relay) as server:
        client = connect(server.url)

        @client.on("a")
        def fail(message: noctule.Message) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            async with client:
                await client.publish("a")
                await asyncio.sleep(30)
        with pytest.raises(ClientClosedError):
            await client.publish("a")


async def test_client_that_has_failed_stays_closed() -> None:
    """However long its program takes to close it."""
    async with scripted(relay, serving) as server:
        client = connect(server.url, reconnect=FAST)

        @client.on("a")
        def fail(message: noctule.Message) -> None:
            raise ZeroDivisionError

        await client.open()
        await client.publish("a")
        async with asyncio.timeout(30):
            told = [state async for state in client.states()]
        assert isinstance(told[-1], noctule.Closed)
        await asyncio.sleep(0.1)  # Enough to connect again several times.
        assert isinstance(await anext(client.states()), noctule.Closed)
        assert len(server.peers) == 1
        await client.close()
        assert isinstance(client.failure, ZeroDivisionError)


async def test_client_that_fails_while_it_connects_does_not_go_on() -> None:
    async def cut(peer: Peer) -> None:
        await peer.accept()
        peer.close()

    failed, late, gone = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(peer: Peer) -> None:
        late.set()
        await failed.wait()
        await peer.accept()
        await peer.serve()
        gone.set()

    async with scripted(cut, slow) as server:
        client = connect(server.url, reconnect=FAST)
        await client.open()
        await late.wait()
        client._fail(ZeroDivisionError())
        failed.set()
        async with asyncio.timeout(30):
            await gone.wait()
        assert isinstance(await anext(client.states()), noctule.Closed)
        assert len(server.peers) == 2
        await client.close()


async def test_exception_in_a_handler_can_be_logged_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scripted(relay) as server:
        client = connect(server.url, on_handler_error="log")

        @client.on("a")
        def fail(message: noctule.Message) -> None:
            raise ZeroDivisionError

        async with client:
            await client.publish("a")
            await eventually(lambda: "ZeroDivisionError" in caplog.text)
            assert (await client.publish("b", qos=1)).reason_code == 0


async def test_request_is_answered_and_others_time_out() -> None:
    async with scripted(relay) as server, connect(server.url) as client:

        @client.respond("add/{a}")
        async def add(message: noctule.Message, a: str) -> str:
            return str(int(a) + int(message.text))

        answers = await asyncio.gather(*(client.request(f"add/{i}", "1") for i in range(5)))
        assert [answer.text for answer in answers] == ["1", "2", "3", "4", "5"]
        with pytest.raises(TimeoutError):
            await client.request("nobody", timeout=0.05)


# --- Closing, cancelling --------------------------------------------------------------


async def test_closing_waits_for_what_is_on_its_way() -> None:
    async def slow(peer: Peer) -> None:
        await peer.accept()
        while True:
            packet = await peer.read()
            await asyncio.sleep(0.01)
            peer.answer(packet)

    async with scripted(slow) as server:
        async with connect(server.url) as client:
            receipts = [client.publish_nowait("a", qos=2) for _ in range(5)]
        assert [receipt.reason_code for receipt in receipts] == [0] * 5


async def test_closed_client_says_so_everywhere() -> None:
    async with scripted() as server:
        async with connect(server.url) as client:
            messages = client.subscribe("a")
            await messages.open()
        assert [m async for m in messages] == []
        for call in (client.publish("a"), client.enqueue("a"), client.subscribe("b").open()):
            with pytest.raises(ClientClosedError):
                await call
        with pytest.raises(ClientClosedError):
            await client.wait_connected()
        with pytest.raises(InvalidArgumentError):
            await client.open()
    assert len(asyncio.all_tasks()) == 1


async def test_block_ends_even_if_the_server_is_stuck() -> None:
    async def stuck(peer: Peer) -> None:
        await peer.accept()
        peer.answer(await peer.read())
        await asyncio.sleep(30)

    async with (
        scripted(stuck) as server,
        asyncio.timeout(20),
        connect(server.url, close_timeout=0.1) as client,
        client.subscribe("a"),
    ):
        client.publish_nowait("a", qos=1)
    assert len(asyncio.all_tasks()) == 1


async def test_any_await_can_be_cancelled() -> None:
    async def deaf(peer: Peer) -> None:
        await peer.accept()
        while True:
            packet = await peer.read()
            if isinstance(packet, Publish) and packet.topic == "end":
                peer.answer(packet)
                break
        await peer.serve()

    async with scripted(deaf) as server:  # noqa: SIM117
        async with connect(server.url, close_timeout=0.2, outbox_limit=2) as client:
            receipt = client.publish_nowait("a")
            second = client.publish_nowait("a")
            waits = [
                _wait(receipt),
                client.publish("a", qos=1),
                client.enqueue("a"),
                client.subscribe("b").open(),
                client.request("c", timeout=None),
            ]
            tasks = [asyncio.create_task(wait) for wait in waits]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(d, asyncio.CancelledError) for d in done), done
            assert client._awaited_answers == 0
            assert second.reason_code is None
            # QoS 0 goes past a full outbox, and shows that the client is alive.
            await client.publish("b")
    assert len(asyncio.all_tasks()) == 1


async def test_nothing_is_sent_after_disconnect() -> None:
    async with scripted() as server:
        async with connect(server.url) as client:
            stop = False

            async def publish() -> None:
                while not stop:
                    await client.publish("a", b"x")
                    await asyncio.sleep(0)

            publishing = asyncio.create_task(publish())
            await asyncio.sleep(0.02)
        stop = True
        with pytest.raises(ClientClosedError):
            await publishing
        kinds = [type(packet) for packet in server.peers[0].seen]
        assert kinds.index(Disconnect) == len(kinds) - 1


async def test_messages_of_an_earlier_run_find_their_subscription() -> None:
    """Whatever its identifiers were: the new run's are others."""

    async def resumed(peer: Peer) -> None:
        await peer.accept(session_present=True)
        for topic, identifier in (("a", 1), ("b", 2)):
            tag = Properties([(PropertyId.SUBSCRIPTION_IDENTIFIER, identifier)])
            peer.send(Publish(topic, b"kept", properties=tag))
        await peer.serve()

    async with (
        scripted(resumed) as server,
        connect(server.url, client_id="me", clean_start=False) as client,
    ):
        await asyncio.sleep(0.05)
        async with client.subscribe("b") as second, client.subscribe("a") as first:
            assert (await first.next(30)).topic == "a"
            assert (await second.next(30)).topic == "b"


# --- Enhanced authentication ----------------------------------------------------------


class Challenge:
    """Says "start", answers "?" with "!", and wants "bye" at the end."""

    method = "TEST"

    def start(self) -> bytes:
        return b"start"

    def step(self, data: bytes | None) -> bytes:
        assert data == b"?"
        return b"!"

    def finish(self, data: bytes | None) -> None:
        if data != b"bye":
            raise noctule.AuthenticationError("the server did not say bye")


def named(data: bytes) -> Properties:
    return Properties(
        [(PropertyId.AUTHENTICATION_METHOD, "TEST"), (PropertyId.AUTHENTICATION_DATA, data)]
    )


def challenging(last: bytes) -> Any:
    async def script(peer: Peer) -> None:
        first = await peer.read()
        assert isinstance(first, Connect)
        assert first.properties.binary(PropertyId.AUTHENTICATION_DATA) == b"start"
        peer.send(Auth(ReasonCode.CONTINUE_AUTHENTICATION, named(b"?")))
        assert await peer.read() == Auth(ReasonCode.CONTINUE_AUTHENTICATION, named(b"!"))
        peer.send(Connack(False, 0, named(last)))
        again = await peer.read()
        if again == Auth(ReasonCode.RE_AUTHENTICATE, named(b"start")):
            peer.send(Auth(ReasonCode.CONTINUE_AUTHENTICATION, named(b"?")))
            await peer.read()
            peer.send(Auth(ReasonCode.SUCCESS, named(last)))
        await peer.serve()

    return script


async def test_mechanism_runs_at_connect_and_again() -> None:
    async with (
        scripted(challenging(b"bye")) as server,
        connect(server.url, authentication=Challenge) as client,
    ):
        await client.reauthenticate()
        await client.publish("a", qos=1)


async def test_server_that_fails_the_mechanism_is_left() -> None:
    async with scripted(challenging(b"hi")) as server:
        with pytest.raises(noctule.AuthenticationError):
            await connect(server.url, authentication=Challenge).open()


class Broken(Challenge):
    """Runs into a fault of its own where it ends."""

    ends_well = 0

    def finish(self, data: bytes | None) -> None:
        Broken.ends_well -= 1
        if Broken.ends_well < 0:
            raise ZeroDivisionError


@pytest.mark.parametrize("ends_well", [0, 1])
async def test_exception_in_a_mechanism_comes_out_and_is_not_tried_again(ends_well: int) -> None:
    Broken.ends_well = ends_well
    async with scripted(challenging(b"bye")) as server:
        with pytest.raises(ZeroDivisionError):
            async with connect(server.url, authentication=Broken, reconnect=FAST) as client:
                await client.reauthenticate()
        assert len(server.peers) == 1


async def test_exception_in_credentials_comes_out() -> None:
    def ask() -> Credentials:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await connect("mqtt://127.0.0.1:1", credentials=ask).open()


@pytest.mark.parametrize("method", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("password", ["secret", "wrong"])
async def test_scram(method: str, password: str) -> None:
    from scramp import ScramException, ScramMechanism

    mechanism = ScramMechanism(method)
    salt, stored, server_key, iterations = mechanism.make_auth_info("secret")

    async def script(peer: Peer) -> None:
        def properties(data: str) -> Properties:
            return Properties(
                [
                    (PropertyId.AUTHENTICATION_METHOD, method),
                    (PropertyId.AUTHENTICATION_DATA, data.encode()),
                ]
            )

        def data(packet: Connect | Auth) -> str:
            return (packet.properties.binary(PropertyId.AUTHENTICATION_DATA) or b"").decode()

        exchange = mechanism.make_server(lambda _: (salt, stored, server_key, iterations))
        first = await peer.read()
        assert isinstance(first, Connect)
        exchange.set_client_first(data(first))
        challenge = properties(exchange.get_server_first())
        peer.send(Auth(ReasonCode.CONTINUE_AUTHENTICATION, challenge))
        final = await peer.read()
        assert isinstance(final, Auth)
        try:
            exchange.set_client_final(data(final))
        except ScramException:
            peer.send(Connack(False, ReasonCode.NOT_AUTHORIZED))
        else:
            peer.send(Connack(False, 0, properties(exchange.get_server_final())))
        await peer.serve()

    async with scripted(script) as server:
        client = connect(server.url, authentication=noctule.scram("user", password, method=method))
        if password == "wrong":
            with pytest.raises(ConnectionRefusedByServerError):
                await client.open()
            return
        async with client:
            await client.publish("a", qos=1)
