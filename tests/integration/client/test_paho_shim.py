"""Programs for paho-mqtt, run with paho-mqtt and with the shim: the same comes out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.client.conftest import RunningBroker

SCRIPTS = Path(__file__).with_name("paho_scripts")
PLAIN = "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
SHIM = f"from noctule.compat.paho import install; install(); {PLAIN}"


def transcript(starter: str, script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", starter, str(SCRIPTS / script), *arguments],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def same(script: str, topic: str, *arguments: str) -> None:
    host, port, *rest = arguments
    original = transcript(PLAIN, script, host, port, f"{topic}/p", *rest)
    shim = transcript(SHIM, script, host, port, f"{topic}/s", *rest)
    assert original
    assert shim == original


@pytest.mark.parametrize(
    "script",
    [
        "in_a_thread.py",
        "forever.py",
        "topic_callbacks.py",
        "properties_of_5.py",
        "offline.py",
        "by_hand.py",
        "failing_callback.py",
        "in_passing.py",
    ],
)
def test_script_does_the_same(broker: RunningBroker, topic: str, script: str) -> None:
    same(script, topic, "127.0.0.1", str(broker.port))


def test_script_does_the_same_over_tls(mosquitto: RunningBroker, topic: str) -> None:
    ca = str(mosquitto.folder / "server.pem")
    same("over_tls.py", topic, "127.0.0.1", str(mosquitto.port), str(mosquitto.tls_port), ca)
