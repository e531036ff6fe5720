"""The section `[access]`, and the access control that it describes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from noctule.access.access import Access
from noctule.access.acl_file import read_acl_file
from noctule.access.chain import Link, Mechanism
from noctule.access.errors import AccessError
from noctule.access.hashing import PasswordChecker
from noctule.access.names import unknown_names
from noctule.access.password_file import PasswordFile
from noctule.access.peer import Peer
from noctule.access.rules import Rule
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

    oauthbearer: bool = False
    """Whether tokens are taken by the authentication method OAUTHBEARER, too."""


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


class SqlOptions(Options):
    """Users in a database; on where url is set. Needs the package `sqlalchemy`."""

    url: Annotated[str | None, Field(examples=["sqlite:////etc/noctule/users.sqlite"])] = None
    """Database, as SQLAlchemy writes it."""

    query: str = "SELECT password_hash, groups FROM users WHERE name = :user"
    """Query that gives the argon2 hash and, if it likes, the groups of `:user`."""


class AccessOptions(Options):
    """Who is let in, and what they may do. Without anything set here, everybody on this machine
    may do everything.
    """

    allow_anonymous: bool = False
    """Whether clients that say nothing about themselves are let in beside those that do."""

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

    acl_file: File = None
    """Rules in the form of Mosquitto's acl_file; looked at behind those written here."""

    groups: Annotated[dict[str, tuple[str, ...]], Field(strict=False)] = {}
    """Groups and their users, `operators = ["alice", "bob"]`."""

    rules: Annotated[tuple[Rule, ...], Field(strict=False)] = ()
    """Rules, `[[access.rules]]`; the first that speaks of a client, action and topic decides."""

    jwt: JwtOptions = JwtOptions()
    """JSON Web Tokens in the password field; on where key_file or jwks_url is set."""

    http: HttpOptions = HttpOptions()
    """An HTTP service that says who a client is; on where url is set."""

    sql: SqlOptions = SqlOptions()
    """Users in a database; on where url is set. Needs the package `sqlalchemy`."""

    @property
    def authenticates(self) -> bool:
        """Whether anything here tells clients apart."""
        files = (self.password_file, self.scram_file, self.jwt.key_file)
        return self.peer_names or any(
            each is not None for each in (*files, self.jwt.jwks_url, self.http.url, self.sql.url)
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to ask for."""
        return not (self.authenticates or self.rules or self.acl_file is not None)


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
    if options.is_empty and not any(chosen.values()):
        return None
    links = list(links_of(options))
    mechanisms = list(mechanisms_of(options, links))
    acl = () if options.acl_file is None else read_acl_file(options.acl_file)
    welcome = [
        number
        for number, listener in enumerate(broker.listeners)
        if listener.allow_anonymous or (listener.is_loopback and not options.authenticates)
    ]
    for number, names in chosen.items():
        if unknown := unknown_names(names, (*links, *mechanisms)):
            raise AccessError(
                f"listeners[{number}].authenticators: {unknown[0]!r} is not configured in [access]"
            )
    return Access(
        links=links,
        mechanisms=mechanisms,
        rules=(*options.rules, *acl),
        groups=options.groups,
        allow_anonymous=options.allow_anonymous,
        anonymous_listeners=welcome,
        listener_authenticators=chosen,
    )


def links_of(options: AccessOptions) -> Sequence[Link]:
    """The chain in its order: what the transport vouches for first, what costs most last."""
    links: list[Link] = []
    if options.peer_names:
        links.append(Peer())
    tokens = tokens_of(options.jwt)
    if tokens is not None:
        links.append(tokens)
    if options.password_file is not None:
        links.append(PasswordFile(options.password_file, PasswordChecker()))
    if options.sql.url is not None:
        from noctule.access.sql import SqlUsers

        links.append(SqlUsers(options.sql.url, options.sql.query))
    if options.http.url is not None:
        from noctule.access.http_service import HttpService

        http = options.http
        links.append(
            HttpService(
                http.url or "",
                timeout_seconds=http.timeout_seconds,
                retries=http.retries,
                cache_seconds=http.cache_seconds,
            )
        )
    return links


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
    )
