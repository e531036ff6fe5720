"""Users, groups and rules that change while clients are connected, and outlive the broker."""

import asyncio
from pathlib import Path

import aiomqtt
import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner

from noctule.access import Access
from noctule.broker import Broker
from noctule.cli.app import noctule
from noctule.config import Configuration, broker_of, load_options
from tests.integration.access.test_access import eventually, is_refused

CHEAP = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("noctule.access.directory.PasswordHasher", lambda: CHEAP)
    path = tmp_path / "noctule.toml"
    path.write_text(
        f'listeners = ["mqtt://127.0.0.1:0"]\ndata_dir = "{tmp_path / "data"}"\n'
        "access = { directory = true }\n"
    )
    return path


async def users(file: Path, *arguments: str, text: str = "") -> None:
    """`noctule users`, beside the broker that runs."""
    result = await asyncio.to_thread(
        CliRunner().invoke, noctule, ["users", "-c", str(file), *arguments], input=text
    )
    assert result.exit_code == 0, result.output


def client(broker: Broker, user: str) -> aiomqtt.Client:
    return aiomqtt.Client(
        "127.0.0.1",
        broker.port,
        identifier=user,
        username=user,
        password="word",
        protocol=aiomqtt.ProtocolVersion.V5,
    )


async def code(client: aiomqtt.Client, topic: str) -> int:
    (granted,) = await client.subscribe(topic)
    return granted.value  # type: ignore[union-attr]


async def test_directory_is_edited_beside_a_running_broker_and_outlives_it(file: Path) -> None:
    options: Configuration = load_options(file)
    async with broker_of(options) as broker:
        assert await is_refused(broker, username="alice", password="word")
        await users(file, "add", "alice", text="word\n")
        await users(file, "add", "bob", "--no-password")
        async with client(broker, "alice") as alice:
            # There is no rule yet, and so nothing is allowed.
            assert await code(alice, "plant/x") == 0x87
            await users(file, "rules", text='[{"groups": ["operators"], "filter": "plant/#"}]')
            await users(file, "group", "operators", "alice")

            async def may() -> bool:
                return await code(alice, "plant/x") == 0

            await eventually(may)
            # In Python, what is changed holds once the sources are read.
            access = broker.access
            assert isinstance(access, Access)
            assert access.directory is not None
            await access.directory.remove_from_group("operators", "alice")
            await access.refresh()
            assert await code(alice, "plant/x") == 0x87
            with pytest.raises(aiomqtt.MqttError):
                await users(file, "disable", "alice")
                async with asyncio.timeout(20):
                    await anext(alice.messages)
        assert await is_refused(broker, username="alice", password="word")
    async with broker_of(options) as broker:
        assert await is_refused(broker, username="alice", password="word")
        await users(file, "enable", "alice")
        await users(file, "group", "operators", "alice")
        assert not await is_refused(broker, username="alice", password="word")
        access = broker.access
        assert isinstance(access, Access)
        await access.refresh()
        async with client(broker, "alice") as alice:
            assert await code(alice, "plant/x") == 0
            assert await code(alice, "other") == 0x87
