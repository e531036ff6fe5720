"""`noctule passwd` with pipes; test_terminal.py has the prompts."""

import hashlib
import json
import os
import stat
from base64 import b64encode
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner, Result

from noctule.cli.app import noctule


def run(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(noctule, ["passwd", *arguments], input=text)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "users.pw"
    assert run("--create", str(path), "alice", text="secret\n").exit_code == 0
    return path


def test_file_is_its_owners_alone_and_holds_argon2id(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    user, _, digest = file.read_text().strip().partition(":")
    assert user == "alice"
    assert digest.startswith("$argon2id$")
    assert PasswordHasher().verify(digest, "secret")


def test_users_are_added_changed_and_deleted(file: Path) -> None:
    assert run(str(file), "bob", text="b\n").exit_code == 0
    assert run(str(file), "alice", text="new\n").exit_code == 0
    assert run("--list", str(file)).output == "alice\nbob\n"
    assert json.loads(run("--list", "--json", str(file)).output) == ["alice", "bob"]
    right = run("--verify", "--json", str(file), "bob", text="b\n")
    assert json.loads(right.output) == {"right": True}
    assert run("--verify", str(file), "alice", text="new\n").exit_code == 0
    assert run("--verify", str(file), "alice", text="secret\n").exit_code == 1
    assert run("--verify", str(file), "nobody", text="secret\n").exit_code == 1
    assert run("--delete", str(file), "alice").exit_code == 0
    assert run("--list", str(file)).output == "bob\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_batch_is_all_or_nothing(file: Path) -> None:
    before = file.read_text()
    wrong = run("--batch", str(file), text="carol:c\nnonsense\n")
    assert wrong.exit_code == 1
    assert "Line 2" in wrong.output
    assert file.read_text() == before
    assert run("--batch", str(file), text="carol:with:colon\n\ndave:d\n").exit_code == 0
    assert run("--list", str(file)).output == "alice\ncarol\ndave\n"
    assert run("--verify", str(file), "carol", text="with:colon\n").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        (("FILE", ""), "x\n", "cannot be a user"),
        (("FILE", "a:b"), "x\n", "cannot be a user"),
        (("FILE", "#a"), "x\n", "cannot be a user"),
        (("FILE", "bob"), "\n", "empty"),
        (("--create", "FILE", "bob"), "x\n", "there already"),
        (("FILE.no", "bob"), "x\n", "--create makes it"),
        (("--delete", "FILE", "bob"), "", "no user bob"),
        (("FILE",), "", "Give a USER"),
        (("--batch", "FILE", "bob"), "", "take no USER"),
        (("--batch", "--delete", "FILE"), "", "at a time"),
    ],
)
def test_what_cannot_be_done(file: Path, arguments: tuple[str, ...], text: str, said: str) -> None:
    before = file.read_text()
    result = run(*(argument.replace("FILE", str(file)) for argument in arguments), text=text)
    assert result.exit_code in (1, 2)
    assert said in result.output
    assert file.read_text() == before


def test_broken_file_is_left_alone(file: Path) -> None:
    file.write_text("# comment\nalice:plain\n")
    result = run(str(file), "bob", text="x\n")
    assert result.exit_code == 1
    assert "line 2" in result.output
    assert file.read_text() == "# comment\nalice:plain\n"


def test_users_of_mosquitto_are_known_until_their_password_changes(file: Path) -> None:
    salt, digest = b64encode(b"salt").decode(), hashlib.pbkdf2_hmac("sha512", b"tiger", b"salt", 2)
    line = f"bob:$7$2${salt}${b64encode(digest).decode()}\n"
    file.write_text(file.read_text() + line)
    assert run("--verify", str(file), "bob", text="tiger\n").exit_code == 0
    assert run("--verify", str(file), "bob", text="lion\n").exit_code == 1
    assert run(str(file), "alice", text="new\n").exit_code == 0
    assert line in file.read_text()
    assert run(str(file), "bob", text="lion\n").exit_code == 0
    assert "bob:$argon2id$" in file.read_text()


def test_nothing_else_is_left_in_the_directory(file: Path) -> None:
    assert os.listdir(file.parent) == [file.name]
