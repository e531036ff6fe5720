"""mosquitto.conf → noctule.toml: what is taken, and that nothing is dropped in silence."""

import json
import re
import shutil
import socket
import stat
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from noctule.cli.app import noctule
from noctule.cli.mosquitto.directives import Directive, DirectiveError, read_directives
from noctule.cli.mosquitto.move import Move
from noctule.cli.mosquitto.translation import Translation, translate
from noctule.config import load_options


def translated(*lines: str) -> Translation:
    pairs = [line.partition(" ") for line in lines]
    return translate(
        Directive(Path("m.conf"), number, name, value)
        for number, (name, _, value) in enumerate(pairs, 1)
    )


def places(translation: Translation) -> list[tuple[str, str, int]]:
    """Scheme, host and port of each listener, IPv6 left out: not every machine has it."""
    return [
        (listener["scheme"], listener["host"], listener["port"])
        for listener in translation.listeners
        if listener["host"] not in ("::", "::1")
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), [("mqtt", "127.0.0.1", 1883)]),
        (("port 1884",), [("mqtt", "0.0.0.0", 1884)]),
        (("port 1884", "bind_address 127.0.0.1"), [("mqtt", "127.0.0.1", 1884)]),
        (("listener 1885 127.0.0.1",), [("mqtt", "127.0.0.1", 1885)]),
        (
            ("port 1", "listener 2", "protocol websockets", "listener 3 localhost"),
            [("mqtt", "0.0.0.0", 1), ("ws", "0.0.0.0", 2), ("mqtt", "localhost", 3)],
        ),
        (
            ("listener 4", "certfile c", "keyfile k", "protocol websockets"),
            [("wss", "0.0.0.0", 4)],
        ),
        (("listener 5", "socket_domain ipv4"), [("mqtt", "0.0.0.0", 5)]),
        (("listener 5", "socket_domain ipv6"), []),
    ],
)
def test_listeners(lines: tuple[str, ...], expected: list[tuple[str, str, int]]) -> None:
    assert places(translated(*lines)) == expected


def test_unix_socket() -> None:
    (listener,) = translated("listener 0 /run/m.sock", "allow_anonymous true").listeners
    assert listener == {"scheme": "unix", "path": "/run/m.sock", "allow_anonymous": True}


def test_listeners_of_mosquitto_2_1() -> None:
    lines = ("listener 1 h", "protocol websockets", "listener_allow_anonymous true")
    origins = ("websockets_origin https://a", "websockets_origin https://b")
    (listener,) = translated(*lines, *origins).listeners
    assert listener["allow_anonymous"]
    assert listener["origins"] == ["https://a", "https://b"]


def test_policies_of_listeners() -> None:
    first = ("listener 1 h", "max_qos 1", "mount_point tenants/a/", "max_connections 7")
    one, two = translated(*first, "listener 2 h").listeners
    assert (one["maximum_qos"], one["topic_prefix"], one["max_connections"]) == (1, "tenants/a/", 7)
    assert not {"maximum_qos", "topic_prefix", "max_connections"} & two.keys()


def test_whole_subjects_as_user_names() -> None:
    translation = translated("listener 1 h", "use_subject_as_username true")
    assert translation.options["access"] == {"peer_names": True, "certificate_name": "subject"}


def test_certificates_of_clients() -> None:
    lines = ["listener 1 h", "certfile /c", "keyfile /k", "cafile /a", "crlfile /r"]
    (listener,) = translated(*lines).listeners
    # Clients are not asked for a certificate, but the server's chain may need it.
    assert listener["tls_chain"] == "/a"
    assert not {"client_ca", "client_certificates", "crl"} & listener.keys()
    lines += ["require_certificate true", "use_identity_as_username true"]
    translation = translated(*lines)
    (listener,) = translation.listeners
    assert listener["client_certificates"] == "required"
    assert (listener["client_ca"], listener["crl"]) == ("/a", "/r")
    assert translation.options["access"] == {"peer_names": True}
    assert not translation.needs_users


@pytest.mark.parametrize(
    ("lines", "anonymous", "needs_users"),
    [
        ((), True, False),
        (("listener 1 h",), False, True),
        (("listener 1 h", "allow_anonymous true"), True, False),
        (("allow_anonymous true", "listener 1 h"), True, False),
        (("listener 1 h", "password_file /p"), False, False),
        (("listener 1 h", "password_file /p", "allow_anonymous true"), True, False),
        (("allow_anonymous false",), False, True),
    ],
)
def test_nobody_is_let_in_who_was_not(
    lines: tuple[str, ...], anonymous: bool, needs_users: bool
) -> None:
    translation = translated(*lines)
    assert translation.needs_users == needs_users
    assert {each.get("allow_anonymous", False) for each in translation.listeners} == {anonymous}


def test_settings_of_each_listener() -> None:
    translation = translated(
        *("per_listener_settings true", "listener 1 h", "allow_anonymous true"),
        *("password_file /p", "listener 2 h", "password_file /q"),
    )
    assert [each.get("allow_anonymous", False) for each in translation.listeners] == [True, False]
    assert translation.password_file == Path("/p")
    (missing,) = [each for each in translation.outcomes if each.kind == "missing"]
    assert missing.directive is not None
    assert missing.directive.text == "password_file /q"


@pytest.mark.parametrize(
    ("line", "section", "key", "value"),
    [
        ("max_queued_messages 0", "limits", "max_queued_messages", 0xFFFF_FFFF),
        ("max_queued_bytes 5", "limits", "max_queued_bytes", 5),
        ("max_packet_size 2000", "limits", "max_packet_bytes", 2000),
        ("message_size_limit 2000", "limits", "max_packet_bytes", 68_000),
        ("message_size_limit 0", "limits", "max_packet_bytes", 268_435_460),
        ("max_keepalive 100", "limits", "max_keep_alive_seconds", 100),
        ("memory_limit 1000000", "limits", "max_memory_bytes", 1_000_000),
        ("persistent_client_expiration 2w", "limits", "max_session_expiry_seconds", 1_209_600),
        ("queue_qos0_messages true", "limits", "queue_qos0", True),
        ("max_topic_alias 7", "limits", "topic_alias_maximum", 7),
        ("retain_available false", "protocol", "retain_available", False),
        ("allow_zero_length_clientid false", "protocol", "allow_empty_client_identifier", False),
        ("sys_interval 30", "", "system_topics_interval_seconds", 30),
    ],
)
def test_options(line: str, section: str, key: str, value: object) -> None:
    translation = translated(line)
    assert translation.options[section] == {key: value}
    assert [each.kind for each in translation.outcomes] == ["taken"]


@pytest.mark.parametrize(("said", "number"), [("0", 65_535), ("30", 30)])
def test_messages_in_flight_are_bounded_both_ways(said: str, number: int) -> None:
    limits = translated(f"max_inflight_messages {said}").options["limits"]
    assert limits == {"max_inflight_messages": number, "receive_maximum": number}


@pytest.mark.parametrize("name", ["max_qos", "maximum_qos"])
def test_the_highest_qos_has_two_names(name: str) -> None:
    (listener,) = translated("listener 1 h", f"{name} 1").listeners
    assert listener["maximum_qos"] == 1


@pytest.mark.parametrize(
    "line",
    [
        "max_queued_messages many",
        "persistence perhaps",
        "persistent_client_expiration 3 moons",
        "tls_version tlsv1.1",
        "mount_point tenants",
        "max_qos 3",
        "plugin /usr/lib/mosquitto_dynamic_security.so",
        "auth_opt_host localhost",
        "frobnicate yes",
        "protocol amqp",
        "connection up",
        "bridge_cafile x",
    ],
)
def test_what_cannot_be_taken_is_named(line: str) -> None:
    (outcome,) = translated(line).outcomes
    assert outcome.kind == "missing"
    assert outcome.directive is not None
    assert (outcome.directive.place, outcome.directive.text) == ("m.conf:1", line)
    assert outcome.text


def test_secrets_are_not_shown() -> None:
    translation = translated("connection up", "remote_password s3cret", "bridge_psk s3cret")
    texts = [each.directive.text for each in translation.outcomes if each.directive]
    assert "s3cret" not in str(texts)


@pytest.mark.skipif(shutil.which("man") is None, reason="there are no manual pages")
def test_every_directive_of_the_manual_page_is_known() -> None:
    """Debian's mosquitto.conf(5); the broker's own directives and those of bridges."""
    page = subprocess.run(
        ["man", "-P", "cat", "mosquitto.conf"], check=False, capture_output=True, encoding="utf-8"
    ).stdout
    if not page:
        pytest.skip("mosquitto.conf(5) is not installed")
    names = set(re.findall(r"^ {7}([a-z_0-9.]+)(?: [\[a-z(].*)?$", re.sub(".\b", "", page), re.M))
    names = {name for name in names if "_" in name} | {"listener", "persistence"}
    names.discard("include_dir")  # It is followed when the file is read.
    assert len(names) > 80
    unknown = [
        name
        for name in sorted(names)
        for outcome in translated("connection b", f"{name} 1").outcomes
        if "knows nothing" in outcome.text
    ]
    assert unknown == []


def test_included_files_stand_where_they_are_included(tmp_path: Path) -> None:
    included = tmp_path / "conf.d"
    included.mkdir()
    (included / "b.conf").write_text("port 2\n")
    (included / "a.conf").write_text("# comment\n\n  port   1\n")
    (included / "a.conf.off").write_text("port 3\n")
    main = tmp_path / "m.conf"
    main.write_text(f"user x\ninclude_dir {included}\npid_file /a # b\n")
    assert [(d.place, d.name, d.value) for d in read_directives(main)] == [
        ("m.conf:1", "user", "x"),
        ("a.conf:3", "port", "1"),
        ("b.conf:1", "port", "2"),
        ("m.conf:3", "pid_file", "/a # b"),
    ]
    (included / "c.conf").write_text(f"include_dir {included}\n")
    with pytest.raises(DirectiveError, match="circles"):
        list(read_directives(main))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(noctule, ["import", "mosquitto", *arguments])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A configuration with users and rules."""
    (tmp_path / "users").write_text("alice:$7$1$c2FsdA==$" + "A" * 86 + "==\nbob:plain\n")
    (tmp_path / "acl").write_text("user alice\ntopic a/#\n")
    file = tmp_path / "mosquitto.conf"
    file.write_text(
        "listener 1883 127.0.0.1\nmax_queued_messages 10\n"
        f"password_file {tmp_path}/users\nacl_file {tmp_path}/acl\nlog_type all\n"
    )
    return file


def test_files_are_written_and_the_broker_takes_them(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    result = run(str(source), "--to", str(target))
    assert result.exit_code == 0, result.output
    assert "users:2: the password of bob is not hashed" in result.output
    assert re.search(r"mosquitto.conf:5 +log_type all +→", result.output)
    options = load_options(target / "noctule.toml", {}, {})
    assert options.limits.max_queued_messages == 10
    assert options.durability == "memory"
    assert options.access.password_file == target / "users.pw"
    assert options.access.acl_file == target / "acl"
    assert (target / "users.pw").read_text() == (tmp_path / "users").read_text().splitlines()[
        0
    ] + "\n"
    for name in ("noctule.toml", "users.pw", "acl"):
        assert stat.S_IMODE((target / name).stat().st_mode) == 0o600
    assert "#   mosquitto.conf:5: log_type all" in (target / "noctule.toml").read_text()


def test_names_that_nobody_proves_are_not_kept(tmp_path: Path) -> None:
    """Rules without users: here such a client has no name, so its session must have none."""
    client = struct.pack("<q", 0) + struct.pack(">IHHHH4x", 60, 1, 2, 0, 5) + b"mealice"
    (tmp_path / "mosquitto.db").write_bytes(
        b"\0\xb5\0mosquitto db" + struct.pack(">II", 0, 6) + struct.pack(">II", 6, 31) + client
    )
    (tmp_path / "acl").write_text("topic a/#\nuser alice\ntopic b/#\n")
    file = tmp_path / "m.conf"
    base = f"persistence true\npersistence_location {tmp_path}\nallow_anonymous true\n"
    for lines, user, is_told in (
        ("", "alice", False),
        (f"acl_file {tmp_path}/acl\n", None, True),
    ):
        file.write_text(base + lines)
        move = Move(file, tmp_path / "new")
        assert move.state is not None
        assert [session.user_name for session in move.state.sessions.values()] == [user]
        assert any("nobody proves a name" in problem for problem in move.problems) == is_told


def test_dry_run_writes_nothing(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    result = run(str(source), "--to", str(target), "--dry-run", "--json")
    assert result.exit_code == 0
    report: dict[str, Any] = json.loads(result.stdout)
    assert report["written"] == []
    assert report["directives"][4] == {
        "file": str(source),
        "line": 5,
        "directive": "log_type all",
        "outcome": "missing",
        "text": report["directives"][4]["text"],
    }
    assert not target.exists()


def test_nothing_is_written_over(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    target.mkdir()
    (target / "users.pw").write_text("mine")
    result = run(str(source), "--to", str(target))
    assert result.exit_code == 1
    assert "is there already" in result.output
    assert [path.name for path in target.iterdir()] == ["users.pw"]


def test_broker_that_still_runs_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "mosquitto.db").write_bytes(b"\0\xb5\0mosquitto db\0\0\0\0\0\0\0\6")
    file = tmp_path / "m.conf"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        lines = f"listener {port} 127.0.0.1\npersistence true\npersistence_location {tmp_path}\n"
        file.write_text(lines)
        running = run(str(file), "--dry-run")
    stopped = run(str(file), "--dry-run")
    assert f"something answers at port {port}" in running.output
    assert "something answers" not in stopped.output


def test_long_reports_are_wrapped(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = run(str(source), "--dry-run").output.splitlines()
    assert any(line.strip().startswith("→ what the broker says") for line in lines)
    assert max(len(line) for line in lines if "→" in line and str(source.parent) not in line) <= 60


def test_broken_rules_and_certificates_are_told(source: Path, tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic sometimes a b\nnonsense\n")
    result = run(str(source), "--to", str(tmp_path / "new"))
    assert result.exit_code == 0
    assert "line 2" in result.output
    source.write_text("listener 1 127.0.0.1\ncertfile /no/c\nkeyfile /no/k\nallow_anonymous true\n")
    result = run(str(source), "--to", str(tmp_path / "other"))
    assert "the broker would not start" in result.output
    assert "/no/c" in result.output


@pytest.mark.parametrize("text", ["password_file /nowhere\n", "acl_file /nowhere\n"])
def test_what_cannot_be_read_stops_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "m.conf"
    file.write_text(text)
    result = run(str(file), "--to", str(tmp_path / "new"))
    assert result.exit_code == 1
    assert "/nowhere cannot be read" in result.output
    assert not (tmp_path / "new").exists()
