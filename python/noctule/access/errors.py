"""What can go wrong with access control.

    AccessError
    ├── RuleError             a rule cannot be read, or not be put into words for a client
    ├── PasswordFileError     a password file cannot be read
    ├── DirectoryError        a change of the directory that cannot be made
    └── BackEndError          a service that decides did not answer, or not in its terms

All of them deny.
"""

__all__ = ["AccessError", "BackEndError", "DirectoryError", "PasswordFileError", "RuleError"]


class AccessError(Exception):
    """Base of everything access control raises by itself."""


class RuleError(AccessError, ValueError):
    """A rule that cannot be read, or put into words for a client; the text says which."""


class PasswordFileError(AccessError):
    """A password file that cannot be read; the text names file and line, never a secret."""


class DirectoryError(AccessError):
    """A change of the directory that cannot be made: no such user, or one there already."""


class BackEndError(AccessError):
    """A service that was asked about a client did not answer, or not in its terms."""
