"""Every example runs, and does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.client.conftest import RunningBroker

EXAMPLES = Path(__file__).parents[3] / "examples" / "client"

SAYS = {
    "acknowledge_when_done.py": "stored job 2",
    "blocking.py": "got [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]",
    "connection_states.py": "closed: None",
    "fresh_tokens.py": "asked for a token",
    "handlers.py": "plant/7: measured",
    "last_words.py": "online: no",
    "many_in_flight.py": "acknowledged: 10000",
    "outbox_on_disk.py": "arrived: written down while offline",
    "own_transport.py": "delivered: True",
    "publish.py": "the server answered:",
    "request_response.py": "17 + 25 = 42",
    "share_the_work.py": "both worked: True",
    "sleeping_session.py": "while you were away",
    "slow_consumer.py": "lost some: True",
    "subscribe.py": "cellar: 12 °C",
}


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", sorted(SAYS))
def test_example_does_what_it_says(broker: RunningBroker, name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), broker.url],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    assert SAYS[name] in done.stdout
    assert not done.stderr
