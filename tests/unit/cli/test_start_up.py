"""What `noctule pub` imports before it connects: the time it takes to start.

Counted, and not timed, so that a busy machine makes no difference. Under 150 ms more than
`python -c pass` is what the limit stands for.
"""

import subprocess
import sys

import pytest

FORBIDDEN = {
    "argparse", "asyncio", "click", "logging", "noctule._engine", "noctule.broker",
    "noctule.client", "noctule.config", "pydantic", "rich", "sqlite3", "ssl", "subprocess",
    "tempfile", "tomllib", "urllib.parse", "websockets",
}  # fmt: skip
MOST_MODULES = 110
"""Beyond those that `python -c pass` has; 85 to 102 when this was written."""

SCRIPT = """
import sys
before = set(sys.modules)
from noctule.cli import main
sys.argv = ["noctule", *{arguments!r}]
try:
    main()
except SystemExit as end:
    print("MODULES", end.code, *sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["pub", "-p", "1", "-t", "t", "-m", "x"],
        ["sub", "-p", "1", "-t", "t", "-F", "%t %p"],
        ["rr", "-p", "1", "-t", "t", "-e", "r", "-m", "x"],
    ],
)
def test_little_is_imported_before_the_connection(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", SCRIPT.format(arguments=arguments)],
        check=True, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    code, *modules = done.stdout.rpartition("MODULES")[2].split()
    assert code == "1"
    assert "connection refused" in done.stderr
    assert not FORBIDDEN & set(modules)
    assert len(modules) <= MOST_MODULES, modules
