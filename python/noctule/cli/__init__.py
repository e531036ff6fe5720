"""The command `noctule`. Nothing is imported here before it is needed: it has to answer fast."""

import sys

__all__ = ["main"]

# Those in which scripts call it again and again do without click, too.
QUICK = ("pub", "sub", "rr")


def main() -> None:
    """Run the command line and end the process with its exit code."""
    if len(sys.argv) > 1 and sys.argv[1] in QUICK:
        from noctule.cli.program import run

        sys.exit(run(sys.argv[1], sys.argv[2:]))
    from noctule.cli.app import noctule

    noctule(prog_name="noctule")
