"""The section `[access]`, and the access control that it describes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from noctule.access.access import Access
from noctule.access.acl_file import read_acl_file
from noctule.access.chain import Link, Mechanism
from noctule.access.directory import FILE_NAME as DIRECTORY_FILE
from noctule.access.directory import Directory
from noctule.access.errors import AccessError
from noctule.access.hashing import PasswordChecker
from noctule.access.names import unknown_names
from noctule.access.password_file import PasswordFile
from noctule.access.peer import Peer
from noctule.access.rules import Rule
from noctule.access.sources import AclFile, RuleSet, RuleSource
from noctule.broker import BrokerOptions

if TYPE_CHECKING:
    from noctule.access.token import Tokens

__all__ = ["AccessOptions", "access_of"]


class Options(BaseModel):
    """Strict and frozen: a wrong key or type is an error, not a guess."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


File = Annotated[Path | None, Field(strict=False, examples=["/etc/noctule/file"])]
Address = Annotated[str | None, Field(examples=["https://example.org/mqtt"])]


class JwtOptions(Options):
    """JSON Web Tokens in the password field; on where key_file or jwks_url is set."""

    key_file: File = None
    """Public key in PEM, or the secret of an HMAC algorithm."""

    jwks_url: Address = None
    """Address of a JSON Web Key Set."""

    algorithms: Annotated[tuple[str, ...], Field(strict=False)] = ("RS256", "ES256")
    """Algorithms that are taken."""

    audience: str = "mqtt"
    """What the claim `aud` must hold."""

    issuer: str = ""
    """What the claim `iss` must be."""

    user_claim: str = "sub"
    """Claim that holds the user name."""

    groups_claim: str = "groups"
    """Claim that holds the groups."""

    leeway_seconds: Annotated[float, Field(ge=0, le=300)] = 0.0
    """Seconds by which clocks may differ."""

    oauthbearer: bool = False
    """Whether tokens are taken by the authentication method OAUTHBEARER, too."""

    @model_validator(mode="after")
    def _require_issuer(self) -> Self:
        if (self.key_file or self.jwks_url) and not self.issuer:
            raise PydanticCustomError(
                "issuer_missing", "tokens are taken from one issuer: set issuer to their `iss`"
            )
        return self


class HttpOptions(Options):
    """An HTTP service that says who a client is; on where url is set."""

    url: Address = None
    """Where clients are asked about, by POST."""

    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 2.0
    """Seconds for one attempt."""

    retries: Annotated[int, Field(ge=0, le=10)] = 1
    """Further attempts."""

    cache_seconds: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """Seconds for which an answer holds."""

    failures: Annotated[int, Field(ge=1, le=1000)] = 5
    """Failed questions in a row after which the service is left alone, and everybody refused."""

    pause_seconds: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """Seconds for which it is left alone."""

    rules_url: Address = None
    """Where rules for everybody are, `{"rules": [...], "groups": {...}}`, asked for by GET."""

    refresh_seconds: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    """Seconds until rules are asked for again."""


class SqlOptions(Options):
    """Users and rules in a database; on where url is set. Needs the package `sqlalchemy`."""

    url: Annotated[str | None, Field(examples=["sqlite:////etc/noctule/users.sqlite"])] = None
    """Database, as SQLAlchemy writes it."""

    query: str = "SELECT * FROM users WHERE name = :user"
    """Query for the row of `:user`, with `password_hash`, `groups` if there are any, and `name`,
    which must be as the client writes it; `""`: no users are there."""

    rules_query: Annotated[
        str | None, Field(examples=["SELECT * FROM access_rules ORDER BY position"])
    ] = None
    """Query for rules in their order, its columns named like the keys of a rule; not set: no
    rules are there."""

    refresh_seconds: Annotated[float, Field(gt=0, le=86_400)] = 5.0
    """Seconds until rules are asked for again."""


class LdapOptions(Options):
    """Users in an LDAP directory; on where url is set. Needs the package `ldap3`.

    In user_dn, user_filter and group_filter `%u` is the user name and `%d` the user's entry.
    """

    url: Annotated[str | None, Field(examples=["ldaps://ldap.example.org"])] = None
    """Server; `ldap://` only with start_tls or on this machine."""

    base: Annotated[str, Field(examples=["ou=people,dc=example,dc=org"])] = ""
    """Where users are looked for."""

    user_dn: Annotated[str | None, Field(examples=["uid=%u,ou=people,dc=example,dc=org"])] = None
    """Name of the user's entry; not set: it is looked for."""

    user_filter: str = "(uid=%u)"
    """What finds the user's entry below base."""

    user_attribute: str = "uid"
    """Attribute of the entry that holds the user name, as the client writes it."""

    bind_dn: Annotated[str | None, Field(examples=["cn=noctule,dc=example,dc=org"])] = None
    """Who searches; not set: nobody, or the user."""

    bind_password_file: File = None
    """File with the password of bind_dn, a line."""

    start_tls: bool = False
    """Whether an `ldap://` connection goes on in TLS."""

    ca_file: File = None
    """Authorities of the server's certificate; not set: those of the system."""

    group_base: Annotated[str | None, Field(examples=["ou=groups,dc=example,dc=org"])] = None
    """Where groups are looked for; not set: nowhere."""

    group_filter: str = "(member=%d)"
    """What finds the groups of a user."""

    group_attribute: str = "cn"
    """Attribute of a group that holds its name."""

    timeout_seconds: Annotated[float, Field(ge=1, le=60)] = 5.0
    """Seconds for one answer of the server."""


class AccessOptions(Options):
    """Who is let in, and what they may do. Without anything set here, everybody on this machine
    may do everything.
    """

    allow_anonymous: bool | None = None
    """Whether clients that say nothing about themselves are let in beside those that do. Not
    set: only on addresses of this machine, as long as nothing else here tells clients apart."""

    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 10.0
    """Seconds that the answer about one client may take; beyond it is refused."""

    password_file: File = None
    """Users with their passwords, as `noctule passwd` writes it; read again when it changes."""

    scram_file: File = None
    """Users for the authentication methods SCRAM-SHA-256 and SCRAM-SHA-512."""

    plain: bool = False
    """Whether the authentication method PLAIN is taken, over TLS and on this machine."""

    peer_names: bool = False
    """Whether the name of a client certificate, or of the user at a Unix socket, is the user
    name."""

    certificate_name: Literal["name", "subject"] = "name"
    """What is the name of a certificate: its first alternative name or else its common name, or
    the whole subject, `CN=sensor-7,O=Example`."""

    directory: bool = False
    """Whether users, groups and rules are kept in data_dir, to be edited while the broker runs
    by `noctule users` and in Python."""

    insecure_methods: Annotated[
        tuple[Literal["DIGEST-MD5", "CRAM-MD5"], ...], Field(strict=False)
    ] = ()
    """Old authentication methods that are taken nevertheless: they rest on MD5, and passwords
    have to be kept in the clear."""

    clear_text_file: File = None
    """Users for insecure_methods, lines `name:password`; nobody else may read it."""

    acl_file: File = None
    """Rules in the form of Mosquitto's acl_file, looked at behind those written here; read again
    when it changes."""

    groups: dict[str, Annotated[tuple[str, ...], Field(strict=False)]] = {}
    """Groups and their users, `operators = ["alice", "bob"]`."""

    rules: Annotated[tuple[Rule, ...], Field(strict=False)] = ()
    """Rules, `[[access.rules]]`; the first that speaks of a client, action and topic decides."""

    jwt: JwtOptions = JwtOptions()
    """JSON Web Tokens in the password field; on where key_file or jwks_url is set."""

    http: HttpOptions = HttpOptions()
    """An HTTP service that says who a client is; on where url is set."""

    sql: SqlOptions = SqlOptions()
    """Users and rules in a database; on where url is set. Needs the package `sqlalchemy`."""

    ldap: LdapOptions = LdapOptions()
    """Users in an LDAP directory; on where url is set. Needs the package `ldap3`."""

    @model_validator(mode="after")
    def _require_clear_text_file(self) -> Self:
        if self.insecure_methods and self.clear_text_file is None:
            raise PydanticCustomError(
                "clear_text_file_missing",
                "insecure_methods need passwords in the clear, and clear_text_file is not set",
            )
        return self

    @property
    def authenticates(self) -> bool:
        """Whether anything here tells clients apart."""
        named = (
            self.password_file,
            self.scram_file,
            self.jwt.key_file,
            self.jwt.jwks_url,
            self.http.url,
            self.ldap.url,
        )
        return (
            self.peer_names
            or self.directory
            or bool(self.insecure_methods)
            or bool(self.sql.url and self.sql.query)
            or any(each is not None for each in named)
        )

    @property
    def has_rule_sources(self) -> bool:
        """Whether there are rules beside those written here, be it none at the moment."""
        return bool(
            self.acl_file
            or self.directory
            or self.http.rules_url
            or (self.sql.url and self.sql.rules_query)
        )

    @property
    def has_rules(self) -> bool:
        """Whether anything here says what clients may do."""
        return bool(self.rules) or self.has_rule_sources


def access_of(options: AccessOptions, broker: BrokerOptions) -> Access | None:
    """The access control that is configured; None where none is.

    Raises AccessError or OSError for a file that cannot be read, ImportError for a package that
    is not there.
    """
    chosen = {
        number: listener.authenticators
        for number, listener in enumerate(broker.listeners)
        if listener.authenticators is not None
    }
    says_something = options.authenticates or options.has_rules or any(chosen.values())
    if not says_something and options.allow_anonymous is not False:
        return None
    directory = directory_of(options, broker)
    links = list(links_of(options, directory))
    mechanisms = list(mechanisms_of(options, links))
    open_here = options.allow_anonymous is None and not options.authenticates
    welcome = [
        number
        for number, listener in enumerate(broker.listeners)
        if listener.allow_anonymous or (listener.is_loopback and open_here)
    ]
    for number, names in chosen.items():
        if unknown := unknown_names(names, (*links, *mechanisms)):
            raise AccessError(
                f"listeners[{number}].authenticators: {unknown[0]!r} is not configured in [access]"
            )
    return Access(
        links=links,
        mechanisms=mechanisms,
        rules=options.rules,
        sources=sources_of(options, directory),
        groups=options.groups,
        allow_anonymous=bool(options.allow_anonymous),
        anonymous_listeners=welcome,
        listener_authenticators=chosen,
        directory=directory,
    )


def directory_of(options: AccessOptions, broker: BrokerOptions) -> Directory | None:
    """The directory in data_dir; None where none is wanted."""
    if not options.directory:
        return None
    if broker.data_dir is None:
        raise AccessError("access.directory keeps users in data_dir, and data_dir is not set")
    broker.data_dir.mkdir(parents=True, exist_ok=True)
    return Directory(broker.data_dir / DIRECTORY_FILE)


def sources_of(options: AccessOptions, directory: Directory | None) -> Sequence[RuleSource]:
    """Where rules are besides the configuration, in the order in which they are looked at."""
    sources: list[RuleSource] = []
    if options.acl_file is not None:
        read_acl_file(options.acl_file)  # a wrong one is said at the start
        sources.append(AclFile(options.acl_file))
    if directory is not None:
        sources.append(directory)
    if options.sql.url is not None and options.sql.rules_query is not None:
        from noctule.access.sql import SqlRules

        sql = options.sql
        sources.append(SqlRules(sql.url or "", sql.rules_query or "", sql.refresh_seconds))
    if options.http.rules_url is not None:
        from noctule.access.http_service import HttpRules

        http = options.http
        sources.append(
            HttpRules(
                http.rules_url or "",
                timeout_seconds=http.timeout_seconds,
                refresh_seconds=http.refresh_seconds,
            )
        )
    return sources


async def local_rules(options: AccessOptions, broker: BrokerOptions) -> tuple[RuleSet, list[str]]:
    """Rules and groups as far as nothing that runs elsewhere has to be asked, and what was not.

    For who explains them beside the broker: nothing is made that is not there.
    """
    here: list[RuleSource] = []
    elsewhere: list[str] = []
    directory = options.directory and broker.data_dir is not None
    if directory and broker.data_dir is not None and (broker.data_dir / DIRECTORY_FILE).exists():
        here.append(Directory(broker.data_dir / DIRECTORY_FILE))
    if options.acl_file is not None:
        here.insert(0, AclFile(options.acl_file))
    if options.sql.url is not None and options.sql.rules_query is not None:
        if options.sql.url.startswith("sqlite"):
            from noctule.access.sql import SqlRules

            here.append(SqlRules(options.sql.url, options.sql.rules_query))
        else:
            elsewhere.append("access.sql")
    if options.http.rules_url is not None:
        elsewhere.append("access.http.rules_url")
    rules = list(options.rules)
    groups = {name: set(users) for name, users in options.groups.items()}
    for source in here:
        try:
            found = await source.load()
        finally:
            await source.close()
        rules += found.rules
        for name, users in found.groups.items():
            groups.setdefault(name, set()).update(users)
    return RuleSet(tuple(rules), {n: frozenset(users) for n, users in groups.items()}), elsewhere


def links_of(options: AccessOptions, directory: Directory | None) -> Sequence[Link]:
    """The chain in its order: what the transport vouches for first, what costs most last."""
    links: list[Link] = []
    if options.peer_names:
        links.append(Peer(whole_subject=options.certificate_name == "subject"))
    tokens = tokens_of(options.jwt)
    if tokens is not None:
        links.append(tokens)
    if options.password_file is not None:
        links.append(PasswordFile(options.password_file, PasswordChecker()))
    if directory is not None:
        links.append(directory)
    if options.sql.url is not None and options.sql.query:
        from noctule.access.sql import SqlUsers

        links.append(SqlUsers(options.sql.url, options.sql.query))
    if options.ldap.url is not None:
        links.append(ldap_of(options.ldap))
    if options.http.url is not None:
        from noctule.access.http_service import HttpService

        http = options.http
        links.append(
            HttpService(
                http.url or "",
                timeout_seconds=http.timeout_seconds,
                retries=http.retries,
                cache_seconds=http.cache_seconds,
                failures=http.failures,
                pause_seconds=http.pause_seconds,
            )
        )
    return links


def ldap_of(options: LdapOptions) -> Link:
    """The LDAP directory that is configured."""
    from noctule.access.ldap import Ldap, LdapPlan

    fields = options.model_dump(exclude={"bind_password_file"})
    file = options.bind_password_file
    password = None if file is None else file.read_text(encoding="utf-8").rstrip("\r\n")
    return Ldap(LdapPlan(**fields, bind_password=password))


def mechanisms_of(options: AccessOptions, links: Sequence[Link]) -> Sequence[Mechanism]:
    """The authentication methods that are on."""
    mechanisms: list[Mechanism] = []
    if options.scram_file is not None:
        from noctule.access.sasl import Scram, ScramFile

        methods: tuple[Literal["SCRAM-SHA-256", "SCRAM-SHA-512"], ...] = (
            "SCRAM-SHA-256",
            "SCRAM-SHA-512",
        )
        mechanisms += [Scram(ScramFile(options.scram_file, name), name) for name in methods]
    if options.insecure_methods and options.clear_text_file is not None:
        from noctule.access.insecure_sasl import ClearTextFile, CramMd5, DigestMd5

        clear = ClearTextFile(options.clear_text_file)
        offered = {"CRAM-MD5": CramMd5, "DIGEST-MD5": DigestMd5}
        mechanisms += [offered[name](clear) for name in dict.fromkeys(options.insecure_methods)]
    if options.plain:
        from noctule.access.sasl import Plain

        mechanisms.append(Plain(tuple(links)))
    tokens = tokens_of(options.jwt) if options.jwt.oauthbearer else None
    if tokens is not None:
        from noctule.access.sasl import OAuthBearer

        mechanisms.append(OAuthBearer(tokens))
    return mechanisms


def tokens_of(options: JwtOptions) -> "Tokens | None":
    """The tokens that are taken; None where no key is named."""
    if options.key_file is None and options.jwks_url is None:
        return None
    from noctule.access.token import KeyFile, KeySet, Tokens

    keys = KeySet(options.jwks_url) if options.jwks_url else KeyFile(options.key_file or Path())
    return Tokens(
        keys,
        algorithms=options.algorithms,
        audience=options.audience,
        issuer=options.issuer,
        user_claim=options.user_claim,
        groups_claim=options.groups_claim,
        leeway_seconds=options.leeway_seconds,
    )
