"""Who is banned stays out, by whatever name, and over a restart."""

import asyncio
import json
import logging
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import aiomqtt
import pytest
from click.testing import CliRunner

from noctule.broker import (
    Accept,
    Answer,
    AuthenticationRequest,
    Broker,
    Refuse,
    StartError,
)
from noctule.cli.app import noctule
from tests.conformance.wire import Client

WAIT_SECONDS = 20.0
# How long a client waits for the CONNACK of a connection that was closed before it.
CLOSED_SECONDS = 3.0


class Sesame:
    """Lets in who says so."""

    async def start(self, request: AuthenticationRequest) -> Answer:
        return Accept() if request.password == b"sesame" else Refuse(0x86)

    async def continue_(self, request: AuthenticationRequest) -> Answer:
        return Refuse(0x8C)


def new_broker(data_dir: Path | None = None, **options: object) -> Broker:
    return Broker(listeners=["mqtt://127.0.0.1:0"], data_dir=data_dir, **options)  # type: ignore[arg-type]


async def is_refused(broker: Broker, name: str = "c", **given: object) -> bool:
    is_closed = any(ban.address for ban in broker.bans())
    try:
        async with aiomqtt.Client(
            "127.0.0.1",
            broker.port,
            identifier=name,
            timeout=CLOSED_SECONDS if is_closed else WAIT_SECONDS,
            **given,  # type: ignore[arg-type]
        ):
            return False
    except aiomqtt.MqttError:
        return True


async def test_each_kind_of_ban_ends_connections_and_keeps_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    for ban in ({"client": "c"}, {"user": "u"}, {"address": "127.0.0.0/8"}):
        async with new_broker() as broker:
            client = aiomqtt.Client("127.0.0.1", broker.port, identifier="c", username="u")
            with pytest.raises(aiomqtt.MqttError):
                async with client, asyncio.timeout(WAIT_SECONDS):
                    broker.ban(**ban, reason="a test")  # type: ignore[arg-type]
                    await anext(client.messages)
            assert await is_refused(broker, username="u")
            innocent = "address" not in ban
            assert await is_refused(broker, "other", username="v") is not innocent
            (listed,) = broker.bans()
            assert getattr(listed, next(iter(ban))) == next(iter(ban.values()))
            assert listed.until is None
            assert broker.unban(**ban)
            assert not broker.unban(**ban)
            assert not await is_refused(broker, username="u")
    assert "client 'c' is banned for ever: a test" in caplog.text


async def test_ban_is_over_when_its_time_is() -> None:
    async with new_broker() as broker:
        broker.ban(client="c", seconds=3)
        assert await is_refused(broker)
        async with asyncio.timeout(WAIT_SECONDS):
            while broker.bans():  # noqa: ASYNC110  (the clock is waited for)
                await asyncio.sleep(0.02)
        assert not await is_refused(broker)


async def test_wrong_bans_are_refused() -> None:
    async with new_broker() as broker:
        for wrong in ({}, {"client": "a", "user": "b"}, {"address": "localhost"}):
            with pytest.raises(ValueError, match=r"one of|no address"):
                broker.ban(**wrong)  # type: ignore[arg-type]


async def test_failed_logins_ban_the_address_and_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    bans = {"failed_logins": 3, "ban_seconds": 30}
    async with new_broker(authenticator=Sesame(), bans=bans) as broker:
        for _ in range(2):
            assert await is_refused(broker, username="u", password="wrong")
        assert not await is_refused(broker, username="u", password="sesame")
        assert await is_refused(broker, username="u", password="wrong")
        assert await is_refused(broker, username="u", password="sesame")
        (ban,) = broker.bans()
        assert (ban.address, ban.reason) == ("127.0.0.1", "failed logins")
        assert ban.until is not None
        assert 0 < ban.until - time.time() < 32
        statistics = broker.statistics()
        assert (statistics["bans_made"], statistics["sockets_refused_banned"]) == (1, 1)
    assert caplog.text.count("is banned for 30 s: failed logins") == 1


async def test_client_that_flaps_is_banned_and_others_are_not() -> None:
    async with new_broker(bans={"flapping_connects": 3}) as broker:
        for _ in range(3):
            assert not await is_refused(broker, "restless")
        assert await is_refused(broker, "restless")
        assert not await is_refused(broker, "calm")


async def test_connections_a_second_from_one_address_are_bounded() -> None:
    async with new_broker(bans={"max_connects_per_second": 3}) as broker:
        begin = time.monotonic()
        welcome = await asyncio.to_thread(welcomed, broker.port, 30)
        # The seconds that they come in, the first and the last of which are not whole.
        seconds = 2 + int(time.monotonic() - begin)
        assert 3 <= welcome <= 3 * seconds
        assert broker.statistics()["sockets_refused_rate"] == 30 - welcome


def welcomed(port: int, count: int) -> int:
    """How many clients are let in that come all at once."""
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(("127.0.0.1", port))) for _ in range(count)]
        for number, client in enumerate(clients):
            with suppress(ConnectionError):
                client.send_connect(f"c{number}")
        return sum(client.receive() is not None for client in clients)


async def test_bans_outlast_a_restart(tmp_path: Path) -> None:
    async with new_broker(tmp_path) as broker:
        broker.ban(client="c", reason="for ever")
        broker.ban(user="u", seconds=3600)
        broker.ban(address="192.0.2.0/24", seconds=0.01)
        async with asyncio.timeout(WAIT_SECONDS):
            while not (tmp_path / "bans.json").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    async with new_broker(tmp_path) as broker:
        assert await is_refused(broker, "c")
        assert await is_refused(broker, "d", username="u")
        assert not await is_refused(broker, "d")
        # What is left of a ban is kept in whole seconds.
        async with asyncio.timeout(WAIT_SECONDS):
            while any(each.address for each in broker.bans()):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        found = {(each.client, each.user, each.address, each.reason) for each in broker.bans()}
        assert found == {("c", None, None, "for ever"), (None, "u", None, "")}


async def test_operator_bans_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noctule.broker.ban_requests.LOOK_SECONDS", 0.02)
    file, data_dir = tmp_path / "noctule.toml", tmp_path / "data"
    file.write_text(f'data_dir = "{data_dir}"\n')

    async def command(*arguments: str) -> str:
        whole = ["bans", "-c", str(file), *arguments]
        result = await asyncio.to_thread(CliRunner().invoke, noctule, whole)
        assert result.exit_code == 0, result.output
        return result.output

    # Of a broker that does not run.
    await command("add", "--user", "u", "--reason", "left before")
    async with new_broker(data_dir) as broker:
        assert await is_refused(broker, username="u")
        client = aiomqtt.Client("127.0.0.1", broker.port, identifier="c")
        with pytest.raises(aiomqtt.MqttError):
            async with client, asyncio.timeout(WAIT_SECONDS):
                await command("add", "--client", "c", "--seconds", "3600")
                await anext(client.messages)
        assert await is_refused(broker, "c")
        await command("remove", "--user", "u")
        async with asyncio.timeout(WAIT_SECONDS):
            while len(broker.bans()) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert not await is_refused(broker, "d", username="u")
    async with new_broker(data_dir) as broker:
        assert await is_refused(broker, "c")
        assert (await command("list")).startswith("client c until 2")


async def test_broken_ban_file_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "bans.json").write_text(json.dumps([{"kind": "planet", "value": "x"}]))
    with pytest.raises(StartError, match=r"bans\.json"):
        await new_broker(tmp_path).start()
