"""The command `noctule`. Nothing is imported here before it is needed: it has to answer fast."""

__all__ = ["main"]


def main() -> None:
    """Run the command line and end the process with its exit code."""
    from noctule.cli.app import noctule

    noctule(prog_name="noctule")
