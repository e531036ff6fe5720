"""A listener that other machines reach, where nothing tells clients apart."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from noctule.cli.serve import serve
from tests.integration.listeners.secure import CERTIFICATES

FILES = f"tls_certificate={CERTIFICATES}/server.pem&tls_key={CERTIFICATES}/server.key"
EXPOSED = [
    "mqtt://0.0.0.0:0",
    "mqtt://[::]:0?maximum_qos=1",
    f"mqtts://0.0.0.0:0?{FILES}",
    "ws://0.0.0.0:0/things",
]


def answer(*arguments: str) -> tuple[int, str]:
    """The exit code of `noctule serve`, and what it says."""
    outcome = CliRunner().invoke(serve, ["--durability", "memory", *arguments])
    return outcome.exit_code, outcome.output


@pytest.mark.parametrize("url", EXPOSED, ids=lambda url: url.partition("?")[0])
def test_broker_does_not_start_and_says_what_to_write(tmp_path: Path, url: str) -> None:
    code, text = answer("--listen", "mqtt://127.0.0.1:0", "--listen", url)
    assert code == 2
    assert text.startswith(f"{url.partition('?')[0]} can be reached from other machines")

    # Each remedy is one: with it the configuration is right.
    def is_right(*arguments: str) -> bool:
        return answer("--check", *arguments) == (0, "The configuration is right.\n")

    remedies = re.findall(r"--listen (.*)", text)
    assert len(remedies) == 2
    for remedy in remedies:
        assert is_right("--listen", *shlex.split(remedy)), remedy
    file = tmp_path / "noctule.toml"
    blocks = [block for block in text.split("\n\n") if block.startswith("    ")]
    assert len(blocks) == 3
    for block in blocks:
        content = block.partition("   or  --listen")[0]
        users = tmp_path / "users.pw"
        users.write_text("")
        content = content.replace("users.pw", str(users))
        keys = tomllib.loads(content).keys()
        file.write_text(content)
        given = ["--config", str(file)]
        # That about users leaves the listeners as they are.
        assert is_right(*given, *(() if "listeners" in keys else ("--listen", url))), content


def test_what_is_open_to_all_has_to_be_said_of_each() -> None:
    """As a process, with its exit code."""
    listen = ["mqtt://0.0.0.0:0?allow_anonymous=true", "mqtt://[::]:0"]
    command = [sys.executable, "-m", "noctule", "serve"]
    for url in listen:
        command += ["--listen", url]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mqtt://[::]:0 can be reached")
