"""The catalogue and the tests name the same rows."""

import re
from pathlib import Path

HERE = Path(__file__).parent
CATALOGUE = HERE.parents[1] / "docs" / "hostile-clients.md"


def test_every_row_of_the_catalogue_is_played():
    rows = set(re.findall(r"^\| ([A-F]\d+) \|", CATALOGUE.read_text(), re.MULTILINE))
    played: set[str] = set()
    for path in HERE.glob("test_*.py"):
        for names in re.findall(r"^@hostile\((.*)\)$", path.read_text(), re.MULTILINE):
            played |= set(re.findall(r'"(\w+)"', names))
    assert len(rows) == 26 + 19 + 13 + 14 + 11 + 1
    assert played == rows
