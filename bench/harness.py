"""Measures MQTT brokers side by side: CPU time for each message, rate, latency, memory.

    python -m bench.harness [--scenarios A,E,X0] [--brokers noctule,mosquitto] [--repeat 5]

Every run starts a fresh broker pinned to one core, warms it up, and puts one scenario on it from
another core. The brokers take turns within a repetition, so that whatever else the machine does
falls on all of them. The main figure is the broker's CPU time for each message, which other work
disturbs far less than it does the rate. Exit code 1: something was lost, or a goal not met.
"""

import argparse
import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.measure import Settings, measure
from bench.measured_process import BrokerSpec, read_specs
from bench.results import WRONG, Result, ratio, table

HERE = Path(__file__).parent


def main() -> None:
    given = arguments()
    scenarios = chosen(tomllib.loads((HERE / "scenarios.toml").read_text()), given.scenarios)
    everyone = read_specs(tomllib.loads(given.brokers_file.read_text()))
    specs = list(chosen({spec.name: spec for spec in everyone}, given.brokers).values())
    baseline = next(spec.name for spec in everyone if spec.baseline)
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "results.jsonl"
    if not given.table:
        file.write_text("")
        settings = Settings(given.out, given.broker_cpus, given.load_cpus, given.time)
        for repetition in range(given.repeat):
            for result in run_all(scenarios, specs, settings):
                result["repetition"] = repetition
                with file.open("a") as out:
                    out.write(json.dumps(result) + "\n")
    results = [json.loads(line) for line in file.read_text().splitlines()]
    print(table(results, scenarios, baseline))
    sys.exit(1 if list(failures(results, scenarios, baseline, given.check)) else 0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenarios", default="", help="letters, separated by commas; all")
    parser.add_argument("--brokers", default="noctule,mosquitto", help="names; 'all' that are here")
    parser.add_argument("--brokers-file", type=Path, default=HERE / "brokers.toml")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--time", type=float, default=1.0, help="a factor on message counts")
    parser.add_argument("--broker-cpus", default="0", help="a taskset list; empty: not pinned")
    parser.add_argument("--load-cpus", default="1")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--table", action="store_true", help="print what the last runs have said")
    parser.add_argument("--check", action="store_true", help="a goal that is not met is a failure")
    return parser.parse_args()


def chosen(all_of: dict[str, Any], names: str) -> dict[str, Any]:
    """Those named, in the order of the file; all where nothing or 'all' is named."""
    if names in ("", "all"):
        return all_of
    wanted = names.split(",")
    unknown = [name for name in wanted if name not in all_of]
    if unknown:
        sys.exit(f"there is no {', '.join(unknown)}; there are {', '.join(all_of)}")
    return {name: value for name, value in all_of.items() if name in wanted}


def run_all(
    scenarios: dict[str, Any], specs: list[BrokerSpec], settings: Settings
) -> Iterator[Result]:
    for letter, entry in scenarios.items():
        for spec in specs:
            if letter in spec.skip:
                continue
            if not spec.is_here():
                print(f"{spec.name} is not here: {spec.command[0]}", file=sys.stderr)
                continue
            try:
                result = measure(letter, entry, spec, settings)
            except RuntimeError as error:
                result = {"letter": letter, "broker": spec.name, "failed": str(error)}
            cpu = result.get("cpu_us") or 0
            remark = result.get("failed", "")
            print(f"{letter:4} {spec.name:10} {cpu:9.3f} µs  {remark}", file=sys.stderr, flush=True)
            yield result


def failures(
    results: list[Result], scenarios: dict[str, Any], baseline: str, check: bool
) -> Iterator[str]:
    """What ours did wrong, and, where asked, the goals it does not meet."""
    for run in results:
        if run["broker"] == "noctule":
            wrong = [name for name in WRONG if run.get(name)] + ["failed"] * ("failed" in run)
            yield from (f"{run['letter']}: {name}" for name in wrong)
    if not check:
        return
    for letter, entry in scenarios.items():
        reached = ratio(results, letter, "noctule", baseline)
        if "goal" in entry and reached is not None and reached < entry["goal"]:
            print(f"{letter}: {reached:.1f}, the goal is {entry['goal']}", file=sys.stderr)
            yield letter


if __name__ == "__main__":
    main()
