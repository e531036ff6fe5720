"""What many runs say together: medians, and how brokers compare."""

import statistics
from collections.abc import Iterable
from typing import Any

__all__ = ["WRONG", "Result", "median", "rate", "ratio", "table"]

WRONG = ("lost", "duplicates", "out_of_order", "unacknowledged", "malformed", "refused", "closed")
HEAD = (
    "scenario",
    "broker",
    "rate/s",
    "CPU µs",
    "ratio",
    "goal",
    "p50 µs",
    "p99 µs",
    "MB",
    "remarks",
)
LEFT = (0, 1, 9)

Result = dict[str, Any]


def median(runs: Iterable[Result], *path: str) -> float | None:
    """The median of a value that lies at this path; None where no run has it."""
    values = []
    for run in runs:
        value: Any = run
        for key in path:
            value = value.get(key) if value else None
        if value is not None:
            values.append(value)
    return statistics.median(values) if values else None


def rate(runs: list[Result]) -> float | None:
    """Deliveries or connections a second."""
    delivered = median(runs, "retained", "deliver_per_second")
    return median(runs, "per_second") if delivered is None else delivered


def ratio(results: list[Result], letter: str, broker: str, baseline: str) -> float | None:
    """The baseline's CPU for each message divided by this broker's: how many times less it is.

    Each pair of the same repetition is divided, and the median taken: what disturbed the machine
    then disturbed both.
    """

    def by_repetition(name: str) -> dict[int, float]:
        return {
            run["repetition"]: run["cpu_us"]
            for run in results
            if (run["letter"], run["broker"]) == (letter, name) and run.get("cpu_us")
        }

    ours, theirs = by_repetition(broker), by_repetition(baseline)
    pairs = [theirs[number] / ours[number] for number in ours.keys() & theirs.keys()]
    return statistics.median(pairs) if pairs else None


def remarks(runs: list[Result]) -> str:
    """What went wrong, and what only some scenarios have."""
    counts = {name: sum(run.get(name, 0) for run in runs) for name in WRONG}
    parts = [f"{name}={count:,}" for name, count in counts.items() if count]
    parts += [f"failed: {run['failed']}" for run in runs if "failed" in run][:1]
    if (each := median(runs, "bytes_each")) is not None:
        parts.append(f"{each:,.0f} B each")
    if (published := median(runs, "retained", "publish_per_second")) is not None:
        parts.append(f"published {published:,.0f}/s")
    return "; ".join(parts)


def row(
    results: list[Result], letter: str, entry: dict[str, Any], broker: str, baseline: str
) -> tuple[str, ...]:
    runs = [run for run in results if (run["letter"], run["broker"]) == (letter, broker)]
    resident = median(runs, "resident_bytes")
    goal = entry.get("goal") if broker == "noctule" else None
    return (
        f"{letter} {entry['title']}",
        broker,
        number(rate(runs)),
        number(median(runs, "cpu_us"), 3),
        number(None if broker == baseline else ratio(results, letter, broker, baseline), 1),
        number(goal, 1),
        number(median(runs, "latency", "p50_us")),
        number(median(runs, "latency", "p99_us")),
        number(resident / 1e6 if resident else None, 1),
        remarks(runs),
    )


def number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def table(results: list[Result], scenarios: dict[str, dict[str, Any]], baseline: str) -> str:
    """All of it, for eyes; scenarios and brokers in the order they were given."""
    brokers = list(dict.fromkeys(run["broker"] for run in results))
    measured = {(run["letter"], run["broker"]) for run in results}
    rows = [HEAD]
    for letter, entry in scenarios.items():
        rows += [
            row(results, letter, entry, broker, baseline)
            for broker in brokers
            if (letter, broker) in measured
        ]
    widths = [max(len(each[column]) for each in rows) for column in range(len(HEAD))]
    lines = []
    for each in rows:
        cells = [
            cell.ljust(width) if column in LEFT else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(each, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
