"""One run: a fresh broker, one scenario, what it cost."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measured_process import Broker, BrokerSpec, pinned

__all__ = ["Settings", "load", "measure"]

HERE = Path(__file__).parent
# A warm-up is a twentieth of the run, with an end of its own.
WARM_UP_SHARE = 20
FEWEST_MESSAGES = 200


@dataclass(frozen=True)
class Settings:
    """What is alike in all runs."""

    folder: Path
    broker_cpus: str = "0"
    load_cpus: str = "1"
    time: float = 1.0
    limit_seconds: float = 180.0


def load(
    scenario: dict[str, Any],
    settings: Settings,
    on_phase: Callable[[dict[str, Any]], None] = lambda moment: None,
) -> dict[str, Any]:
    """Carries a scenario out in a process of its own; the report. RuntimeError: it failed.

    `on_phase` is called before each phase begins, which waits for it.
    """
    command = [sys.executable, str(HERE / "load_process.py"), json.dumps(scenario)]
    with subprocess.Popen(
        pinned(settings.load_cpus, command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        limit = threading.Timer(settings.limit_seconds, process.kill)
        limit.start()
        try:
            for line in process.stdout:
                moment = json.loads(line)
                if "report" in moment:
                    report: dict[str, Any] = moment["report"]
                    return report
                on_phase(moment)
                process.stdin.write("\n")
                process.stdin.flush()
            errors = process.stderr.read().strip() or f"over {settings.limit_seconds:.0f} s"
            raise RuntimeError(errors.splitlines()[-1])
        finally:
            limit.cancel()


def scaled(entry: dict[str, Any], spec: BrokerSpec, settings: Settings) -> dict[str, Any]:
    """The scenario as this broker gets it."""
    scenario = {**entry["load"], **spec.load, "port": spec.port}
    if not entry.get("fixed"):
        messages = entry["load"]["messages"] * settings.time * spec.scale
        scenario["messages"] = max(FEWEST_MESSAGES, int(messages))
    return scenario


def measure(
    letter: str, entry: dict[str, Any], spec: BrokerSpec, settings: Settings
) -> dict[str, Any]:
    """The report of one run, with what the broker used.

    Adds `cpu_us` (CPU microseconds for each delivered message, connection made, or retained
    message published or delivered), `resident_bytes`, and of idle connections
    `bytes_each`.
    """
    scenario = scaled(entry, spec, settings)
    with Broker(spec, settings.broker_cpus, settings.folder / f"{spec.name}.log") as broker:
        if not entry.get("fresh"):
            messages = max(FEWEST_MESSAGES, scenario["messages"] // WARM_UP_SHARE)
            load({**scenario, "messages": messages}, settings)
            time.sleep(0.2)
        idle = broker.usage()
        # By phase: the usage when it began.
        usages = {}

        def on_phase(moment: dict[str, Any]) -> None:
            if moment["phase"] == "holding":
                time.sleep(1)  # the broker has tidied up after the last connection
            usages[moment["phase"]] = broker.usage()

        report = load(scenario, settings, on_phase)
    # Opening and closing connections counts where that is what is measured.
    before = usages.get("running", idle)
    after = usages.get("holding", usages["closing"])
    cpu_seconds = after.cpu_seconds - before.cpu_seconds
    units = report["received"]
    if scenario.get("kind") == "retained":
        units += report["sent"]
    result = {
        **report,
        "letter": letter,
        "broker": spec.name,
        "cpu_seconds": cpu_seconds,
        "cpu_us": cpu_seconds * 1e6 / units if units else None,
        "resident_bytes": after.resident_bytes,
    }
    if units and "holding" in usages:
        result["bytes_each"] = (after.resident_bytes - idle.resident_bytes) / units
    return result
