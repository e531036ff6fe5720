"""Plug-ins: loaded by name, by file and from a configuration, and kept apart where they fail."""

import asyncio
import logging
import sqlite3
import sys
import textwrap
from pathlib import Path

import aiomqtt
import pytest

from noctule.broker import Broker, PluginError
from noctule.config import broker_of, load_options

ROOT = Path(__file__).parents[3]
WAIT_SECONDS = 30.0


def new_broker(*plugins: object) -> Broker:
    return Broker(listeners=["mqtt://127.0.0.1:0"], plugins=plugins)  # type: ignore[arg-type]


def module(folder: Path, name: str, source: str) -> str:
    file = folder / f"{name}.py"
    file.write_text(textwrap.dedent(source))
    return str(file)


async def publish(broker: Broker, topic: str, payload: bytes) -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        await client.publish(topic, payload, qos=1)


REFUSING = """
    from noctule.broker import Refuse

    def setup(broker, options):
        @broker.on_connect
        async def refuse(request):
            return Refuse(0x8A) if request.client == options["client"] else None
"""

HALF_WAY = """
    def setup(broker, options):
        @broker.on_connected
        def told(events):
            raise AssertionError
        raise RuntimeError("half way")
"""


@pytest.mark.parametrize(
    ("example", "option"),
    [("store_in_sqlite.py", "database"), ("store_in_database.py", "url")],
)
async def test_example_stores_what_its_filter_matches(
    tmp_path: Path, example: str, option: str
) -> None:
    database = tmp_path / "messages.sqlite"
    where = str(database) if option == "database" else f"sqlite:///{database}"
    file = tmp_path / "noctule.toml"
    file.write_text(
        f"""
        listeners = ["mqtt://127.0.0.1:0"]
        [[plugins]]
        module = "{ROOT / "examples" / "hooks" / example}"
        {option} = "{where}"
        filter = "sensors/#"
        """
    )
    async with broker_of(load_options(file)) as broker:
        for topic in ("sensors/1", "other", "sensors/2"):
            await publish(broker, topic, b"21.5")
        async with asyncio.timeout(WAIT_SECONDS):
            while (found := stored(database)) != ["sensors/1", "sensors/2"]:
                assert len(found) < 2
                await asyncio.sleep(0.02)


def stored(file: Path) -> list[str]:
    if not file.exists():
        return []
    database = sqlite3.connect(file)
    try:
        return [topic for (topic,) in database.execute("SELECT topic FROM messages ORDER BY topic")]
    except sqlite3.OperationalError:
        return []
    finally:
        database.close()


async def test_plugin_has_options_of_its_own(tmp_path: Path) -> None:
    name = module(tmp_path, "refusing", REFUSING)
    async with new_broker({"module": name, "client": "mallory"}) as broker:
        async with aiomqtt.Client("127.0.0.1", broker.port, identifier="alice"):
            pass
        with pytest.raises(aiomqtt.MqttError):
            async with aiomqtt.Client("127.0.0.1", broker.port, identifier="mallory"):
                pass


async def test_plugin_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module(tmp_path, "noctule_refusing", REFUSING)
    metadata = tmp_path / "noctule_refusing-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: noctule-refusing\nVersion: 1\n"
    )
    (metadata / "entry_points.txt").write_text("[noctule.plugins]\nrefuser = noctule_refusing\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        async with new_broker({"module": "refuser", "client": "mallory"}) as broker:
            with pytest.raises(aiomqtt.MqttError):
                async with aiomqtt.Client("127.0.0.1", broker.port, identifier="mallory"):
                    pass
    finally:
        sys.modules.pop("noctule_refusing", None)


def test_required_plugin_that_fails_stops_the_broker_from_starting(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"half way.*required = false"):
        new_broker(module(tmp_path, "half_way", HALF_WAY))
    with pytest.raises(PluginError, match="no_such_module"):
        new_broker("no_such_module")
    with pytest.raises(PluginError, match="has no function setup"):
        new_broker("json")


async def test_other_plugin_that_fails_is_logged_and_leaves_nothing_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    name = module(tmp_path, "half_way", HALF_WAY)
    async with new_broker({"module": name, "required": False}) as broker:
        await publish(broker, "a", b"x")
    assert broker.hook_failures() == {}
    assert "half_way.py' cannot be set up" in caplog.text


async def test_plugin_lives_from_start_to_stop(tmp_path: Path) -> None:
    source = """
        from contextlib import asynccontextmanager

        def setup(broker, options):
            @asynccontextmanager
            async def life():
                options["seen"].append(broker.is_running)
                await broker.publish("hello", b"", retain=False)
                yield
                options["seen"].append(broker.is_running)
            return life()
    """
    seen: list[bool] = []
    async with new_broker({"module": module(tmp_path, "living", source), "seen": seen}):
        assert seen == [True]
    assert seen == [True, True]
