"""Rules that live outside the configuration: read, watched, and put in force when they change.

A source that cannot be read keeps the rules of before in force; one that never could be lets
nobody in. Where there is a source, what no rule allows is denied, though it hold no rule at all.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from noctule.access.acl_file import read_acl_file
from noctule.access.errors import AccessError, BackEndError
from noctule.access.password_file import stamp_of
from noctule.access.rules import Rule

__all__ = ["AclFile", "RuleSet", "RuleSource", "RuleSources"]

LOOK_SECONDS = 1.0
RETRY_SECONDS = 1.0

logger = logging.getLogger("noctule.access")


@dataclass(frozen=True, slots=True)
class RuleSet:
    """What a source says at a time."""

    rules: tuple[Rule, ...] = ()
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Groups and their users."""
    revoked: frozenset[str] = frozenset()
    """Users to be disconnected, for what they came in with is no longer right."""


class RuleSource(Protocol):
    """Holds rules, and knows when to look at them again."""

    name: str
    """For the log."""

    async def load(self) -> RuleSet:
        """The rules now. Raising leaves those of before in force."""

    async def wait(self) -> None:
        """Return when they may have changed."""

    async def close(self) -> None:
        """Give back what is held."""


class RuleSources:
    """The sources of an access control, in their order.

    `changed` is called once other rules are in force, with the users that are revoked.
    """

    def __init__(
        self,
        sources: Sequence[RuleSource],
        changed: Callable[[frozenset[str]], Awaitable[None]],
    ) -> None:
        self._sources = tuple(sources)
        self._changed = changed
        self._sets: list[RuleSet | None] = [None] * len(self._sources)
        self._locks = [asyncio.Lock() for _ in self._sources]
        self._watching: list[asyncio.Task[None]] = []

    def __bool__(self) -> bool:
        return bool(self._sources)

    @property
    def are_loaded(self) -> bool:
        """Whether each has been read at least once."""
        return None not in self._sets

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of all of them."""
        return tuple(rule for each in self._sets if each is not None for rule in each.rules)

    def groups_of(self, user: str | None) -> frozenset[str]:
        """The groups that the sources have the user in."""
        found = (each.groups.items() for each in self._sets if each is not None)
        return frozenset(name for groups in found for name, users in groups if user in users)

    async def require(self) -> None:
        """Read what was never read; BackEndError where that does not go."""
        for number, each in enumerate(self._sets):
            if each is None:
                await self._load(number, first=True)

    def tell(self, changed: Callable[[frozenset[str]], Awaitable[None]]) -> None:
        """Call this one from now on."""
        self._changed = changed

    def start(self) -> None:
        """Begin to watch."""
        self._watching = [
            asyncio.create_task(self._watch(number)) for number in range(len(self._sources))
        ]

    async def refresh(self) -> None:
        """Read all of them now, and put in force what has changed."""
        for number in range(len(self._sources)):
            await self._load(number)

    async def close(self) -> None:
        """Watch no longer."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await asyncio.gather(*(source.close() for source in self._sources))

    async def _watch(self, number: int) -> None:
        source = self._sources[number]
        failing = False
        while True:
            try:
                if self._sets[number] is not None:
                    await source.wait()
                await self._load(number)
                failing = False
            except Exception as error:
                # Said once; the text of a driver's error may hold a password.
                if not failing:
                    said = error if isinstance(error, AccessError) else type(error).__name__
                    logger.error("%s cannot be read, its rules of before hold: %s",
                                 source.name, said)  # fmt: skip
                failing = True
                await asyncio.sleep(RETRY_SECONDS)

    async def _load(self, number: int, *, first: bool = False) -> None:
        async with self._locks[number]:
            before = self._sets[number]
            if first and before is not None:
                return
            found = await self._sources[number].load()
            revoked, found = found.revoked, replace(found, revoked=frozenset())
            if found == before and not revoked:
                return
            self._sets[number] = found
        if before is not None:
            logger.info("%s: %d rules", self._sources[number].name, len(found.rules))
        await self._changed(revoked)


class AclFile:
    """Mosquitto's `acl_file`, looked at once a second."""

    def __init__(self, file: Path) -> None:
        self.name = str(file)
        self._file = file
        self._stamp: object = None
        self._found = RuleSet()

    async def load(self) -> RuleSet:
        """Its rules; RuleError names the line that is wrong."""
        stamp = stamp_of(self._file)
        if stamp != self._stamp:
            try:
                self._found = RuleSet(read_acl_file(self._file))
            except (OSError, UnicodeDecodeError) as error:
                raise BackEndError(f"{self._file} cannot be read") from error
            self._stamp = stamp
        return self._found

    async def wait(self) -> None:
        """A second."""
        await asyncio.sleep(LOOK_SECONDS)

    async def close(self) -> None:
        """Nothing is held."""
