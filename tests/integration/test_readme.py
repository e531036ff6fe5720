"""What README.md tells people to type, typed."""

from __future__ import annotations

import os
import re
import select
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.served_broker import ServedBroker

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```\w+\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
MAKE, MAKE_SERVE, MOSQUITTO, CONFIGURE, EMBED, USE = BLOCKS
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture
def port() -> Iterator[int]:
    with ServedBroker() as broker:
        yield broker.port


def test_make_has_what_is_typed() -> None:
    for line in (MAKE + MAKE_SERVE).splitlines():
        command = shlex.split(line, comments=True)
        done = subprocess.run([*command, "--dry-run"], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (b"noctule serve" in done.stdout) == (command == ["make", "serve"])


def test_mosquitto_tools_talk_to_it(port: int) -> None:
    if shutil.which("mosquitto_sub") is None:
        pytest.skip("mosquitto-clients are not installed")
    subscribe, publish = ([*shlex.split(line), "-p", str(port)] for line in MOSQUITTO.splitlines())
    with subprocess.Popen(subscribe, stdout=subprocess.PIPE) as subscriber:
        assert subscriber.stdout is not None
        for _ in range(100):  # It does not say when it is subscribed.
            subprocess.run(publish, check=True)
            if select.select([subscriber.stdout], [], [], 0.1)[0]:
                break
        line = subscriber.stdout.readline()
        subscriber.terminate()
    assert line == b"sensors/kitchen/temperature 21.5\n"


def test_configuration_is_written_checked_and_served(tmp_path: Path) -> None:
    write, check, serve = (
        line.replace(".venv/bin/noctule", f"{shlex.quote(sys.executable)} -m noctule")
        for line in CONFIGURE.splitlines()
    )
    for command in (write, check):
        subprocess.run(command, shell=True, cwd=tmp_path, env=ENVIRONMENT, check=True)
    environment = {**ENVIRONMENT, "NOCTULE__LISTENERS": "mqtt://127.0.0.1:0"}
    with subprocess.Popen(
        f"exec env {serve}",
        shell=True,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "noctule is ready" in process.stdout.readline()
        process.terminate()
    assert process.returncode == 0


def test_broker_is_embedded() -> None:
    with subprocess.Popen(
        [sys.executable, "-u", "-c", EMBED], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        assert words[:-1] == ["listening", "on", "port"]
        socket.create_connection(("127.0.0.1", int(words[-1]))).close()
        process.terminate()


def test_client_is_used(port: int) -> None:
    assert ":1883" in USE
    done = subprocess.run(
        [sys.executable, "-c", USE.replace(":1883", f":{port}")],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("sensors/kitchen/temperature 21.5\n", "")
