"""The blocking client is what the tool makes of the asyncio client."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[3] / "tools" / "generate_sync.py"


def test_blocking_client_has_not_drifted() -> None:
    pytest.importorskip("ruff", reason="the tool formats with ruff")
    done = subprocess.run(
        [sys.executable, str(TOOL), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_blocking_client_has_every_public_method() -> None:
    import noctule.client as asynchronous
    import noctule.sync as blocking

    names = {
        "__aenter__": "__enter__",
        "__aexit__": "__exit__",
        "__aiter__": "__iter__",
        "__anext__": "__next__",
    }
    for name in ("Client", "Subscription"):
        source, target = getattr(asynchronous, name), getattr(blocking, name)
        public = {n for n in dir(source) if not n.startswith("_") or n in names}
        public -= {"handle_events", "handle_end", "before_flush"}  # The connection's calls.
        missing = {names.get(n, n) for n in public} - set(dir(target))
        assert not missing
