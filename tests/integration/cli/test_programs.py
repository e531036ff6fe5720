"""What our commands do beyond Mosquitto's: recordings, pictures, doctor, top."""

import json
import signal
import time
from pathlib import Path

import pytest

from tests.integration.cli.stage import Stage


async def test_recording_is_replayed_as_it_was(tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    file = str(recording)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\x00\n")
    async with Stage(tmp_path) as stage:
        sub = stage.noctule("sub", "-t", "r/#", "-V", "5", "-q", "2", "-C", "3", "--save", file)
        recorder = await stage.subscriber(*sub, "--plain")
        for message in (
            ("-t", "r/1", "-m", "one", "-q", "1", "-D", "publish", "user-property", "a", "b"),
            ("-t", "r/2", "-f", str(binary), "-D", "publish", "content-type", "a/b"),
            ("-t", "r/1", "-n", "-q", "2"),
        ):
            assert (await stage.run(*stage.noctule("pub", *message))).code == 0
        assert (await recorder.outcome()).stdout == b"one\n\xff\x00\n\n"
        sub = stage.noctule("sub", "-t", "x/#", "-V", "5", "-q", "2", "-C", "3", "--json")
        witness = await stage.subscriber(*sub)
        played = await stage.run(
            *stage.noctule("replay", file, "--prefix", "x/", "--speed", "0", "--json")
        )
        assert json.loads(played.stdout)["published"] == 3
        seen = [json.loads(line) for line in (await witness.outcome()).stdout.splitlines()]
    recorded = [json.loads(line) for line in recording.read_text().splitlines()]
    for before, after in zip(recorded, seen, strict=True):
        assert after.pop("time") > before.pop("time")
        before["topic"] = f"x/{before['topic']}"
    assert seen == recorded
    assert recorded[0]["properties"] == {"user-property": [["a", "b"]]}
    assert recorded[1]["payload_base64"] == "/wAK"
    assert [record["qos"] for record in recorded] == [1, 0, 2]


async def test_replay_keeps_the_pace(tmp_path: Path) -> None:
    file = tmp_path / "recording"
    file.write_text(
        '{"time": 100, "topic": "a", "payload": "1"}\n{"time": 104, "topic": "a", "payload": "2"}\n'
    )
    async with Stage(tmp_path) as stage:
        for speed, least in (("4", 1.0), ("8", 0.5)):
            began = time.monotonic()
            outcome = await stage.run(*stage.noctule("replay", str(file), "--speed", speed))
            assert outcome.code == 0
            assert time.monotonic() - began >= least
            assert outcome.stdout.startswith(b"2 messages in ")


async def test_broken_recording_publishes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "recording"
    file.write_text('{"time": 1, "topic": "a", "payload": "1"}\nnonsense\n')
    async with Stage(tmp_path) as stage:
        outcome = await stage.run(*stage.noctule("replay", str(file)))
        assert outcome.code == 1
        assert b"recording, line 2: " in outcome.stderr
        assert stage.broker.statistics()["publish_received"] == 0


async def test_tree_and_stats_without_a_terminal_are_printed_at_the_end(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        tree = await stage.subscriber(*stage.noctule("sub", "-t", "#", "--tree", "-C", "3"))
        stats = await stage.subscriber(
            *stage.noctule("sub", "-t", "#", "--stats", "--json", "-C", "3")
        )
        table = await stage.subscriber(*stage.noctule("sub", "-t", "#", "--stats", "-C", "3"))
        for topic, text in (("house/hall/lamp", "on"), ("house/hall/lamp", "off"), ("x", "y")):
            await stage.run(*stage.noctule("pub", "-t", topic, "-m", text))
        drawn = (await tree.outcome()).stdout.decode().splitlines()
        counted = json.loads((await stats.outcome()).stdout)
        lines = (await table.outcome()).stdout.decode().splitlines()
    assert drawn[0] == "3 messages"
    assert drawn[1].split()[:2] == ["house/hall/lamp", "2"]
    assert drawn[1].endswith("  off")
    assert drawn[2].endswith("  y")
    assert (counted["messages"], counted["bytes"]) == (3, 6)
    assert counted["topics"]["house/hall/lamp"]["messages"] == 2
    assert lines[0].startswith("3 messages, 6 B, 2 topics")
    assert lines[2].split()[:2] == ["house/hall/lamp", "2"]


async def test_eyes_into_a_pipe_have_no_colours(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        eyes = await stage.subscriber(*stage.noctule("sub", "-t", "#", "--eyes", "-C", "2"))
        await stage.run(*stage.noctule("pub", "-t", "a", "-m", '{"b": [1, true]}'))
        await stage.run(*stage.noctule("pub", "-t", "a", "-m", "\x1b[31mred"))
        first, second, *_ = (await eyes.outcome()).stdout.decode().splitlines()
    assert first.split(maxsplit=1)[1] == 'a             {"b": [1, true]}'
    assert "\x1b" not in second


async def test_message_rate(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        rate = await stage.subscriber(*stage.noctule("sub", "-t", "t", "--message-rate", "-W", "8"))
        await stage.run(*stage.noctule("pub", "-t", "t", "-m", "x", "--repeat", "7"))
        outcome = await rate.outcome()
    assert sum(int(line) for line in outcome.stdout.splitlines()) == 7
    assert outcome.code == 27


async def test_remove_retained_ends_and_removes(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        for number in range(3):
            message = ("-t", f"t/{number}", "-m", "kept", "-r")
            await stage.run(*stage.noctule("pub", *message))
        removal = ("-t", "t/#", "--remove-retained", "-T", "t/1", "-C", "2", "-v")
        outcome = await stage.run(*stage.noctule("sub", *removal))
        assert outcome.code == 0
        assert sorted(outcome.stdout.splitlines()) == [b"t/0 kept", b"t/2 kept"]
        left = await stage.run(*stage.noctule("sub", "-t", "t/#", "-v", "-W", "1"))
        assert left.stdout == b"t/1 kept\n"


async def test_clean_up_ends_when_nothing_is_left(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        for number in range(3):
            message = ("-t", f"t/{number}", "-m", "kept", "-r")
            await stage.run(*stage.noctule("pub", *message))
        removal = stage.noctule("sub", "-t", "t/#", "--remove-retained", "-E", "-v")
        outcome = await stage.run(*removal)
        assert outcome.code == 0
        assert outcome.stdout.count(b"kept") == 3
        assert (await stage.run(*removal)).stdout == b""


async def test_random_filter_shows_a_share(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        share = ("-t", "t", "--random-filter", "50", "-C", "1000")
        sub = await stage.subscriber(*stage.noctule("sub", *share))
        await stage.run(*stage.noctule("pub", "-t", "t", "-m", "x", "--repeat", "1000"))
        shown = (await sub.outcome()).stdout.count(b"x")
    assert 350 < shown < 650


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_subscriber_ends_well_when_it_is_asked_to(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with Stage(tmp_path) as stage:
        will = ("--will-topic", "gone", "--will-payload", "x")
        witness = await stage.subscriber(*stage.noctule("sub", "-t", "gone", "-W", "2"))
        sub = await stage.subscriber(*stage.noctule("sub", "-t", "t", *will))
        sub.process.send_signal(number)
        assert (await sub.outcome()).code == 0
        assert (await witness.outcome()).stdout == b""  # It said goodbye: no will.


async def test_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        sub = await stage.subscriber("sh", "-c", " ".join(
            [*stage.noctule("sub", "-t", "t"), "| head -1"]
        ))  # fmt: skip
        lines = ("-t", "t", "-m", "x", "--repeat", "50", "--repeat-delay", "0.02")
        await stage.run(*stage.noctule("pub", *lines))
        outcome = await sub.outcome()
    assert (outcome.stdout, outcome.stderr) == (b"x\n", b"")


async def test_doctor_finds_all_well(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        outcome = await stage.run(*stage.noctule("doctor", "-h", "127.0.0.1"))
        as_json = await stage.run(*stage.noctule("doctor", "--json"))
    text = outcome.stdout.decode()
    assert outcome.code == 0, text
    for step in ("127.0.0.1 is an address", "MQTT 5.0", "QoS 2", "kept, delivered and removed"):
        assert step in text
    assert text.endswith("\nAll is well.\n")
    report = json.loads(as_json.stdout)
    assert report["ok"]
    assert {step["state"] for step in report["steps"]} == {"ok"}


async def test_doctor_tells_what_is_not_offered(tmp_path: Path) -> None:
    offers = {"maximum_qos": 1, "retain_available": False, "wildcard_subscription_available": False}
    async with Stage(tmp_path, protocol=offers) as stage:
        outcome = await stage.run(*stage.noctule("doctor"))
    text = outcome.stdout.decode()
    assert outcome.code == 0, text
    assert "! limits       not offered: QoS above 1, retained messages, wildcards" in text
    assert "! QoS 2        not offered" in text


async def test_doctor_says_where_there_is_no_broker(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        port = str(stage.port)
    outcome = await stage.run(*stage.noctule("doctor"), "-p", port)
    assert outcome.code == 1
    assert "✗ TCP" in outcome.stdout.decode()
    assert "→ is a broker running? `noctule serve` starts one" in outcome.stdout.decode()


async def test_top_looks_once(tmp_path: Path) -> None:
    async with Stage(tmp_path, system_topics_interval_seconds=1) as stage:
        sub = await stage.subscriber(*stage.noctule("sub", "-t", "$SYS/broker/uptime", "-C", "1"))
        await sub.outcome()  # From now on they are retained.
        numbers = json.loads((await stage.run(*stage.noctule("top", "--json"))).stdout)
        text = (await stage.run(*stage.noctule("top", "--once"))).stdout.decode()
    assert numbers["broker"].startswith("noctule")
    assert numbers["subscriptions"] >= 0
    assert set(numbers["per_second"]) >= {"messages_in", "messages_out", "dropped"}
    assert f"at localhost:{stage.port}" in text
    assert "subscriptions" in text


async def test_top_says_that_there_is_nothing_to_see(tmp_path: Path) -> None:
    async with Stage(tmp_path, system_topics_interval_seconds=0) as stage:
        outcome = await stage.run(*stage.noctule("top", "--once"))
    assert outcome.code == 1
    assert b"nothing is published below $SYS/broker/" in outcome.stderr
