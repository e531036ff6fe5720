"""Command line → `Settings`.

As Mosquitto's tools read it: an option's argument is whatever comes next, dashes or not, and
the last of several counts. Beyond that, short options can be written together (-vC 1), and
long ones take `--option=value`.
"""

from __future__ import annotations

from collections.abc import Sequence

from noctule.cli.flags.property import read_property
from noctule.cli.flags.settings import Settings, UsageError
from noctule.cli.flags.table import COMMANDS, Flag, Kind, flags_of
from noctule.protocol import Version

__all__ = ["parse"]

VERSIONS = {
    "5": Version.V5,
    "mqttv5": Version.V5,
    "5.0": Version.V5,
    "311": Version.V3_1_1,
    "mqttv311": Version.V3_1_1,
    "3.1.1": Version.V3_1_1,
    "31": Version.V3_1,
    "mqttv31": Version.V3_1,
    "3.1": Version.V3_1,
}
NEVER_EXPIRES = 0xFFFF_FFFF


def parse(command: str, arguments: Sequence[str]) -> Settings:
    """The settings of `noctule COMMAND ARGUMENTS…`; UsageError for what cannot be meant.

    What is no option ends in `arguments`. What the options mean together is looked at by
    `complete`.
    """
    settings = Settings()
    _Parser(command, settings).read(list(arguments))
    return settings


class _Parser:
    def __init__(self, command: str, settings: Settings) -> None:
        self._command = command
        self._settings = settings
        self._by_name = {
            name: flag for flag in flags_of(COMMANDS[command].letter) for name in flag.names
        }

    def read(self, rest: list[str]) -> None:
        rest.reverse()  # What comes next is at the end.
        while rest:
            given = rest.pop()
            if given == "--":
                self._settings.arguments += reversed(rest)
                return
            if not given.startswith("-") or given == "-":
                self._settings.arguments.append(given)
                continue
            self._set(self._flag(given, rest), rest)
            if self._settings.help or self._settings.help_all:
                return

    def _flag(self, given: str, rest: list[str]) -> Flag:
        """The option that `given` begins with; what follows in the same word goes to `rest`."""
        if given.startswith("--"):
            name, equals, value = given.partition("=")
            flag = self._by_name.get(name)
            if flag is None:
                raise UsageError(f"there is no option {name}{self._similar(name)}")
            if equals:
                if flag.kind in (Kind.SWITCH, Kind.HELP):
                    raise UsageError(f"{name} takes no argument")
                rest.append(value)
            return flag
        flag = self._by_name.get(given[:2])
        if flag is None:
            raise UsageError(f"there is no option {given[:2]}{self._similar('-' + given)}")
        if len(given) > 2:
            rest.append(f"-{given[2:]}" if flag.kind is Kind.SWITCH else given[2:])
        return flag

    def _similar(self, name: str) -> str:
        """A guess at what was meant, with a question mark."""
        from difflib import get_close_matches

        found = get_close_matches(name, [long for long in self._by_name if long[1] == "-"], 1, 0.75)
        return f"; did you mean {found[0]}?" if found else ""

    def _set(self, flag: Flag, rest: list[str]) -> None:
        settings = self._settings
        match flag.kind:
            case Kind.SWITCH | Kind.HELP:
                setattr(settings, flag.field, True)
            case Kind.LIST:
                value = _argument(flag, rest)
                if flag.field == "options_file":
                    self._read_file(value)
                else:
                    getattr(settings, flag.field).append(value)
            case Kind.PROPERTY:
                packet, pair = read_property(self._command, rest)
                settings.properties.setdefault(packet, []).append(pair)
            case _:
                setattr(settings, flag.field, converted(flag, _argument(flag, rest)))

    def _read_file(self, name: str) -> None:
        """-o: on each line an option, and behind a space its argument, spaces and all."""
        try:
            with open(name, encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"-o {name}: {error}") from error
        for number, line in enumerate(lines, 1):
            words = _words(line)
            try:
                self.read(words)
            except UsageError as error:
                raise UsageError(f"{name}, line {number}: {error}") from error


def _words(line: str) -> list[str]:
    """A line of -o. -D has several arguments, for which quotes are as in the shell."""
    line = line.strip()
    if not line or line.startswith("#"):
        return []
    name, _, argument = line.partition(" ")
    if name in ("-D", "--property"):
        from shlex import split

        return [name, *split(argument)]
    return [name, argument.strip()] if argument else [name]


def _argument(flag: Flag, rest: list[str]) -> str:
    if not rest:
        raise UsageError(f"{flag.names[0]} needs its argument: {flag.names[0]} {flag.metavar}")
    return rest.pop()


def converted(flag: Flag, text: str) -> object:
    """The argument as the kind of the option has it; UsageError says what can be given."""
    name = flag.names[0]
    match flag.kind:
        case Kind.INTEGER | Kind.NUMBER:
            return _number(flag, text)
        case Kind.VERSION:
            version = VERSIONS.get(text)
            if version is None:
                raise UsageError(f"{name} {text}: the versions are 5, 311 and 31")
            return version
        case Kind.EXPIRY:
            return _expiry(name, text)
        case Kind.CHOICE:
            if text not in flag.choices:
                raise UsageError(f"{name} {text}: it can be {', '.join(flag.choices)}")
            return text
        case _:
            return text


def _number(flag: Flag, text: str) -> float | int:
    low, high = flag.bounds
    what = "a whole number" if flag.kind is Kind.INTEGER else "a number"
    try:
        value = int(text) if flag.kind is Kind.INTEGER else float(text)
    except ValueError:
        raise UsageError(f"{flag.names[0]} {text}: that is not {what}") from None
    if not low <= value <= high:
        raise UsageError(f"{flag.names[0]} {text}: it can be {low:g} to {high:.10g}")
    return value


def _expiry(name: str, text: str) -> int:
    if text in ("∞", "-1"):
        return NEVER_EXPIRES
    try:
        value = int(text)
    except ValueError:
        raise UsageError(f"{name} {text}: seconds, or -1 or ∞ for ever") from None
    if not 0 <= value <= NEVER_EXPIRES:
        raise UsageError(f"{name} {text}: it can be 0 to {NEVER_EXPIRES} seconds, -1 or ∞")
    return value
