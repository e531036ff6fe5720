"""`noctule bench`: put load on a broker, and check what it delivers."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["bench"]

Report = dict[str, Any]
Scenario = dict[str, Any]

KINDS = ["publish", "idle", "connect", "retained"]

# By scheme.
PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 8083, "wss": 8084}

# What the tools of others call the versions: protocol level.
VERSIONS = {
    "3.1": 3,
    "31": 3,
    "mqttv31": 3,
    "3.1.1": 4,
    "311": 4,
    "mqttv311": 4,
    "5": 5,
    "5.0": 5,
    "mqttv5": 5,
}

# Counts that must be 0, and what they count.
WRONG = {
    "lost": "lost",
    "duplicates": "duplicates",
    "out_of_order": "out of order",
    "unacknowledged": "unacknowledged",
    "malformed": "not as published",
    "refused": "refused",
    "closed": "connections broken",
}


def sizes(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """Bytes of the smallest and the largest payload; 0 as the largest where all are alike."""
    smallest, _, largest = value.partition("-")
    try:
        return int(smallest), int(largest) if largest else 0
    except ValueError:
        message = f"{value!r} is neither a number of bytes nor a range like 16-200"
        raise click.BadParameter(message, ctx, param) from None


@click.command(context_settings={"show_default": True})
@click.argument("kind", type=click.Choice(KINDS), default="publish")
@click.option("-h", "--host", default="127.0.0.1", help="Name or address of the broker.")
@click.option(
    "-p",
    "--port",
    type=click.IntRange(1, 65_535),
    help="Its port.  [default: 1883, 8883, 8083 or 8084, by scheme]",
)
@click.option(
    "--scheme",
    default="mqtt",
    type=click.Choice(list(PORTS)),
    help="TCP, TLS, WebSocket, or WebSocket over TLS.",
)
@click.option("--path", default="/mqtt", help="Path of the WebSocket.")
@click.option(
    "--cafile", "ca_file", type=click.Path(exists=True, dir_okay=False), help="Authorities, PEM."
)
@click.option("--insecure", is_flag=True, help="Take any certificate.")
@click.option(
    "-V", "--version", default="3.1.1", type=click.Choice(list(VERSIONS)), help="Of the protocol."
)
@click.option("-u", "--username", "user_name", help="User name.")
@click.option("-P", "--pw", "password", envvar="NOCTULE_PASSWORD", help="Password.")
@click.option("-k", "--keepalive", "keep_alive_seconds", default=0, help="Seconds; 0: none.")
@click.option("--pubs", "publishers", default=1, help="Publishing connections.")
@click.option("--subs", "subscribers", default=1, help="Subscribing connections.")
@click.option("--connections", default=100, help="Held (idle), or open at once (connect).")
@click.option("--topics", default=1, help="Topic names; connect: different filters.")
@click.option("--wildcard", is_flag=True, help="Subscribers take all topics by one filter.")
@click.option("--mixed", is_flag=True, help="Each message has another of the topics.")
@click.option("--prefix", default="load", help="What topic names begin with.")
@click.option("-q", "--qos", default=0, type=click.IntRange(0, 2), help="Quality of service.")
@click.option("-s", "--size", "sizes", callback=sizes, default="64", help="Bytes, 64 or 16-200.")
@click.option(
    "-n",
    "--messages",
    type=int,
    help="Messages, or connections made (connect), in all.  [default: 100000, or no end but the"
    " duration]",
)
@click.option("-d", "--duration", "duration_seconds", default=0.0, help="Seconds; 0: no limit.")
@click.option(
    "-r", "--rate", default=0.0, help="Messages a second in all; 0: as fast as they are taken."
)
@click.option("--window", default=64, help="QoS 1 and 2: messages in flight per publisher.")
@click.option("--outstanding", default=0, help="QoS 0: deliveries under way; 0: as it fits.")
@click.option("--hold", "hold_seconds", default=10.0, help="idle: seconds to hold.")
@click.option("--filters", default=0, help="connect: filters each session subscribes to.")
@click.option("--persistent", is_flag=True, help="connect: the sessions stay with the broker.")
@click.option("--threads", default=1, help="Threads that share the connections.")
@click.option("--linger", "linger_milliseconds", default=50, help="Wait for late duplicates, ms.")
@click.option("--stall", "stall_seconds", default=10.0, help="Seconds of standstill to give up.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def bench(as_json: bool, quiet: bool, **given: Any) -> None:
    r"""Put load on a broker, and check what it delivers, to the message.

    \b
    noctule bench --pubs 10 --subs 10 --topics 10 --qos 1
    noctule bench --rate 5000 --duration 30 --qos 1
    noctule bench --mixed --topics 1000 --subs 10 --size 16-200
    noctule bench --scheme wss --cafile ca.pem --host broker.example
    noctule bench idle --connections 10000 --hold 60
    noctule bench connect --connections 20 --messages 20000
    noctule bench retained --messages 100000 --subs 3

    With a rate, latencies count from when a message was due, not from when it could be sent.
    The exit code is 1 where anything was lost, duplicated, out of order or refused, 2 where the
    run could not be carried out.
    """
    from rich.console import Console

    scenario = scenario_from(given)
    screen = Console(stderr=True)
    try:
        with progress_on(screen, scenario, quiet) as show:
            report = carry_out(scenario, show)
    except ConnectionError as error:
        where = f"{scenario['host']}:{scenario['port']}"
        click.echo(f"{where}: {error}. Is a broker running? `noctule serve` starts one.", err=True)
        sys.exit(2)
    except (ValueError, OSError) as error:
        click.echo(error, err=True)
        sys.exit(2)
    if as_json:
        click.echo(json.dumps(report))
    else:
        print_table(Console(), scenario, report)
    sys.exit(0 if is_clean(report) else 1)


def scenario_from(given: dict[str, Any]) -> Scenario:
    """The options under the names the load generator knows them by."""
    scenario = dict(given)
    if scenario["port"] is None:
        scenario["port"] = PORTS[scenario["scheme"]]
    scenario["version"] = VERSIONS[scenario["version"]]
    scenario["payload_bytes"], scenario["max_payload_bytes"] = scenario.pop("sizes")
    if scenario["messages"] is None:
        scenario["messages"] = 0 if scenario["duration_seconds"] else 100_000
    return scenario


def carry_out(scenario: Scenario, show: Callable[[Report], None]) -> Report:
    """Run it; SIGINT ends it early, with the report of what there was."""
    import signal

    from noctule import _engine

    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True

    def progress(text: str) -> bool:
        show(json.loads(text))
        return not interrupted

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        report: Report = json.loads(_engine.bench(json.dumps(scenario), progress))
    finally:
        signal.signal(signal.SIGINT, before)
    return report


def is_clean(report: Report) -> bool:
    """Whether everything asked for came, once, in order, and nothing else."""
    wrong = any(report[count] for count in WRONG)
    return not (wrong or report["stalled"] or report["interrupted"])


@contextmanager
def progress_on(
    screen: "Console", scenario: Scenario, quiet: bool
) -> Iterator[Callable[[Report], None]]:
    """What shows a moment of the run; nothing where nobody looks on."""
    if quiet or not screen.is_terminal:
        yield lambda moment: None
        return

    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=screen, transient=True) as bars:
        task = bars.add_task("opening", total=None, state="")

        def show(moment: Report) -> None:
            total, completed = extent(scenario, moment)
            bars.update(
                task,
                description=moment["phase"],
                total=total,
                completed=completed,
                state=state_of(scenario, moment),
            )

        yield show


def extent(scenario: Scenario, moment: Report) -> tuple[float | None, float]:
    """How much there is to do in this phase, if that is known, and how much is done."""
    if moment["phase"] == "opening":
        asked = scenario["publishers"] + scenario["subscribers"]
        if scenario["kind"] in ("idle", "connect"):
            asked = scenario["connections"]
        return asked, moment["connections"]
    if moment["phase"] == "holding":
        return scenario["hold_seconds"], moment["elapsed_seconds"]
    if moment["expected"] is None:
        return scenario["duration_seconds"] or None, moment["elapsed_seconds"]
    if scenario["kind"] == "retained" and moment["phase"] == "running":
        return scenario["messages"], moment["sent"]
    return moment["expected"], moment["received"]


def state_of(scenario: Scenario, moment: Report) -> str:
    """The figures of a moment, in a line."""
    seconds = max(moment["elapsed_seconds"], 0.001)
    if moment["phase"] in ("opening", "holding"):
        return f"{moment['connections']:,} connections"
    count = moment["received"] or moment["sent"]
    line = f"{count:,}  {count / seconds:,.0f}/s"
    if scenario["kind"] != "retained":
        line += f"  p50 {duration(moment['p50_us'])}  p99 {duration(moment['p99_us'])}"
    wrong = [f"{moment[count]:,} {text}" for count, text in WRONG.items() if moment.get(count)]
    return "  ".join([line, *wrong])


def print_table(console: "Console", scenario: Scenario, report: Report) -> None:
    """The report for eyes."""
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(justify="right")
    for name, value in figures(scenario, report):
        table.add_row(name, value)
    console.print(table)
    for problem in problems(report):
        console.print(problem, style="red", highlight=False)


def figures(scenario: Scenario, report: Report) -> Iterator[tuple[str, str]]:
    """Names and values of what was measured."""
    if scenario["kind"] == "idle":
        yield "connections", f"{report['received']:,} of {report['expected']:,}"
    elif scenario["kind"] == "connect":
        yield "connected", f"{report['received']:,} of {report['expected']:,}"
    else:
        yield "sent", f"{report['sent']:,}"
        yield "received", f"{report['received']:,} of {report['expected']:,}"
    if retained := report["retained"]:
        yield "published", f"{retained['publish_per_second']:,.0f}/s"
        yield "delivered", f"{retained['deliver_per_second']:,.0f}/s"
    else:
        yield "rate", f"{report['per_second']:,.0f}/s"
    yield "time", f"{report['seconds']:.3f} s"
    if latency := report["latency"]:
        for name in ("min", "mean", "p50", "p90", "p99", "p999", "p9999", "max"):
            yield f"latency {name}", duration(latency[f"{name}_us"])
    yield "CPU here", f"{report['client_cpu_seconds']:.3f} s"


def problems(report: Report) -> Iterator[str]:
    """What was wrong, a line each."""
    for count, text in WRONG.items():
        if report[count]:
            yield f"{report[count]:,} {text}"
    if report["first_problem"]:
        yield f"first problem: {report['first_problem']}"
    if report["stalled"]:
        yield "nothing moved any more, so the run was given up"
    if report["interrupted"]:
        yield "interrupted"


def duration(microseconds: float) -> str:
    """In the unit that fits."""
    if microseconds < 1_000:
        return f"{microseconds:.0f} µs"
    if microseconds < 1_000_000:
        return f"{microseconds / 1_000:.1f} ms"
    return f"{microseconds / 1_000_000:.2f} s"
