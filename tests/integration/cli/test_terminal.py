"""Our commands in a pseudo-terminal: colours, pictures that move, prompts."""

import re
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pexpect
import pytest

import noctule.sync
from tests.integration.cli.stage import NOCTULE, environment
from tests.served_broker import ServedBroker

SECONDS = 60
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")

Spawn = Callable[..., Any]


@pytest.fixture(scope="module")
def broker() -> Iterator[ServedBroker]:
    with ServedBroker("--durability", "memory") as served:
        yield served


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Starts `noctule` in a terminal of 100 columns and 24 lines."""
    with ExitStack() as stack:

        def start(*arguments: str, **variables: str) -> Any:
            variables = {"TERM": "xterm-256color"} | variables
            program, *first = NOCTULE
            child = pexpect.spawn(
                program,
                [*first, *arguments],
                env=environment(tmp_path, **variables),
                dimensions=(24, 100),
                timeout=SECONDS,
            )
            stack.callback(child.close, force=True)
            return child

        yield start


def publish(port: int, *arguments: str) -> None:
    subprocess.run([*NOCTULE, "pub", "-p", str(port), *arguments], check=True, timeout=SECONDS)


def shown(spawn: Spawn, port: int, *arguments: str, **variables: str) -> bytes:
    """What `noctule sub` shows of a retained message, until it is told to end."""
    child = spawn("sub", "-p", str(port), *arguments, **variables)
    child.expect("(21.5|kept)[^\n]*\n")
    line: bytes = child.before + child.after
    child.sendintr()
    child.expect(pexpect.EOF)
    return line


def test_terminal_gets_colours_and_columns(broker: ServedBroker, spawn: Spawn) -> None:
    publish(broker.port, "-t", "eyes/temperature", "-m", '{"celsius": 21.5}', "-r")
    line = shown(spawn, broker.port, "-t", "eyes/#")
    assert b"\x1b[36meyes/temperature" in line
    assert b"\x1b[33m21.5\x1b[0m" in line
    plain = COLOUR.sub(b"", line).decode().split()
    assert plain == ["retained", "eyes/temperature", '{"celsius":', "21.5}"]


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours_where_nobody_wants_them(
    broker: ServedBroker, spawn: Spawn, variables: dict[str, str]
) -> None:
    publish(broker.port, "-t", "plain/t", "-m", "kept", "-r")
    assert b"\x1b" not in shown(spawn, broker.port, "-t", "plain/#", **variables)


@pytest.mark.parametrize(
    ("variables", "is_colourful"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_commands_of_click_know_about_colours_too(
    spawn: Spawn, variables: dict[str, str], is_colourful: bool
) -> None:
    child = spawn("topics", "lint", "a#", **variables)
    child.expect(pexpect.EOF)
    assert b"error" in child.before
    assert (b"\x1b" in child.before) == is_colourful


@pytest.mark.parametrize(
    ("arguments", "line"),
    [(("-v",), b"fingers/t kept\r\n"), (("--plain",), b"kept\r\n"), (("-F", "%p!"), b"kept!\r\n")],
)
def test_fingers_get_what_they_ask_for_in_a_terminal_too(
    broker: ServedBroker, spawn: Spawn, arguments: tuple[str, ...], line: bytes
) -> None:
    publish(broker.port, "-t", "fingers/t", "-m", "kept", "-r")
    assert shown(spawn, broker.port, "-t", "fingers/#", *arguments) == line


def test_nothing_that_a_terminal_would_obey_is_shown(broker: ServedBroker, spawn: Spawn) -> None:
    publish(broker.port, "-t", "evil/t", "-m", "\x1b]0;title\x07 kept", "-r")
    line = shown(spawn, broker.port, "-t", "evil/#")
    assert b"\x1b]0;" not in line
    assert b"\x07" not in line


def test_tree_moves_and_gives_the_terminal_back(broker: ServedBroker, spawn: Spawn) -> None:
    publish(broker.port, "-t", "tree/a/b", "-m", "first", "-r")
    child = spawn("sub", "-p", str(broker.port), "-t", "tree/#", "--tree")
    child.expect_exact("\x1b[?1049h")
    child.expect("tree/a/b.*first")
    publish(broker.port, "-t", "tree/a/c", "-m", "second")
    child.expect("├ b.*└ c.*second".encode())
    child.sendintr()
    child.expect_exact("\x1b[?25h\x1b[?1049l")
    child.expect("2 messages")  # The last picture stays.
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_watch_keeps_a_line_for_each_topic(broker: ServedBroker, spawn: Spawn) -> None:
    publish(broker.port, "-t", "watch/a", "-m", "first", "-r")
    child = spawn("sub", "-p", str(broker.port), "-t", "watch/#", "-w")
    child.expect_exact("\x1b[?1049h")
    child.expect("retained .*watch/a.*first")
    publish(broker.port, "-t", "watch/b", "-m", "other")
    publish(broker.port, "-t", "watch/a", "-m", "second")
    child.expect("watch/a.*second.*\r\n.*watch/b.*other")
    child.sendintr()
    child.expect_exact("\x1b[?25h\x1b[?1049l")
    child.expect(pexpect.EOF)
    lines = COLOUR.sub(b"", child.before).decode().split("\r\n")
    assert [line.split()[1:] for line in lines if line] == [
        ["watch/a", "second"],
        ["watch/b", "other"],
    ]


def test_watch_shows_the_form_that_was_asked_for(broker: ServedBroker, spawn: Spawn) -> None:
    publish(broker.port, "-t", "formed/a", "-m", "kept", "-r")
    child = spawn("sub", "-p", str(broker.port), "-t", "formed/#", "-w", "-F", "<%t|%p>")
    child.expect_exact("<formed/a|kept>")
    child.sendintr()
    child.expect(pexpect.EOF)


def test_narrow_terminal_leaves_room_for_the_payload(broker: ServedBroker, spawn: Spawn) -> None:
    publish(broker.port, "-t", "narrow/" + "x" * 60, "-m", "1", "-r")
    publish(broker.port, "-t", "narrow/y", "-m", "kept", "-r")
    publish(broker.port, "-t", "narrow/b", "-m", "\x01" * 40, "-r")
    child = spawn("sub", "-p", str(broker.port), "-t", "narrow/#", COLUMNS="60")
    child.expect("narrow/y[^\n]*kept\r\n")
    child.sendintr()
    child.expect(pexpect.EOF)
    lines = COLOUR.sub(b"", child.before + child.after if child.after is bytes else child.before)
    assert all(len(line.decode()) <= 60 for line in lines.split(b"\r\n") if b"xxx" not in line)


def test_top_moves(broker: ServedBroker, spawn: Spawn) -> None:
    child = spawn("top", "-p", str(broker.port), "-W", "60")
    child.expect_exact("\x1b[?1049h")
    for _ in range(2):
        publish(broker.port, "-t", "busy/topic", "-m", "x", "--repeat", "50")
    child.expect("busy/topic")
    child.sendintr()
    child.expect_exact("\x1b[?1049l")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_top_names_a_subscriber_that_takes_nothing(spawn: Spawn, tmp_path: Path) -> None:
    file = tmp_path / "noctule.toml"
    file.write_text("system_topics_interval_seconds = 1\n")
    with (
        ServedBroker("--durability", "memory", "--config", str(file)) as served,
        socket.create_connection(("127.0.0.1", served.port)) as stalled,
    ):
        name = b"stalled-one"
        connect = b"\x00\x04MQTT\x04\x02\x00\x00" + len(name).to_bytes(2) + name
        stalled.sendall(b"\x10" + bytes([len(connect)]) + connect)
        assert stalled.recv(4) == b"\x20\x02\x00\x00"
        stalled.sendall(b"\x82\x09\x00\x01\x00\x04much\x00")
        assert stalled.recv(5) == b"\x90\x03\x00\x01\x00"
        child = spawn("top", "-p", str(served.port), "-W", "60", "--no-topics")
        child.expect("No client is slow")
        with noctule.sync.connect(f"mqtt://127.0.0.1:{served.port}") as publisher:
            for _ in range(200):
                publisher.publish("much", bytes(200_000), qos=1)
        child.expect("slow .*stalled-one: [0-9.]+ [kM]B wait")


def test_replay_shows_a_bar(broker: ServedBroker, spawn: Spawn, tmp_path: Path) -> None:
    file = tmp_path / "recording"
    line = '{{"time": {}, "topic": "replay", "payload": "x"}}\n'
    file.write_text("".join(line.format(number / 10) for number in range(10)))
    child = spawn("replay", "-p", str(broker.port), str(file))
    child.expect("replay .*━.*%.* of 10".encode())
    child.expect("10 messages in")
    child.expect(pexpect.EOF)
    piped = subprocess.run(
        [*NOCTULE, "replay", "-p", str(broker.port), str(file), "--speed", "0"],
        check=True, capture_output=True, timeout=SECONDS,
    )  # fmt: skip
    assert piped.stderr == b""


def test_retained_clean_up_counts(broker: ServedBroker, spawn: Spawn) -> None:
    for number in range(3):
        publish(broker.port, "-t", f"clean/{number}", "-m", "x", "-r")
    child = spawn(
        "sub", "-p", str(broker.port), "-t", "clean/#", "--remove-retained", "-E", "--plain",
    )  # fmt: skip
    child.expect("1 removed .*3 removed ")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_bench_shows_how_far_it_is(broker: ServedBroker, spawn: Spawn) -> None:
    child = spawn("bench", "-p", str(broker.port), "--duration", "2", "--rate", "200")
    child.expect("running .*━.*/s".encode())
    child.expect("latency p99")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_interrupt_ends_a_publisher_with_130(broker: ServedBroker, spawn: Spawn) -> None:
    child = spawn("pub", "-p", str(broker.port), "-t", "t", "-l", "-d")
    child.expect("CONNACK")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130


def test_password_is_asked_for(spawn: Spawn) -> None:
    child = spawn("pub", "-p", "1", "-u", "alice", "--ask-password", "-t", "t", "-m", "x")
    child.expect_exact("Password of alice at localhost: ")
    child.sendline("secret")
    child.expect("connection refused")
    assert b"secret" not in child.before
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1


def test_passwd_asks_twice(spawn: Spawn, tmp_path: Path) -> None:
    file = tmp_path / "users.pw"
    child = spawn("passwd", "--create", str(file), "alice")
    child.expect("Password of alice: ")
    child.sendline("secret")
    child.expect("Repeat for confirmation: ")
    child.sendline("another")
    child.expect("do not match")
    for _ in range(2):
        child.expect(": ")
        child.sendline("secret")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert file.read_text().startswith("alice:$argon2id$v=19$")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    verified = subprocess.run(
        [sys.executable, "-m", "noctule", "passwd", "--verify", "--stdin", str(file), "alice"],
        input=b"secret\n", check=False, capture_output=True, timeout=SECONDS,
    )  # fmt: skip
    assert verified.returncode == 0
