"""A second opinion on access, as plain as it can be: it tries every topic there is.

The world is small: three names and one that no rule mentions, up to four levels, with and
without a `$` in front. A rule covers a filter if it matches every topic the filter matches.
"""

from itertools import product
from typing import Any

NAMES = ("a", "b", "+", "x")
WORLD = [
    "/".join(levels) for depth in range(1, 5) for levels in product(("a", "b", "x"), repeat=depth)
]
WORLD += ["$" + topic for topic in WORLD if topic.count("/") < 3]


Levels = list[str | tuple[str]]


def matches(levels: Levels, topic: str) -> bool:
    """Whether the filter, a list of levels, matches the topic; a tuple is a literal."""
    if topic.startswith("$") and levels[0] in ("+", "#"):
        return False
    return below(levels, topic.split("/"))


def below(levels: Levels, topic: list[str]) -> bool:
    if levels == ["#"]:
        return True
    if not levels or not topic:
        return not levels and not topic
    first = levels[0]
    if first != "+" and first != (topic[0],):
        return False
    rest = levels[1:]
    return below(rest, topic[1:]) or (rest == ["#"] and len(topic) == 1)


def levels_of(text: str, client: str = "", user: str = "") -> Levels:
    """The levels with names put in: wildcards as they are, everything else a literal."""
    found: Levels = []
    for level in text.split("/"):
        if level in ("+", "#"):
            found.append(level)
            continue
        pieces = []
        while level:
            if level[:2] in ("%c", "%u"):
                pieces.append(client if level[:2] == "%c" else user)
                level = level[2:]
            else:
                pieces.append(level[0])
                level = level[1:]
        found.append(("".join(pieces),))
    return found


Who = tuple[str, str | None, frozenset[str], str | None, int]


def is_about(rule: dict[str, Any], who: Who) -> bool:
    client, user, groups, address, listener = who
    if rule["users"] and (user or "") not in rule["users"]:
        return False
    if rule["groups"] and not any(group in rule["groups"] for group in groups):
        return False
    if rule["clients"] and client not in rule["clients"]:
        return False
    if rule["listeners"] and listener not in rule["listeners"]:
        return False
    if rule["addresses"] == ["10.0.0.0/8"]:
        return address is not None and address.startswith("10.")
    return True


def allowed(
    rules: list[dict[str, Any]], who: Who, action: str, topic: str, qos: int, retain: bool
) -> bool:
    """What the first rule that speaks of it says; without any, no."""
    client, user = who[0], who[1]
    if not rules:
        return True
    for rule in rules:
        if action not in rule["actions"] or not is_about(rule, who):
            continue
        if user is None and "%u" in rule["filter"]:
            continue
        levels = levels_of(rule["filter"], client, user or "")
        if action == "subscribe":
            asked = levels_of(topic)
            covered = [each for each in WORLD if matches(asked, each)]
            speaks = all(matches(levels, each) for each in covered)
        else:
            speaks = matches(levels, topic)
        if not speaks:
            continue
        if rule["permission"] == "deny":
            return False
        if action != "receive" and qos > rule["maximum_qos"]:
            continue
        if action == "publish" and retain and not rule["retain"]:
            continue
        return True
    return False
