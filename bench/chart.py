"""Draws what the harness has measured: how many times less CPU than the baseline.

    python -m bench.chart [build/bench/results.jsonl] [build/bench/chart.png]

One group of bars for each scenario, one bar for each broker, on a logarithmic scale; 1 is the
baseline. A line across a group is our goal, a dot the best other broker measured before. The
name of the file says what becomes of it: .png, .svg or .pdf.
"""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from bench.results import Result, ratio

HERE = Path(__file__).parent
RESULTS = Path("build/bench/results.jsonl")
CHART = Path("build/bench/chart.png")
COLOURS = ("#2a6f97", "#e07a5f", "#81b29a", "#f2cc8f", "#6d597a", "#b56576", "#355070", "#999999")
GROUP_WIDTH = 0.8

mpl.use("agg")  # a picture, no window


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else CHART
    results = [json.loads(line) for line in source.read_text().splitlines()]
    scenarios = tomllib.loads((HERE / "scenarios.toml").read_text())
    brokers = tomllib.loads((HERE / "brokers.toml").read_text())
    baseline = next(name for name, entry in brokers.items() if entry.get("baseline"))
    draw(results, scenarios, baseline).savefig(target, dpi=150, bbox_inches="tight")
    print(target)


def draw(results: list[Result], scenarios: dict[str, dict[str, Any]], baseline: str) -> Figure:
    """The chart of all scenarios in which anything but the baseline has a ratio."""
    names = [name for name in dict.fromkeys(run["broker"] for run in results) if name != baseline]
    ratios = {
        letter: {name: ratio(results, letter, name, baseline) for name in names}
        for letter in scenarios
    }
    letters = [letter for letter in scenarios if any(ratios[letter].values())]
    figure = Figure(figsize=(9, 1.2 + 0.45 * max(1, len(letters)) * max(1, len(names)) ** 0.5))
    axes = figure.add_subplot()
    for number, name in enumerate(names):
        bars(axes, letters, [ratios[letter][name] for letter in letters], number, names)
    for place, letter in enumerate(letters):
        marks(axes, place, scenarios[letter])
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel(f"CPU for each message: {baseline} divided by this broker (more is better)")
    axes.set_yticks(
        range(len(letters)), [f"{each}  {scenarios[each]['title']}" for each in letters]
    )
    axes.invert_yaxis()
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def bars(
    axes: Axes, letters: list[str], ratios: list[float | None], number: int, names: list[str]
) -> None:
    """One broker's bars, beside those of the others."""
    height = GROUP_WIDTH / len(names)
    places = [place - GROUP_WIDTH / 2 + height * (number + 0.5) for place in range(len(letters))]
    # From the baseline, to the right where less CPU was needed, to the left where more.
    widths = [0 if value is None else value - 1 for value in ratios]
    colour = COLOURS[number % len(COLOURS)]
    drawn = axes.barh(places, widths, height, left=1, color=colour, label=names[number])
    labels = ["" if value is None else f"{value:,.1f}" for value in ratios]
    axes.bar_label(drawn, labels, padding=3, fontsize=8)


def marks(axes: Axes, place: int, entry: dict[str, Any]) -> None:
    """Our goal and the best other broker of a scenario; their names once."""
    label = (
        dict.fromkeys(("goal", "flashmq"), "") if place else {"goal": "goal", "flashmq": "FlashMQ"}
    )
    if "goal" in entry:
        ends = [place - GROUP_WIDTH / 2, place + GROUP_WIDTH / 2]
        axes.plot([entry["goal"]] * 2, ends, color="black", linestyle=":", label=label["goal"])
    if "flashmq" in entry:
        axes.plot(entry["flashmq"], place, "o", color="black", markersize=4, label=label["flashmq"])


if __name__ == "__main__":
    main()
