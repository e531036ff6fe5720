"""`noctule acl check`: the broker's own matcher, asked from the command line."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from noctule.cli.app import noctule

RULES = """\
[access]
password_file = "users.pw"
acl_file = "FILE"

[[access.rules]]
permission = "deny"
filter = "secrets/#"

[[access.rules]]
actions = ["publish"]
filter = "own/%u/+"
maximum_qos = 1
retain = false

[[access.rules]]
groups = ["operators"]
filter = "plant/#"

[[access.rules]]
filter = "tenants/%{tenant}/#"

[[access.rules]]
clients = ["c1"]
actions = ["subscribe", "receive"]
filter = "by-client/%c"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "noctule.toml"
    acl = tmp_path / "acl"
    acl.write_text("user alice\ntopic read from-file/#\n")
    path.write_text(RULES.replace("FILE", str(acl)))
    return path


def run(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(noctule, ["acl", "check", "--config", str(file), *arguments])


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (("--user", "alice", "publish", "own/alice/x"), True),
        (("--user", "alice", "publish", "own/bob/x"), False),
        (("--user", "alice", "publish", "own/alice/x", "--qos", "2"), False),
        (("--user", "alice", "publish", "own/alice/x", "--retain"), False),
        (("publish", "own//x"), False),
        (("--user", "alice", "subscribe", "plant/#"), False),
        (("--user", "alice", "--group", "operators", "subscribe", "plant/#"), True),
        (("--group", "operators", "receive", "secrets/plans"), False),
        (("--client", "c1", "subscribe", "by-client/c1"), True),
        (("--client", "c2", "subscribe", "by-client/c2"), False),
        (("--user", "alice", "receive", "from-file/x"), True),
        (("--claim", "tenant=t1", "publish", "tenants/t1/x"), True),
        (("--claim", "tenant=t1", "publish", "tenants/t2/x"), False),
        (("--claim", "tenant=+", "publish", "tenants/t1/x"), False),
    ],
)
def test_answers(file: Path, arguments: tuple[str, ...], allowed: bool) -> None:
    result = run(file, *arguments)
    assert result.exit_code == (0 if allowed else 1), result.output
    assert result.output.startswith("yes: " if allowed else "no: ")


def test_deciding_rule_is_named(file: Path) -> None:
    result = run(file, "--user", "olga", "--json", "receive", "secrets/plans")
    answer = json.loads(result.output)
    assert answer["allowed"] is False
    assert "secrets/#" in answer["rule"]
    nothing = json.loads(run(file, "--json", "receive", "unheard/of").output)
    assert nothing == {"allowed": False, "rule": None}


@pytest.mark.parametrize(
    "arguments",
    [
        ("publish", "a/#"),
        ("subscribe", "a#"),
        ("eat", "a"),
        ("publish", ""),
        ("--claim", "x", "publish", "a"),
        ("--address", "nowhere", "publish", "a"),
    ],
)
def test_questions_without_sense(file: Path, arguments: tuple[str, ...]) -> None:
    assert run(file, *arguments).exit_code == 2


def test_wrong_configuration(file: Path) -> None:
    file.write_text("[[access.rules]]\nfilter = 'a/#/b'\n")
    result = run(file, "publish", "a")
    assert result.exit_code == 2
    assert "line 2" in result.output


def test_claim_that_cannot_be_bound_is_said(file: Path) -> None:
    file.write_text('[[access.rules]]\npermission = "deny"\nfilter = "%{tenant}/#"\n')
    result = run(file, "--claim", "tenant=%c", "publish", "a")
    assert result.exit_code == 1
    assert "the broker refuses such a client" in result.output
