"""What the tests' stopwatch counts, and what it does not."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.stopwatch import Stopwatch, waited_seconds

SPIN = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
print(flush=True)
while True:
    pass
"""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="the system does not count who waits"
)


def test_process_that_sleeps_is_slow() -> None:
    stopwatch = Stopwatch()
    time.sleep(0.2)
    assert stopwatch.seconds() > 0.15


def test_process_that_is_kept_from_the_processor_is_not() -> None:
    core = min(os.sched_getaffinity(0))
    with ExitStack() as stack:
        spinning = []
        for _ in range(3):
            command = [sys.executable, "-c", SPIN, str(core)]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            spinning.append(process)
        for process in spinning:
            assert process.stdout is not None
            process.stdout.readline()
        before, begin = waited_seconds(spinning[0].pid), time.monotonic()
        stopwatch = Stopwatch(spinning[0].pid)
        while waited_seconds(spinning[0].pid) < before + 0.5:
            time.sleep(0.02)
        passed = time.monotonic() - begin
        assert stopwatch.seconds() < passed - 0.4


def test_process_that_is_gone_has_not_waited() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert waited_seconds(process.pid) == 0
