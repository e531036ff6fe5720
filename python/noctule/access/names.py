"""What the parts of a chain are called in the configuration, for listeners that name some."""

from collections.abc import Iterable

__all__ = ["name_of", "unknown_names"]

# By class: the parts themselves do not know what an operator calls them.
NAMES = {
    "CramMd5": "insecure_methods",
    "DigestMd5": "insecure_methods",
    "Directory": "directory",
    "Function": "function",
    "HttpService": "http",
    "Ldap": "ldap",
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
    kind = type(part).__name__
    own = getattr(part, "name", None)
    return NAMES.get(kind) or (own if isinstance(own, str) else kind)


def unknown_names(wanted: Iterable[str], parts: Iterable[object]) -> list[str]:
    """The names that none of the parts has."""
    known = {name_of(each) for each in parts}
    return [name for name in wanted if name not in known]
