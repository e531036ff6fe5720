"""Who are you, and what may you do: authenticators and access rules."""

from noctule.access.access import Access
from noctule.access.acl_file import read_acl_file
from noctule.access.chain import DENIED, Denied, Identity, Link, Mechanism, Verdict
from noctule.access.directory import Directory, User
from noctule.access.errors import (
    AccessError,
    BackEndError,
    DirectoryError,
    PasswordFileError,
    RuleError,
)
from noctule.access.explain import Explanation, explain
from noctule.access.function import Function
from noctule.access.hashing import PasswordChecker, is_checkable
from noctule.access.keepers import Keeper
from noctule.access.options import AccessOptions, access_of, directory_of, local_rules
from noctule.access.password_file import PasswordFile
from noctule.access.peer import Peer
from noctule.access.rules import Principal, Rule, engine_rules, rules_from
from noctule.access.sources import AclFile, RuleSet, RuleSource

__all__ = [
    "DENIED",
    "Access",
    "AccessError",
    "AccessOptions",
    "AclFile",
    "BackEndError",
    "Denied",
    "Directory",
    "DirectoryError",
    "Explanation",
    "Function",
    "Identity",
    "Keeper",
    "Link",
    "Mechanism",
    "PasswordChecker",
    "PasswordFile",
    "PasswordFileError",
    "Peer",
    "Principal",
    "Rule",
    "RuleError",
    "RuleSet",
    "RuleSource",
    "User",
    "Verdict",
    "access_of",
    "directory_of",
    "engine_rules",
    "explain",
    "is_checkable",
    "local_rules",
    "read_acl_file",
    "rules_from",
]
