"""A connection that was lost is made again, for commands that run for long."""

from __future__ import annotations

import sys
import time

from noctule.cli.connection.errors import ConnectError, LostError, RefusedError
from noctule.cli.connection.link import Link
from noctule.cli.flags.settings import Settings

__all__ = ["reopen"]

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 30.0
MAY_PASS = {"SERVER_UNAVAILABLE", "SERVER_BUSY", "CONNECTION_RATE_EXCEEDED", "QUOTA_EXCEEDED"}


def reopen(link: Link, settings: Settings, lost: LostError, until: float | None = None) -> bool:
    """Connects again, waiting longer from attempt to attempt; False if time is up.

    `until` is on the monotonic clock. Raises `lost` again where that would be no use, and
    RefusedError for a refusal that will not pass.
    """
    if lost.is_final:
        raise lost
    tell(settings, str(lost))
    delay = FIRST_SECONDS
    while True:
        wake = time.monotonic() + delay
        if until is not None and wake >= until:
            time.sleep(max(0.0, until - time.monotonic()))
            return False
        time.sleep(delay)
        try:
            link.open()
        except RefusedError as error:
            if error.code.name not in MAY_PASS:
                raise
            failure: Exception = error
        except ConnectError as error:
            failure = error
        else:
            tell(settings, f"connected to {link.where} again")
            return True
        delay = min(2 * delay, LONGEST_SECONDS)
        tell(settings, f"{failure}; next attempt in {delay:g} s")


def tell(settings: Settings, text: str) -> None:
    """A line for people, unless they want none."""
    if not settings.quiet:
        print(f"noctule: {text}", file=sys.stderr, flush=True)
