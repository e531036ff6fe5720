"""What the parts of a chain are called in the configuration, for listeners that name some."""

from collections.abc import Iterable

__all__ = ["name_of", "unknown_names"]

# By class: the parts themselves do not know what an operator calls them.
NAMES = {
    "Function": "function",
    "HttpService": "http",
    "OAuthBearer": "jwt",
    "PasswordFile": "password_file",
    "Peer": "peer_names",
    "Plain": "plain",
    "Scram": "scram_file",
    "SqlUsers": "sql",
    "Tokens": "jwt",
}


def name_of(part: object) -> str:
    """The key in `[access]` of a link or mechanism; its own `name` where it has one."""
    own = getattr(part, "name", None)
    return own if isinstance(own, str) else NAMES.get(type(part).__name__, type(part).__name__)


def unknown_names(wanted: Iterable[str], parts: Iterable[object]) -> list[str]:
    """The names that none of the parts has."""
    known = {name_of(each) for each in parts}
    return [name for name in wanted if name not in known]
