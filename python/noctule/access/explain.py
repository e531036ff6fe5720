"""Why a client may, or may not, do something."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from noctule import _engine
from noctule.access.rules import Action, Principal, Rule, effective_rules, engine_rules

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer and the rule that gave it."""

    allowed: bool
    rule: str | None
    """The deciding rule, `deny secrets/#`; None: none speaks of it, or there are none at all."""

    def __str__(self) -> str:
        verdict = "allowed" if self.allowed else "denied"
        if self.rule is not None:
            return f"{verdict} by the rule: {self.rule}"
        return f"{verdict}: there are no rules" if self.allowed else f"{verdict}: no rule allows it"


def explain(
    rules: Sequence[Rule],
    principal: Principal,
    action: Action,
    topic: str,
    *,
    qos: int = 0,
    retain: bool = False,
) -> Explanation:
    """Ask the engine's own matcher; `topic` is a filter where the action is `subscribe`."""
    bound = engine_rules(effective_rules(rules, principal), principal)
    if bound is None:
        return Explanation(True, None)
    allowed, rule = _engine.explain(
        json.dumps(bound), principal.client, principal.user, action, topic, qos, retain
    )
    return Explanation(allowed, rule)
