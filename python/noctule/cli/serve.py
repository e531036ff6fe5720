"""`noctule serve`: a broker in the foreground."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from noctule.cli.config import config_option

if TYPE_CHECKING:
    from noctule.broker import Broker
    from noctule.config import Configuration

__all__ = ["serve"]


@click.command()
@config_option("Configuration in TOML; `noctule config` prints one.")
@click.option("--check", is_flag=True, help="Say whether the configuration is right, and end.")
@click.option("--json", "as_json", is_flag=True, help="With --check: answer in JSON.")
@click.option(
    "-l",
    "--listen",
    "listeners",
    multiple=True,
    metavar="URL",
    help="Where to listen, mqtt://127.0.0.1:1883; may be given several times.",
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path), metavar="DIR", help="What has to last lies here."
)
@click.option(
    "--durability",
    metavar="memory|interval|disk",
    help="When a message counts as kept and is acknowledged.",
)
@click.option("--workers", type=int, metavar="N", help="Worker threads; 0: one for each core.")
def serve(file: Path | None, check: bool, as_json: bool, **given: Any) -> None:
    r"""Run a broker in the foreground, until it is interrupted or terminated.

    \b
    noctule serve
    noctule serve --listen mqtt://127.0.0.1:1884 --workers 2
    noctule serve --config noctule.toml --check

    Options of the command line win over NOCTULE__SECTION__KEY in the environment, and those
    over the file. The exit code is 0 after a stop, 2 for a wrong configuration, and 1 where the
    broker cannot start.

    SIGHUP has the configuration read again: access control changes at once, for clients that
    are connected too, and what cannot change before a restart is named. A configuration that is
    wrong changes nothing.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if as_json and not check:
        raise click.UsageError("--json goes with --check")
    options = options_from(file, given, as_json)
    if check:
        right = json.dumps({"right": True, "problem": None})
        click.echo(right if as_json else "The configuration is right.")
        return
    raise_descriptor_limit()
    with suppress(asyncio.CancelledError):
        asyncio.run(run(options, lambda: read_options(file, given)))


def options_from(file: Path | None, given: dict[str, Any], as_json: bool) -> "Configuration":
    """The options of all sources; ends the process with the problems where there are any."""
    try:
        return read_options(file, given)
    except wrong_configuration() as error:
        click.echo(error, err=True)
        if as_json:
            click.echo(json.dumps({"right": False, "problem": str(error)}))
        sys.exit(2)


def read_options(file: Path | None, given: dict[str, Any]) -> "Configuration":
    """The options of all sources; raises one of `wrong_configuration`."""
    from noctule.config import broker_of, load_options

    command_line = {key: value for key, value in given.items() if value not in (None, ())}
    options = load_options(file, os.environ, command_line)
    broker_of(options)  # what neither the file's reader nor the classes know, the engine does
    return options


def wrong_configuration() -> tuple[type[Exception], ...]:
    """What is raised for options that a broker cannot run with."""
    from noctule.access import AccessError
    from noctule.broker import ExposedListenerError, PluginError
    from noctule.config import ConfigurationError

    return (
        ConfigurationError,
        ExposedListenerError,
        PluginError,
        AccessError,
        ImportError,
        ValueError,
        OSError,
    )


async def run(options: "Configuration", read: Callable[[], "Configuration"]) -> None:
    """Serve until SIGINT or SIGTERM cancels this task; one line when ready.

    `read` reads the options again, for SIGHUP.
    """
    from noctule.broker import BrokerError
    from noctule.config import broker_of

    cancel_on_signals()
    hung_up = event_on_hang_up()
    try:
        async with broker_of(options) as broker:
            click.echo(f"noctule is ready: {' '.join(broker.addresses)}")
            reloading = asyncio.create_task(reload_on(hung_up, broker, options, read))
            try:
                await broker.serve_forever()
            finally:
                reloading.cancel()
    except BrokerError as error:
        click.echo(f"noctule cannot start: {error}", err=True)
        sys.exit(1)


async def reload_on(
    hung_up: asyncio.Event,
    broker: "Broker",
    running: "Configuration",
    read: Callable[[], "Configuration"],
) -> None:
    """Reload the configuration at each hang-up; several while one reload lasts make one more."""
    from noctule.config import reload

    while await hung_up.wait():
        hung_up.clear()
        try:
            waiting = await reload(broker, running, read())
        except wrong_configuration() as error:
            click.echo(f"noctule keeps its configuration: {error}", err=True)
            continue
        rest = f"; after a restart: {', '.join(waiting)}" if waiting else ""
        click.echo(f"noctule has read its configuration again{rest}")


def event_on_hang_up() -> asyncio.Event:
    """An event that SIGHUP sets, where there is such a signal."""
    hung_up = asyncio.Event()
    number = getattr(signal, "SIGHUP", None)
    if number is not None:
        asyncio.get_running_loop().add_signal_handler(number, hung_up.set)
    return hung_up


def cancel_on_signals() -> None:
    """Cancel the running task at the first SIGINT or SIGTERM, which stops the broker in order."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()

    def cancel(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(task.cancel)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, cancel)


def raise_descriptor_limit() -> None:
    """Allow as many open descriptors as the system lets us: each connection is one."""
    try:
        import resource
    except ImportError:  # not a Unix system: there is no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
