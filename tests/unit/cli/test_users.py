"""`noctule users`: the directory, edited from the command line."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from noctule.cli.app import noctule


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from argon2 import PasswordHasher

    cheap = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
    monkeypatch.setattr("noctule.access.directory.PasswordHasher", lambda: cheap)
    path = tmp_path / "noctule.toml"
    path.write_text(f'data_dir = "{tmp_path / "data"}"\naccess = {{ directory = true }}\n')
    return path


def run(file: Path, *arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(noctule, ["users", "-c", str(file), *arguments], input=text)


def test_users_are_made_and_changed(file: Path) -> None:
    assert run(file, "add", "alice", "--group", "staff", text="secret\n").exit_code == 0
    assert run(file, "add", "bob", "--no-password").exit_code == 0
    assert run(file, "group", "night", "alice").exit_code == 0
    assert run(file, "group", "staff", "alice", "--out").exit_code == 0
    assert run(file, "disable", "bob").exit_code == 0
    assert run(file, "list").output == "alice night\nbob (disabled) (no password)\n"
    assert run(file, "enable", "bob").exit_code == 0
    assert run(file, "password", "bob", text="word\n").exit_code == 0
    assert json.loads(run(file, "list", "--json").output)[1] == {
        "name": "bob", "enabled": True, "has_password": True, "groups": [],
    }  # fmt: skip
    assert run(file, "delete", "alice").exit_code == 0
    assert run(file, "list").output == "bob\n"
    assert "secret" not in (file.parent / "data" / "access.sqlite").read_bytes().decode("latin-1")


def test_rules_are_replaced_and_checked(file: Path) -> None:
    rules = [{"permission": "deny", "filter": "b"}, {"filter": "a/%u", "groups": ["staff"]}]
    assert run(file, "rules", text=json.dumps(rules)).exit_code == 0
    for wrong in ('[{"filter": "a/#/b"}]', "{}", "no JSON", '[{"filtre": "a"}]'):
        assert run(file, "rules", text=wrong).exit_code == 1
    assert json.loads(run(file, "rules", "--show").output) == rules
    run(file, "add", "al", "--group", "staff", "--no-password")
    asked = ["acl", "check", "-c", str(file), "--user", "al", "publish"]
    assert CliRunner().invoke(noctule, [*asked, "a/al"]).exit_code == 0
    answer = CliRunner().invoke(noctule, [*asked, "b"])
    assert answer.exit_code == 1
    assert "deny b" in answer.output


@pytest.mark.parametrize(
    "arguments", [("delete", "eve"), ("enable", "eve"), ("group", "g", "eve"), ("password", "eve")]
)
def test_user_who_is_not_there_is_an_error(file: Path, arguments: tuple[str, ...]) -> None:
    result = run(file, *arguments, text="word\n")
    assert result.exit_code == 1
    assert "no user 'eve'" in result.output


def test_configuration_without_directory_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "noctule.toml"
    path.write_text("")
    assert run(path, "list").exit_code == 2
    path.write_text("access = { directory = true }\n")
    assert "data_dir is not set" in run(path, "list").output
