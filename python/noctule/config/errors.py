"""What is wrong with a configuration, all of it at once.

There is one exception, ConfigurationError, which holds a Problem for each wrong key.
"""

from dataclasses import dataclass

__all__ = ["ConfigurationError", "Problem"]


@dataclass(frozen=True)
class Problem:
    """One wrong key, or a file that could not be read."""

    where: str
    """The place: `noctule.toml, line 3`, `environment variable …` or `option --workers`."""
    what: str
    """What is wrong, naming the key."""
    remedy: str
    """What to write instead."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


class ConfigurationError(Exception):
    """The configuration cannot be used; the text has a line for each problem."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
