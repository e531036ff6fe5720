"""Access rules as an operator writes them, and as the engine takes them for one client."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from noctule.access.errors import RuleError
from noctule.broker import EngineRule

__all__ = ["Principal", "Rule", "engine_rules", "rules_from"]

Action = Literal["publish", "subscribe", "receive"]

CLAIM = re.compile(r"%\{([^{}]+)\}")
MAX_FILTER_BYTES = 65_535


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a client has proved to be, as far as rules ask."""

    client: str
    user: str | None = None
    """None: nobody has vouched for a name."""
    groups: frozenset[str] = frozenset()
    address: str | None = None
    listener: int = 0
    claims: Mapping[str, str] = field(default_factory=dict)
    """For `%{name}` in filters."""
    own_rules: tuple["Rule", ...] = ()
    """Rules that came with the proof, looked at before the configured ones."""
    restricted: bool = False
    """Whether it is denied what no rule allows even where there is no rule at all."""


class Rule(BaseModel):
    """Who may, or may not, do what where.

    Rules are looked at in their order; the first that speaks of the client, the action and the
    topic decides. Where none does, and there is any rule at all, the answer is no.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )

    permission: Literal["allow", "deny"] = "allow"
    """Whether the rule allows or denies."""

    actions: Annotated[tuple[Action, ...], Field(strict=False, min_length=1)] = (
        "publish",
        "subscribe",
        "receive",
    )
    """What it speaks of: `publish`, `subscribe`, and `receive`, to be delivered a message."""

    filter: str = "#"
    """Topic filter; `%c` in it is the client identifier, `%u` the user name and `%{name}` a claim
    of the client's token, all of them literally. `#` and `+` do not reach topics that begin
    with `$`."""

    maximum_qos: Annotated[int, Field(ge=0, le=2)] = 2
    """Highest QoS that an allowing rule allows."""

    retain: bool = True
    """Whether an allowing rule allows to publish with RETAIN."""

    users: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """User names it is about, `""` for clients without one; none: not a question of the name."""

    groups: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Groups or roles it is about, one of which the client is in; none: no question of them."""

    clients: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Client identifiers it is about; none: no question of them."""

    addresses: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Networks or addresses it is about, `10.0.0.0/8`; none: no question of them."""

    listeners: Annotated[tuple[int, ...], Field(strict=False)] = ()
    """Listeners it is about, by their position from 0; none: no question of them."""

    @field_validator("filter")
    @classmethod
    def _is_filter(cls, value: str) -> str:
        levels = value.split("/")
        if not value or "\0" in value or len(value.encode()) > MAX_FILTER_BYTES:
            raise ValueError("a topic filter has 1 to 65535 bytes and no U+0000")
        if "#" in "".join(levels[:-1]) or ("#" in levels[-1] and levels[-1] != "#"):
            raise ValueError(f"in the filter {value!r} `#` does not stand alone at the end")
        if any("+" in level and level != "+" for level in levels):
            raise ValueError(f"in the filter {value!r} `+` does not stand alone in its level")
        return value

    @field_validator("addresses")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network)
        return value

    def is_about(self, principal: Principal) -> bool:
        """Whether the client is one that the rule names."""
        return (
            (not self.users or self._names_user(principal.user))
            and (not self.groups or not principal.groups.isdisjoint(self.groups))
            and (not self.clients or principal.client in self.clients)
            and (not self.listeners or principal.listener in self.listeners)
            and (not self.addresses or self._holds_address(principal.address))
        )

    def _names_user(self, user: str | None) -> bool:
        # An empty name is a name, and not that of a client without one.
        return "" in self.users if user is None else user != "" and user in self.users

    def _holds_address(self, address: str | None) -> bool:
        if address is None:
            return False
        found = ip_address(address)
        networks = (ip_network(network) for network in self.addresses)
        return any(found.version == each.version and found in each for each in networks)


def effective_rules(rules: Sequence[Rule], principal: Principal) -> Sequence[Rule]:
    """The rules, or what holds where there are none at all.

    Then everybody may do everything, except look into the broker from afar.
    """
    if rules or principal.own_rules or principal.restricted or is_local(principal.address):
        return rules
    return (
        Rule(permission="deny", actions=("subscribe", "receive"), filter="$SYS/#"),
        Rule(),
    )


def is_local(address: str | None) -> bool:
    """Whether it is this machine's own, or no network address at all."""
    return address is None or ip_address(address).is_loopback


def engine_rules(rules: Sequence[Rule], principal: Principal) -> list[EngineRule] | None:
    """The rules of one client in their order; None, which is everything, where there are none.

    RuleError where a name of the client's cannot be put into a denying rule.
    """
    everything = (*principal.own_rules, *rules)
    if not everything and not principal.restricted:
        return None
    return [
        each
        for rule in everything
        if rule.is_about(principal) and (each := bind(rule, principal)) is not None
    ]


def bind(rule: Rule, principal: Principal) -> EngineRule | None:
    """The rule with claims put in; None where it can match nothing.

    `%c` and `%u` are left to the engine, which puts them in as literals.
    """
    if principal.user is None and "%u" in rule.filter:
        return None
    text = ""
    rest = rule.filter
    while found := CLAIM.search(rest):
        value = principal.claims.get(found[1])
        # A topic cannot hold a wildcard, nor a level a slash: such a literal matches nothing.
        if value is None or any(sign in value for sign in "+#/\0"):
            return None
        text += rest[: found.start()] + value
        rest = rest[found.end() :]
        if "%" in value:
            # The engine would look into it again.
            if rule.permission == "allow":
                return None
            raise RuleError(f"claim {found[1]!r} holds a %, and a denying rule names it")
    return EngineRule(
        allow=rule.permission == "allow",
        actions=list(rule.actions),
        filter=text + rest,
        maximum_qos=rule.maximum_qos,
        retain=rule.retain,
    )


def rules_from(tables: Iterable[Mapping[str, object] | Rule]) -> tuple[Rule, ...]:
    """Rules from tables as they stand in TOML; pydantic's ValidationError for a wrong one."""
    return tuple(
        table if isinstance(table, Rule) else Rule.model_validate(table) for table in tables
    )
