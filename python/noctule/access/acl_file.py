"""Mosquitto's `acl_file`, read as rules.

In Mosquitto's file all that allows is one: whatever line allows, allows, and a `deny` line wins
over all of them. So the denying rules come first here. A line holds for the `user` line above
it, lines above the first for clients without a user name, `pattern` lines for everybody.
"""

from pathlib import Path

from pydantic import ValidationError

from noctule.access.errors import RuleError
from noctule.access.rules import Action, Rule

__all__ = ["read_acl_file"]

ACTIONS: dict[str, tuple[Action, ...]] = {
    "read": ("receive", "subscribe"),
    "write": ("publish",),
    "readwrite": ("publish", "subscribe", "receive"),
    "deny": ("publish", "subscribe", "receive"),
}


def read_acl_file(file: Path) -> tuple[Rule, ...]:
    """The file's rules; RuleError names the line that is wrong, OSError where there is no file."""
    user: str | None = None
    rules: list[Rule] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        keyword, _, rest = text.partition(" ")
        rest = rest.strip()
        if keyword == "user" and rest:
            user = rest
        elif keyword in ("topic", "pattern") and rest:
            if keyword == "topic" and ("%c" in rest or "%u" in rest):
                raise RuleError(f"{file}, line {number}: %c and %u belong in pattern lines")
            try:
                rules.append(rule_of(rest, user, is_pattern=keyword == "pattern"))
            except ValidationError as error:
                raise RuleError(f"{file}, line {number}: {error.errors()[0]['msg']}") from error
        else:
            raise RuleError(f"{file}, line {number}: not a user, topic or pattern line")
    return tuple(sorted(rules, key=lambda rule: rule.permission == "allow"))


def rule_of(text: str, user: str | None, *, is_pattern: bool) -> Rule:
    """The rule of `[read|write|readwrite|deny] filter`."""
    access, _, behind = text.partition(" ")
    if access in ACTIONS and behind.strip():
        topic = behind.strip()
    else:
        access, topic = "readwrite", text
    return Rule(
        permission="deny" if access == "deny" else "allow",
        actions=ACTIONS[access],
        filter=topic,
        # "" among the users is a client without a user name.
        users=() if is_pattern else (user or "",),
    )
