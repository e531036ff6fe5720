"""Users in an LDAP directory: their password is tried by a bind, their groups are searched for.

The library is ldap3, which blocks, so it has a few threads of its own.
"""

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from noctule.access.chain import DENIED, Identity, Verdict
from noctule.access.errors import AccessError, BackEndError
from noctule.access.threads import Threads
from noctule.broker import AuthenticationRequest

__all__ = ["Ldap", "LdapPlan"]

THREADS = 4
# success (before any bind), no such object, invalid DN syntax, invalid credentials, and what
# servers say of accounts that may not bind: inappropriate authentication, unwilling.
NOT_BOUND = (0, 32, 34, 49, 48, 53)
# What a name may not hold in a bind; argon2 is not in the way here, so bytes are the bound.
MAX_PASSWORD_BYTES = 1_024


@dataclass(frozen=True, slots=True)
class LdapPlan:
    """Where users are and how they are found; `%u` is the user name, `%d` the user's entry.

    Servers take `ALICE` for `alice`, and rules do not: the entry's `user_attribute` has to hold
    the name as the client writes it.

    With `user_dn` the entry's name is known, `uid=%u,ou=people,dc=example,dc=org`; without, the
    one entry below `base` that `user_filter` matches is the user's, looked for as `bind_dn`.
    """

    url: str
    """`ldaps://host`, or `ldap://host` with `start_tls` or on this machine."""
    base: str = ""
    user_dn: str | None = None
    user_filter: str = "(uid=%u)"
    user_attribute: str = "uid"
    bind_dn: str | None = None
    """Who searches; None: anonymous, or with `user_dn` the user."""
    bind_password: str | None = None
    start_tls: bool = False
    ca_file: Path | None = None
    group_base: str | None = None
    """Where groups are; None: nobody's groups are looked for."""
    group_filter: str = "(member=%d)"
    group_attribute: str = "cn"
    timeout_seconds: float = 5.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("ldap", "ldaps") or not parts.hostname:
            raise AccessError("an LDAP server is written ldaps://host or ldap://host")
        if parts.scheme == "ldap" and not self.start_tls and not is_loopback(parts.hostname):
            raise AccessError(
                f"passwords would go to {parts.hostname} in the clear: write ldaps:// or "
                "start_tls = true"
            )
        if self.user_dn is None and not self.base:
            raise AccessError("say where LDAP users are: base, or user_dn")


class Ldap:
    """Asks an LDAP server. The optional package `ldap3` must be there; ImportError says so."""

    def __init__(self, plan: LdapPlan) -> None:
        import ldap3

        self._ldap3 = ldap3
        self._plan = plan
        self._threads = Threads("ldap", THREADS)
        self._tls: Any = None
        if plan.start_tls or plan.url.startswith("ldaps:"):
            self._tls = tls_with(plan.ca_file)

    async def identify(self, request: AuthenticationRequest) -> Verdict:
        """The user, if the server takes the password; nothing is known of users it has not."""
        if request.user is None:
            return None
        return await self._threads.run(self._identify, request.user, request.password or b"")

    async def holds(self, user: str) -> str | None:
        """The name of the user's entry. Passwords are the server's alone."""
        return await self._threads.run(self._holds, user)

    async def close(self) -> None:
        """End the threads."""
        self._threads.close()

    def _identify(self, user: str, password: bytes) -> Verdict:
        from ldap3.core.exceptions import LDAPException

        try:
            text = password.decode()
        except UnicodeDecodeError:
            return DENIED
        # An empty password is an anonymous bind, which servers accept (RFC 4513 §5.1.2).
        if not text or "\0" in text or len(password) > MAX_PASSWORD_BYTES or not user:
            return DENIED
        try:
            return self._ask(user, text)
        except LDAPException as error:
            # Its text may hold names and more.
            raise BackEndError(f"the LDAP server failed: {type(error).__name__}") from None

    def _ask(self, user: str, password: str) -> Verdict:
        plan = self._plan
        if plan.user_dn is not None:
            entry: str | None = put_in(plan.user_dn, {"%u": escaped_in_name(user)})
        else:
            entry = self._find(user)
        # A user who is not there costs a bind like one who is.
        is_right = self._binds(entry or f"cn=nobody,{plan.base}", password)
        if entry is None:
            return None
        if not is_right:
            return DENIED
        if plan.user_dn is not None and not self._is_called(entry, user, password):
            return DENIED
        return Identity(user, frozenset(self._groups(entry, user, password)), proof=entry)

    def _holds(self, user: str) -> str | None:
        from ldap3.core.exceptions import LDAPException

        plan = self._plan
        try:
            if plan.user_dn is None:
                return self._find(user)
            entry = put_in(plan.user_dn, {"%u": escaped_in_name(user)})
            # Only the user could look for it, with a password that we do not keep.
            is_there = plan.bind_dn is None or self._is_called(entry, user, None)
        except LDAPException as error:
            raise BackEndError(f"the LDAP server failed: {type(error).__name__}") from None
        return entry if is_there else None

    def _find(self, user: str) -> str | None:
        plan = self._plan
        query = put_in(plan.user_filter, {"%u": escaped_in_filter(user)})
        with self._searching(None, None) as connection:
            found = self._search(connection, plan.base, query, plan.user_attribute)
        if len(found) > 1:
            raise BackEndError("the LDAP server has several entries for one user")
        if not found or user not in values_of(found[0]["attributes"], plan.user_attribute):
            return None
        return str(found[0]["dn"])

    def _is_called(self, entry: str, user: str, password: str | None) -> bool:
        attribute = self._plan.user_attribute
        with self._searching(entry, password) as connection:
            found = self._search(connection, entry, "(objectClass=*)", attribute, below=False)
        return any(user in values_of(each["attributes"], attribute) for each in found)

    def _groups(self, entry: str, user: str, password: str) -> list[str]:
        plan = self._plan
        if plan.group_base is None:
            return []
        names = {"%u": escaped_in_filter(user), "%d": escaped_in_filter(entry)}
        query, attribute = put_in(plan.group_filter, names), plan.group_attribute
        with self._searching(entry, password) as connection:
            found = self._search(connection, plan.group_base, query, attribute)
        return [str(name) for each in found for name in values_of(each["attributes"], attribute)]

    @contextmanager
    def _searching(self, entry: str | None, password: str | None) -> Iterator[Any]:
        """A connection that may search: as `bind_dn`, else as the user, else as nobody."""
        plan = self._plan
        if plan.bind_dn is not None:
            entry, password = plan.bind_dn, plan.bind_password
        with self._connected(entry, password) as (connection, is_bound):
            if not is_bound:
                raise BackEndError("the LDAP server does not let the broker search")
            yield connection

    def _binds(self, entry: str, password: str) -> bool:
        with self._connected(entry, password) as (_, is_bound):
            return is_bound

    @contextmanager
    def _connected(self, name: str | None, password: str | None) -> Iterator[tuple[Any, bool]]:
        """A connection, and whether the server takes the password."""
        from ldap3.core.exceptions import (
            LDAPException,
            LDAPInvalidDnError,
            LDAPPasswordIsMandatoryError,
        )

        # One for each: it holds the state of its connection.
        server = self._ldap3.Server(
            self._plan.url,
            tls=self._tls,
            get_info=self._ldap3.NONE,
            connect_timeout=self._plan.timeout_seconds,
        )
        connection = self._ldap3.Connection(
            server,
            user=name,
            password=password,
            read_only=True,
            auto_referrals=False,
            raise_exceptions=False,
            receive_timeout=max(1, int(self._plan.timeout_seconds)),
        )
        try:
            connection.open()
            if self._plan.start_tls and not connection.start_tls():
                raise BackEndError("the LDAP server does not start TLS")
            try:
                is_bound = bool(connection.bind())
                result = connection.result
            except (LDAPInvalidDnError, LDAPPasswordIsMandatoryError):
                is_bound, result = False, {"result": 0}
            if not is_bound and result["result"] not in NOT_BOUND:
                raise BackEndError(f"the LDAP server failed: {result['description']}")
            yield connection, is_bound
        finally:
            with suppress(LDAPException):
                connection.unbind()
            # Where it could not connect, or does not count itself as open, it leaves its socket.
            if connection.socket is not None:
                connection.socket.close()

    def _search(
        self, connection: Any, base: str, query: str, attribute: str, *, below: bool = True
    ) -> list[Any]:
        connection.search(
            base,
            query,
            search_scope=self._ldap3.SUBTREE if below else self._ldap3.BASE,
            attributes=[attribute],
            size_limit=0,
            time_limit=max(1, int(self._plan.timeout_seconds)),
        )
        if connection.result["result"] not in (0, 32):  # success, no such object
            raise BackEndError(f"the LDAP server failed: {connection.result['description']}")
        return [each for each in connection.response or () if each["type"] == "searchResEntry"]


def tls_with(ca_file: Path | None) -> Any:
    """What ldap3 does TLS with: the standard library's context, which checks the name, too.

    ldap3's own leaves the socket open where the name is wrong, and checks it by a function that
    is no longer in the standard library.
    """
    from ldap3 import Tls

    context = ssl.create_default_context(cafile=ca_file)

    class VerifyingTls(Tls):  # type: ignore[misc]
        def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
            """Shake hands, or close the socket."""
            connection.socket = context.wrap_socket(
                connection.socket, server_hostname=connection.server.host
            )

    return VerifyingTls(validate=ssl.CERT_REQUIRED)


def put_in(text: str, names: Mapping[str, str]) -> str:
    """The text with the names put in, once: what they hold is not looked at again."""
    return re.sub("%[ud]", lambda found: names.get(found[0], found[0]), text)


def values_of(attributes: Any, name: str) -> list[Any]:
    """An attribute's values, be there one or several."""
    found = attributes.get(name, [])
    return list(found) if isinstance(found, list | tuple) else [found]


def escaped_in_filter(text: str) -> str:
    """A text as it stands for itself in a filter (RFC 4515 §3)."""
    return "".join(f"\\{ord(sign):02x}" if sign in "*()\\\0" else sign for sign in text)


def escaped_in_name(text: str) -> str:
    """A text as it stands for itself in an entry's name (RFC 4514 §2.4)."""
    special = {'"', "+", ",", ";", "<", ">", "\\", "=", "#", " ", "\0"}
    return "".join(f"\\{ord(sign):02x}" if sign in special else sign for sign in text)


def is_loopback(host: str) -> bool:
    """Whether nobody on the way can read along."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
