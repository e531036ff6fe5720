"""The engine's matcher against the oracle, over generated rules, clients and actions."""

import random
from collections.abc import Sequence
from typing import Any, Literal

import pytest

from noctule.access import Principal, explain, rules_from
from tests.unit.access import oracle

CASES_A_SEED = 3_000
PEOPLE = [
    ("a", "b"), ("b", "a"), ("x", None), ("+", "a"), ("#", "+"), ("a/b", "a"), ("%u", "%c"),
    ("", None), ("b", ""),
]  # fmt: skip


def some_filter(choose: random.Random, names: Sequence[str]) -> str:
    depth = choose.randint(1, 3)
    levels = [choose.choice(names) for _ in range(depth)]
    if choose.random() < 0.4:
        levels[-1] = "#"
    if levels[0] not in ("+", "#") and choose.random() < 0.1:
        levels[0] = "$" + levels[0]
    return "/".join(levels)


def some_rule(choose: random.Random) -> dict[str, Any]:
    return {
        "permission": choose.choice(("allow", "allow", "deny")),
        "actions": choose.sample(("publish", "subscribe", "receive"), choose.randint(1, 3)),
        "filter": some_filter(choose, ("a", "b", "+", "%c", "%u", "+")),
        "maximum_qos": choose.choice((0, 1, 2, 2)),
        "retain": choose.random() < 0.8,
        "users": choose.choice(([], [], [], [], ["a"], ["b", "+"])),
        "groups": choose.choice(([], [], [], ["operators"])),
        "clients": choose.choice(([], [], [], [], ["a", "+"])),
        "addresses": choose.choice(([], [], [], ["10.0.0.0/8"])),
        "listeners": choose.choice(([], [], [], [1])),
    }


@pytest.mark.parametrize("seed", range(8))
def test_engine_and_oracle_agree(seed: int) -> None:
    choose = random.Random(seed)
    verdicts = {True: 0, False: 0}
    for _ in range(CASES_A_SEED):
        tables = [some_rule(choose) for _ in range(choose.randint(1, 5))]
        client, user = choose.choice(PEOPLE)
        groups: frozenset[str] = choose.choice((frozenset(), frozenset({"operators"})))
        address = choose.choice((None, "10.1.2.3", "192.0.2.1"))
        listener = choose.randint(0, 1)
        actions: tuple[Literal["publish", "subscribe", "receive"], ...]
        actions = ("publish", "subscribe", "receive")
        action = choose.choice(actions)
        if action == "subscribe":
            topic = some_filter(choose, ("a", "b", "x", "+"))
        else:
            topic = choose.choice(oracle.WORLD)
        qos, retain = choose.randint(0, 2), choose.random() < 0.3
        who = (client, user, groups, address, listener)
        principal = Principal(client, user, groups, address, listener)
        expected = oracle.allowed(tables, who, action, topic, qos, retain)
        answer = explain(rules_from(tables), principal, action, topic, qos=qos, retain=retain)
        assert answer.allowed == expected, (tables, who, action, topic, qos, retain, answer)
        verdicts[expected] += 1
    assert min(verdicts.values()) > CASES_A_SEED // 20, verdicts
