"""`noctule bans`, with no broker that would take what it leaves."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from noctule.broker.ban_requests import BanRequest, BanRequests
from noctule.cli.app import noctule


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "noctule.toml"
    path.write_text(f'data_dir = "{tmp_path / "data"}"\n')
    return path


def run(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(noctule, ["bans", "-c", str(file), *arguments])


def test_bans_are_listed_before_a_broker_has_taken_them(file: Path, tmp_path: Path) -> None:
    assert run(file, "list").output == ""
    assert run(file, "add", "--client", "c 1", "--reason", "a test").exit_code == 0
    assert run(file, "add", "--user", "bob", "--seconds", "60").exit_code == 0
    assert run(file, "add", "--address", "10.0.0.0/8").exit_code == 0
    found = json.loads(run(file, "list", "--json").output)
    assert [(each["kind"], each["value"]) for each in found] == [
        ("client", "c 1"), ("user", "bob"), ("address", "10.0.0.0/8"),
    ]  # fmt: skip
    assert 50 < found[1]["until"] - time.time() < 61
    assert run(file, "list").output.startswith("client c 1 until ever: a test\n")
    assert run(file, "remove", "--client", "c 1").exit_code == 0
    assert run(file, "remove", "--client", "c 1").exit_code == 1
    assert "c 1" not in run(file, "list").output
    requests = tmp_path / "data" / "bans.requests"
    assert requests.stat().st_mode & 0o777 == 0o600


def test_what_the_broker_has_written_is_in_the_list(file: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    written = [
        {"kind": "user", "value": "eve", "until": None, "reason": ""},
        {"kind": "client", "value": "over", "until": 1, "reason": ""},
    ]
    (tmp_path / "data" / "bans.json").write_text(json.dumps(written))
    assert run(file, "list").output == "user eve until ever\n"
    assert run(file, "remove", "--user", "eve").exit_code == 0
    assert run(file, "list").output == ""
    (tmp_path / "data" / "bans.json").write_text("no JSON")
    assert run(file, "list").exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("add",),
        ("add", "--client", "a", "--user", "b"),
        ("add", "--address", "localhost"),
        ("add", "--address", "10.0.0.1/8"),
        ("add", "--client", "a", "--seconds", "0"),
    ],
)
def test_wrong_bans_are_refused(file: Path, arguments: tuple[str, ...]) -> None:
    assert run(file, *arguments).exit_code == 2
    assert run(file, "list").output == ""


def test_without_data_dir_there_is_nowhere_to_keep_them(tmp_path: Path) -> None:
    empty = tmp_path / "noctule.toml"
    empty.write_text("")
    result = run(empty, "add", "--client", "a")
    assert result.exit_code == 2
    assert "data_dir" in result.output


def test_each_request_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = BanRequests(tmp_path)
    taken: list[str] = []
    requests.take(lambda request: taken.append(request.value))
    for value in ("a", "b"):
        requests.leave(BanRequest("ban", "client", value))
    with (tmp_path / "bans.requests").open("a") as file:
        file.write('half a line\n{"what": 1}\n')
    requests.leave(BanRequest("unban", "client", "c"))
    requests.take(lambda request: taken.append(request.value))
    requests.take(lambda request: taken.append(request.value))
    assert taken == ["a", "b", "c"]
    # Still to be seen until the engine has written down what came of them.
    assert len(requests.waiting()) == 3
    monkeypatch.setattr("noctule.broker.ban_requests.KEPT_SECONDS", 0.0)
    requests.take(lambda request: taken.append(request.value))
    assert requests.waiting() == []
    requests.leave(BanRequest("ban", "client", "d"))
    requests.take(lambda request: taken.append(request.value))
    assert taken == ["a", "b", "c", "d"]
    assert not list(tmp_path.iterdir())
