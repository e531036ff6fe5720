"""`noctule store` on stores that no broker has."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from noctule.cli.app import noctule

LINES: list[dict[str, object]] = [
    {"type": "store", "format": 1},
    {"type": "session", "client": "c", "user": None, "expiry_seconds": 60, "offline_since_ms": 5},
    {
        "type": "queued",
        "client": "c",
        "qos": 1,
        "message": {"topic": "t", "qos": 1, "arrived_ms": 7, "payload_base64": "/wA="},
    },
    {"type": "retained", "message": {"topic": "r", "qos": 0, "arrived_ms": 8, "payload": "é"}},
]


def run(*arguments: str | Path, input: bytes | None = None) -> Result:  # noqa: A002
    return CliRunner().invoke(noctule, ["store", *map(str, arguments)], input=input)


def as_lines(*objects: object) -> bytes:
    return "".join(json.dumps(each) + "\n" for each in objects).encode()


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    result = run("import", path, input=as_lines(*LINES))
    assert result.exit_code == 0, result.output
    assert result.output == "1 sessions, 0 subscriptions, 1 queued and 1 retained messages.\n"
    return path


def test_export_of_an_import_imports_to_the_same(filled: Path, tmp_path: Path) -> None:
    exported = run("export", filled)
    assert exported.exit_code == 0, exported.output
    file = tmp_path / "lines.jsonl"
    assert run("export", filled, "-o", file).exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == exported.stdout
    assert run("import", tmp_path / "other", file).exit_code == 0
    assert run("export", tmp_path / "other").stdout == exported.stdout
    payloads = [json.loads(line).get("message") for line in exported.stdout.splitlines()]
    assert [each["payload_base64"] for each in payloads if each and "payload_base64" in each] == [
        "/wA="
    ]
    assert [each["payload"] for each in payloads if each and "payload" in each] == ["é"]


def test_stats_count_each_kind(filled: Path) -> None:
    counted = json.loads(run("stats", filled, "--json").output)
    records = {key: held["records"] for key, held in counted.items() if isinstance(held, dict)}
    assert records == {
        "sessions": 1,
        "subscriptions": 0,
        "queued_messages": 1,
        "in_flight": 0,
        "received": 0,
        "retained_messages": 1,
    }
    assert "1  retained messages" in run("stats", filled).output


def test_check_tells_sound_from_damaged(filled: Path, tmp_path: Path) -> None:
    assert run("check", filled).output.startswith("All is well: 3 records")
    [database] = filled.glob("log-*.db")
    content = bytearray(database.read_bytes())
    content[content.index(b"\xff\x00", content.index(b"NocR"))] ^= 1
    database.write_bytes(content)
    result = run("check", filled)
    assert result.exit_code == 1, result.output
    assert result.output.startswith("damaged: ")
    assert json.loads(run("check", filled, "--json").output)["damage"]
    copy = run("backup", filled, tmp_path / "copy")
    assert (copy.exit_code, "damaged: " in copy.output) == (1, True)
    exported = run("export", filled)
    assert exported.exit_code == 1
    assert "damaged, and lost: " in exported.stderr


def test_backup_is_a_store_and_overwrites_nothing(filled: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    result = run("backup", filled, copy)
    assert result.exit_code == 0, result.output
    assert copy.stat().st_mode & 0o777 == 0o700
    assert run("export", copy).stdout == run("export", filled).stdout
    again = run("backup", filled, copy)
    assert (again.exit_code, "is there already" in again.output) == (1, True)


def test_compact_keeps_everything(filled: Path) -> None:
    before = run("export", filled).stdout
    result = run("compact", filled, "--json")
    assert set(json.loads(result.output)) == {"bytes_before", "bytes_after"}
    assert run("export", filled).stdout == before


def test_wrong_line_is_named_and_nothing_comes_in(tmp_path: Path) -> None:
    path = tmp_path / "store"
    wrong = {**LINES[2], "client": "unknown"}
    result = run("import", path, input=as_lines(*LINES[:2], wrong))
    assert result.exit_code == 2
    assert 'line 3: there is no session of client "unknown" before it' in result.output
    assert len(run("export", path).stdout.splitlines()) == 1


def test_full_store_is_not_imported_into(filled: Path) -> None:
    result = run("import", filled, input=as_lines(*LINES))
    assert (result.exit_code, "is not empty" in result.output) == (2, True)


@pytest.mark.parametrize("command", ["check", "stats", "export", "compact"])
def test_what_is_no_store_is_said(command: str, tmp_path: Path) -> None:
    assert "there is no store here" in run(command, tmp_path).output
    result = run(command, tmp_path / "nowhere")
    assert (result.exit_code, "No such file" in result.output) == (2, True)
