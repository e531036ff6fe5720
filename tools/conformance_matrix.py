"""Prints which normative statement is tested by which test, and whether it holds.

    python tools/conformance_matrix.py            run the suite and print the matrix
    python tools/conformance_matrix.py --check    collect only; fail on a statement without test

A statement that binds the server counts if it can be tested from outside; one that binds the
client needs a test in tests/conformance/client, and one that binds both needs a test of each
side. The last line of each matrix is `N of M statements that bind the SIDE tested, K failing`.
Further arguments go to pytest (`-- -n 2`).
"""

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SUITE = ROOT / "tests" / "conformance"
LISTS = {"MQTT311": "mqtt-3.1.1-statements.csv", "MQTT5": "mqtt-5.0-statements.csv"}
CLIENT_SUITE = "tests/conformance/client/"
SIDES = ("server", "client")
TESTABLE = {"yes", "partly"}
"""From outside, that is over the wire. Of a client of our own more can be seen: all rows of
`binds` "client" count, whatever they say."""

Statement = tuple[str, str]


@dataclass
class Evidence:
    """What is known about one test: the statements it names and how it ended."""

    statements: set[Statement] = field(default_factory=set)
    outcome: str = "not run"


class Recorder:
    """A pytest plugin that notes the statements and the outcome of every test."""

    def __init__(self) -> None:
        self.tests: dict[str, Evidence] = defaultdict(Evidence)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the statements of all tests, run or not."""
        for item in session.items:
            self.tests[item.nodeid].statements = _statements_in(item.user_properties)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test ended; with pytest-xdist this is all that is heard of it."""
        evidence = self.tests[report.nodeid]
        evidence.statements |= _statements_in(report.user_properties)
        if report.failed:
            evidence.outcome = "failed"
        elif report.skipped and evidence.outcome != "failed":
            evidence.outcome = "skipped"
        elif report.when == "call":
            evidence.outcome = "passed"

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        """Let pytest's own last line come out before the matrix."""
        config.get_terminal_writer().flush()


def _statements_in(properties: Iterable[tuple[str, object]]) -> set[Statement]:
    return {(name, str(value)) for name, value in properties if name in LISTS}


def read_statements() -> dict[Statement, dict[str, str]]:
    """All rows of both lists, by list and identifier."""
    rows: dict[Statement, dict[str, str]] = {}
    for document, name in LISTS.items():
        with (SUITE / "statements" / name).open(newline="") as lines:
            rows |= {(document, row["id"]): row for row in csv.DictReader(lines)}
    return rows


def binds(row: dict[str, str], side: str) -> bool:
    """Whether a statement counts for a side: "server" or "client"."""
    if side == "client" and row["binds"] == "client":
        return True
    return row["binds"] in (side, "both") and row["testable"] in TESTABLE


def state(outcomes: Iterable[str]) -> str:
    """One word for all tests of a statement; a failure outweighs, a skip alone is no test."""
    seen = set(outcomes)
    for word in ("failed", "passed", "not run", "skipped"):
        if word in seen:
            return word
    return "untested"


def collect(arguments: list[str], *, run: bool) -> Recorder:
    """Run the suite, or only collect it; exits where pytest itself could not work."""
    recorder = Recorder()
    options = [str(SUITE), "-q", "--no-header", *arguments]
    options += ["--tb=short"] if run else ["--collect-only", "-qq"]
    code = pytest.main(options, plugins=[recorder])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.exit(int(code))
    return recorder


def tests_by_statement(recorder: Recorder, side: str) -> dict[Statement, list[str]]:
    found: dict[Statement, list[str]] = defaultdict(list)
    for name, evidence in recorder.tests.items():
        if (CLIENT_SUITE in name) != (side == "client"):
            continue
        for statement in evidence.statements:
            found[statement].append(name)
    return found


def print_matrix(
    rows: dict[Statement, dict[str, str]], recorder: Recorder, side: str
) -> tuple[int, int]:
    """Prints a line for each statement; returns how many are untested and how many fail."""
    by_statement = tests_by_statement(recorder, side)
    wanted = [statement for statement, row in rows.items() if binds(row, side)]
    states: dict[Statement, str] = {}
    for statement in wanted:
        names = by_statement[statement]
        states[statement] = state(recorder.tests[name].outcome for name in names)
        functions = sorted({name.partition("::")[2].partition("[")[0] for name in names})
        document, identifier = statement
        cases = f"{len(names)} cases" if len(names) != 1 else "1 case"
        print(f"{document:8} {identifier:14} {states[statement]:8} {cases:10} ", end="")
        print(", ".join(functions) or "-")
    failing = sum(1 for word in states.values() if word == "failed")
    tested = sum(1 for word in states.values() if word in ("passed", "failed"))
    print(f"{tested} of {len(wanted)} statements that bind the {side} tested, {failing} failing")
    return len(wanted) - tested, failing


def check(rows: dict[Statement, dict[str, str]], recorder: Recorder, side: str) -> int:
    """Names the statements without a test, and marks that name no statement."""
    by_statement = tests_by_statement(recorder, side)
    wanted = [statement for statement, row in rows.items() if binds(row, side)]
    missing = [statement for statement in wanted if not by_statement[statement]]
    unknown = sorted(set(by_statement) - set(rows))
    for document, identifier in missing:
        paraphrase = rows[document, identifier]["paraphrase"]
        print(f"no test of the {side}: {document} {identifier}: {paraphrase}")
    for document, identifier in unknown:
        print(f"no such statement: {document} {identifier}")
    tested = len(wanted) - len(missing)
    print(f"{tested} of {len(wanted)} statements that bind the {side} have a test")
    return 1 if missing or unknown else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only check that all have a test")
    parser.add_argument("pytest_arguments", nargs="*", help="passed on to pytest, behind --")
    arguments = parser.parse_args()
    rows = read_statements()
    recorder = collect(arguments.pytest_arguments, run=not arguments.check)
    if arguments.check:
        return max(check(rows, recorder, side) for side in SIDES)
    results = [print_matrix(rows, recorder, side) for side in SIDES]
    return 1 if any(untested or failing for untested, failing in results) else 0


if __name__ == "__main__":
    sys.exit(main())
