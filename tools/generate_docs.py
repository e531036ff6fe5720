"""Writes the pages of docs/reference from the code that they describe.

    python tools/generate_docs.py            writes them
    python tools/generate_docs.py --check    exits 1 when they have drifted

CI runs the latter.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from noctule.cli.reference import command_reference
from noctule.config import configuration_reference

ROOT = Path(__file__).resolve().parent.parent

# Page: what writes it.
PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/configuration.md": configuration_reference,
    "docs/reference/commands.md": command_reference,
}


def drifted() -> list[str]:
    """The pages that are not what their source would write."""
    return [page for page, source in PAGES.items() if text_of(page) != source()]


def text_of(page: str) -> str | None:
    """What stands in the page; None where there is none."""
    path = ROOT / page
    return path.read_text(encoding="utf-8") if path.exists() else None


def write() -> None:
    """Write every page."""
    for page, source in PAGES.items():
        path = ROOT / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source(), encoding="utf-8")


def main() -> int:
    if "--check" not in sys.argv[1:]:
        write()
        return 0
    pages = drifted()
    for page in pages:
        print(f"{page} differs from its source: run `make docs` and commit it", file=sys.stderr)
    return 1 if pages else 0


if __name__ == "__main__":
    sys.exit(main())
