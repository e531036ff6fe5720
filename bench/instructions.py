"""Counts the instructions of a fixed workload, and fails where they have grown.

    python -m bench.instructions [--record] [--workloads qos0,qos1]

Instructions are alike on a noisy machine and on a quiet one, so a regression of a few per cent
shows without statistics. Each workload of crates/load/examples/fixed_work.rs is run under
callgrind with a number of messages and with twice that; the difference is what the messages
cost, without the set-up. A count that is over its recorded base by more than 5 % is a failure
(exit code 1). --record writes the counts of now to bench/instructions.json as the new base: do
that with the change that is worth them, and say why in its commit.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

BASE = Path(__file__).with_name("instructions.json")
# Whole bursts of ten publishers.
MESSAGES = 6_400
ALLOWED_GROWTH = 1.05
COLLECTED = re.compile(rb"Collected : (\d+)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="take the counts as the new base")
    parser.add_argument("--workloads", default="", help="names, separated by commas; all")
    given = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed: its callgrind counts the instructions")
    program = build()
    names = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()
    chosen = given.workloads.split(",") if given.workloads else names
    base = json.loads(BASE.read_text()) if BASE.exists() else {"instructions": {}}
    counts = {}
    grown = False
    for name in chosen:
        counts[name] = round(instructions(program, name), 1)
        before = base["instructions"].get(name)
        growth = counts[name] / before if before else None
        grown |= growth is not None and growth > ALLOWED_GROWTH
        change = "new" if growth is None else f"{growth - 1:+.1%}"
        print(f"{name:14} {counts[name]:10,.0f} instructions a message  {change}", flush=True)
    if given.record:
        record = {"compiler": compiler(), "instructions": {**base["instructions"], **counts}}
        BASE.write_text(json.dumps(record, indent=2) + "\n")
        return
    if missing := sorted(counts.keys() - base["instructions"].keys()):
        sys.exit(f"no base is recorded for {', '.join(missing)}: run with --record")
    if grown:
        if base["compiler"] != compiler():
            print(f"the base is of {base['compiler']}, this is {compiler()}", file=sys.stderr)
        sys.exit(f"grown by more than {ALLOWED_GROWTH - 1:.0%}")


def build() -> Path:
    """The workload's program, as it is released."""
    command = ["cargo", "build", "--release", "--package", "noctule-load", "--example"]
    subprocess.run([*command, "fixed_work", "--quiet"], check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    return target / "release" / "examples" / "fixed_work"


def compiler() -> str:
    """Other compilers make other instructions."""
    version = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True)
    return version.stdout.strip()


def instructions(program: Path, workload: str) -> float:
    """Instructions for each message."""
    once, twice = (count(program, workload, MESSAGES * times) for times in (1, 2))
    return (twice - once) / MESSAGES


def count(program: Path, workload: str, messages: int) -> int:
    """Instructions of a whole run."""
    callgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command = [*callgrind, str(program), workload, str(messages)]
    run = subprocess.run(command, check=False, capture_output=True)
    collected = COLLECTED.search(run.stderr)
    if run.returncode != 0 or collected is None:
        sys.exit(f"{workload}: {run.stderr.decode(errors='replace')[-500:]}")
    return int(collected[1])


if __name__ == "__main__":
    main()
