"""The commands, as far as they go without a broker."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import noctule
from noctule.cli.app import COMMANDS
from noctule.cli.app import noctule as command
from noctule.cli.reference import command_reference
from noctule.config import default_configuration

# What takes long to import, and which `noctule --help` must do without.
HEAVY = {"asyncio", "pydantic", "noctule.broker", "noctule._engine", "noctule.config"}


def run(*arguments: str, environment: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(command, arguments, env=environment)


def test_help_lists_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name, (_, summary) in COMMANDS.items():
        assert name in result.stdout
        assert summary.split()[0] in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"noctule {name}" in result.stdout


def test_unknown_command_is_refused() -> None:
    assert run("serv").exit_code == 2


def test_version_is_the_package_version() -> None:
    assert run("version").stdout == f"{noctule.__version__}\n"


def test_config_prints_the_default() -> None:
    assert run("config").stdout == default_configuration()


def test_check_accepts_what_config_prints(tmp_path: Path) -> None:
    file = tmp_path / "noctule.toml"
    file.write_text(run("config").stdout, encoding="utf-8")
    result = run("serve", "--config", str(file), "--check")
    assert (result.exit_code, result.stdout) == (0, "The configuration is right.\n")


def test_check_refuses_and_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "noctule.toml"
    file.write_text("workers = 1\nwrokers = 1\n", encoding="utf-8")
    result = run("serve", "--config", str(file), "--check")
    assert result.exit_code == 2
    assert f"{file}, line 2: there is no option wrokers" in result.stderr


def test_programs_get_json(tmp_path: Path) -> None:
    assert json.loads(run("version", "--json").output) == {"version": noctule.__version__}
    defaults = json.loads(run("config", "--json").output)
    assert defaults["limits"]["receive_maximum"] == 1024
    right = run("serve", "--check", "--json")
    assert json.loads(right.stdout) == {"right": True, "problem": None}
    file = tmp_path / "noctule.toml"
    file.write_text("worker = 2\n")
    wrong = run("serve", "--check", "--json", "--config", str(file))
    assert wrong.exit_code == 2
    assert "line 1" in json.loads(wrong.stdout)["problem"]
    assert run("serve", "--json").exit_code == 2


def test_check_reads_the_environment() -> None:
    result = run("serve", "--check", environment={"NOCTULE__WORKERS": "many"})
    assert result.exit_code == 2
    assert "environment variable NOCTULE__WORKERS" in result.stderr


def test_serve_refuses_a_listener_open_to_other_machines() -> None:
    result = run("serve", "--listen", "mqtt://0.0.0.0:0")
    assert result.exit_code == 2
    assert "no authentication is set up" in result.stderr


def test_reference_has_every_option() -> None:
    page = command_reference()
    for option in ("--config", "--check", "--listen", "--data-dir", "--durability", "--workers"):
        assert option in page


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from noctule.cli.app import noctule\n"
        "noctule(['--help'], standalone_mode=False)\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, encoding="utf-8"
    )
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert not loaded & HEAVY


def test_client_needs_no_package_but_this_one() -> None:
    script = "import sys, noctule; noctule.connect; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, encoding="utf-8"
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"click", "pydantic", "websockets", "python_socks", "scramp"}
    assert "noctule._engine" not in done.stdout.split()


def test_package_imports_nothing_heavy() -> None:
    script = "import sys, noctule; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, encoding="utf-8"
    )
    loaded = set(done.stdout.split())
    assert not loaded & (HEAVY | {"click", "importlib.metadata"})
