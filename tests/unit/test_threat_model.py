"""The threat model names tests that there are, for every kind of fault."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security" / "threat-model.md"
SOURCES = (("tests", "test_*.py"), ("crates", "*.rs"))


def test_every_row_names_tests_that_exist() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.count("|") == 5]
    faults = [row.split("|")[4] for row in rows[2:]]
    defined = {
        name
        for folder, pattern in SOURCES
        for file in (ROOT / folder).rglob(pattern)
        for name in re.findall(r"^\s*(?:async def|def|fn) (\w+)", file.read_text(), re.MULTILINE)
    }
    assert len(faults) > 20
    for named in (set(re.findall(r"`(\w+)`", fault)) for fault in faults):
        assert named, "a row without a test"
        assert named <= defined, named - defined
