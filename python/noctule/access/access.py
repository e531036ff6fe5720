"""Access control: a chain that says who a client is, and rules that say what it may do."""

import asyncio
import dataclasses
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from noctule.access.chain import DENIED, Denied, Identity, Link, Mechanism, ask
from noctule.access.directory import Directory
from noctule.access.errors import AccessError, RuleError
from noctule.access.keepers import KeptFiles, still_stands
from noctule.access.names import name_of
from noctule.access.rules import Principal, Rule, effective_rules, engine_rules, rules_from
from noctule.access.sources import RuleSource, RuleSources
from noctule.broker import (
    Accept,
    Answer,
    AuthenticationRequest,
    Challenge,
    Client,
    EngineRule,
    Refuse,
    Sessions,
)

__all__ = ["Access"]

NOT_AUTHORIZED = 0x87
BAD_METHOD = 0x8C

logger = logging.getLogger("noctule.access")


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A client that was let in, and why."""

    principal: Principal
    identity: Identity


class Access:
    """An authenticator for `Broker(authenticator=...)`.

    The first of `links` that knows a client decides; one that raises denies. Clients with an
    authentication method go to the mechanism of that name. `allow_anonymous` lets in clients
    that say nothing about themselves, `anonymous_listeners` those of listeners, by position.
    `listener_authenticators` are names, as of `name_of`, of all that is asked about the clients
    of a listener; of others everything is. `groups` are names of groups with their users. The
    rules of `sources` come behind `rules`.
    """

    def __init__(
        self,
        *,
        links: Sequence[Link] = (),
        mechanisms: Sequence[Mechanism] = (),
        rules: Iterable[Rule | Mapping[str, object]] = (),
        sources: Sequence[RuleSource] = (),
        groups: Mapping[str, Iterable[str]] | None = None,
        allow_anonymous: bool = False,
        anonymous_listeners: Iterable[int] = (),
        listener_authenticators: Mapping[int, Iterable[str]] | None = None,
        directory: Directory | None = None,
    ) -> None:
        self.directory = directory
        """Users and rules to be edited, where they are; to be named as link and source, too."""
        self._links = tuple(links)
        self._mechanisms = {each.method: each for each in mechanisms}
        self._rules = rules_from(rules)
        self._sources = RuleSources(sources, self._put_in_force)
        self._files = KeptFiles(self._parts, self._recheck)
        self._groups = {name: frozenset(users) for name, users in (groups or {}).items()}
        self._allow_anonymous = allow_anonymous
        self._anonymous_listeners = frozenset(anonymous_listeners)
        self._chosen = {
            listener: frozenset(names)
            for listener, names in (listener_authenticators or {}).items()
        }
        self._sessions: Sessions | None = None
        self._asking: set[asyncio.Task[object]] = set()
        # By client identifier, or by address where the broker makes up the identifier.
        self._known: dict[object, Known] = {}
        self._most_known = 1024
        self._tidying: asyncio.Task[None] | None = None

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force, those of the sources behind the others."""
        return (*self._rules, *self._sources.rules)

    async def start(self, request: AuthenticationRequest) -> Answer:
        """Who it is: by a mechanism where the client names one, else by the chain."""
        with self._asked():
            return await self._start(request)

    async def _start(self, request: AuthenticationRequest) -> Answer:
        await self._sources.require()
        if request.method is not None:
            return await self._step(request, first=True)
        identity = await self._identify(request)
        if isinstance(identity, Denied):
            logger.warning("client %r of user %r refused", request.client, request.user)
            return Refuse(identity.reason_code)
        return self._accept(request, identity, None)

    async def continue_(self, request: AuthenticationRequest) -> Answer:
        """The next step of a mechanism."""
        with self._asked():
            return await self._step(request, first=False)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """What is asked in here, is asked of links that stay open meanwhile."""
        task = asyncio.current_task()
        assert task is not None
        self._asking.add(task)
        try:
            yield
        finally:
            self._asking.discard(task)

    async def _step(self, request: AuthenticationRequest, *, first: bool) -> Answer:
        mechanism = self._mechanisms.get(request.method or "")
        if mechanism is None or not self._asks(mechanism, request):
            return Refuse(BAD_METHOD)
        found = await mechanism.step(request, first=first)
        if isinstance(found, Accept | Challenge | Refuse):
            return found
        identity, data = found
        voucher = identity.voucher or mechanism.method
        return self._accept(request, dataclasses.replace(identity, voucher=voucher), data)

    async def _identify(self, request: AuthenticationRequest) -> Identity | Denied:
        links = [link for link in self._links if self._asks(link, request)]
        verdict = await ask(links, request)
        if verdict is not None:
            return verdict
        nameless = request.user is None and request.password is None
        # With nobody to ask, a name is only a word: it is let in like one without.
        if self._welcomes(request.listener) and (nameless or not links):
            return Identity(None)
        return DENIED

    def _welcomes(self, listener: int) -> bool:
        """Whether clients may come in there that say nothing about themselves."""
        return self._allow_anonymous or listener in self._anonymous_listeners

    def _parts(self) -> list[tuple[str, object]]:
        """Links and mechanisms by the names under which they vouch for clients."""
        return [(name_of(link), link) for link in self._links] + list(self._mechanisms.items())

    def _asks(self, part: object, request: AuthenticationRequest) -> bool:
        chosen = self._chosen.get(request.listener)
        return chosen is None or name_of(part) in chosen

    def _accept(
        self, request: AuthenticationRequest, identity: Identity, data: bytes | None
    ) -> Accept:
        principal = Principal(
            client=request.client,
            user=identity.user,
            groups=identity.groups,
            address=request.address,
            listener=request.listener,
            claims=identity.claims,
            own_rules=identity.rules,
            restricted=identity.restricted,
        )

        def rules() -> list[EngineRule] | None:
            self._remember(request, Known(principal, identity))
            return self._bind(principal)

        # Bound when the engine is told: rules may change while others are still asked.
        return Accept(data, identity.user, rules, identity.expires_at)

    def _remember(self, request: AuthenticationRequest, known: Known) -> None:
        self._known[request.client or (request.address, request.port)] = known
        if len(self._known) > self._most_known and self._tidying is None:
            self._tidying = asyncio.create_task(self._push())
            self._tidying.add_done_callback(self._tidied)

    def _tidied(self, task: asyncio.Task[None]) -> None:
        self._tidying = None

    def _groups_of(self, user: str | None) -> frozenset[str]:
        configured = (name for name, users in self._groups.items() if user in users)
        return frozenset(configured) | self._sources.groups_of(user)

    def _bind(self, principal: Principal) -> list[EngineRule] | None:
        groups = principal.groups | self._groups_of(principal.user)
        restricted = principal.restricted or bool(self._sources)
        principal = dataclasses.replace(principal, groups=groups, restricted=restricted)
        if not self._sources.are_loaded:
            return []
        return engine_rules(effective_rules(self.rules, principal), principal)

    def _bind_safely(self, principal: Principal) -> list[EngineRule] | None:
        """The same for a session that is there: rules that cannot be bound allow nothing."""
        try:
            return self._bind(principal)
        except RuleError as error:
            logger.error("client %r may do nothing: %s", principal.client, error)
            return []

    async def attach(self, sessions: Sessions) -> None:
        """The broker has started: sessions it kept get the rules of today."""
        self._sessions = sessions
        self._sources.start()
        self._files.start()
        await self._push()

    async def detach(self) -> None:
        """The broker has stopped."""
        self._sessions = None
        await self._files.stop()
        await self._sources.close()
        await asyncio.gather(*(link.close() for link in self._links))

    async def update(
        self,
        rules: Iterable[Rule | Mapping[str, object]],
        groups: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        """Put other rules, and groups if given, in force, on the sessions there are too.

        pydantic's ValidationError for a wrong rule; those before stay in force then.
        """
        self._rules = rules_from(rules)
        if groups is not None:
            self._groups = {name: frozenset(users) for name, users in groups.items()}
        await self._push()

    async def replace(self, other: "Access") -> None:
        """Put all of another access control in force, which is not to be used itself then.

        Clients that are just being asked about are still asked in the old way, all others, and
        the rules of every session, are of the new one. Whom the new one would not let in any more
        is disconnected.
        """
        await other._sources.require()
        asking, links, sources = set(self._asking), self._links, self._sources
        self.directory = other.directory
        self._sources = other._sources
        self._sources.tell(self._put_in_force)
        self._links, self._mechanisms = other._links, other._mechanisms
        if self._sessions is not None:
            self._sources.start()
            self._files.start()
        self._rules, self._groups = other._rules, other._groups
        self._chosen = other._chosen
        self._allow_anonymous = other._allow_anonymous
        self._anonymous_listeners = other._anonymous_listeners
        await self._push()
        if asking:
            await asyncio.wait(asking)
        await self._recheck()
        await sources.close()
        await asyncio.gather(*(link.close() for link in links))

    async def refresh(self) -> None:
        """Read the sources of rules now, not when their time has come, and look at clients again.

        Whose user is gone from a file, a database or a directory server, or has another password
        there, is disconnected.
        """
        await self._sources.refresh()
        await self._recheck()

    async def _answered(self) -> None:
        """Wait for who is just being asked about: what was there before may still let them in."""
        asking = self._asking - {asyncio.current_task()}
        if asking:
            await asyncio.wait(asking)

    async def _recheck(self, vouchers: Collection[str] | None = None) -> None:
        """Disconnect who would not be let in any more; of some `vouchers`, or of all."""
        sessions = self._sessions
        if sessions is None:
            return
        await self._answered()
        verdicts: dict[tuple[object, ...], bool] = {}
        for client in await sessions.clients():
            key, known = self._find(client)
            if not client.connected or known is None:
                continue
            identity = known.identity
            if vouchers is not None and identity.voucher not in vouchers:
                continue
            asked = (identity.voucher, identity.user, identity.proof, known.principal.listener)
            if asked not in verdicts:
                verdicts[asked] = await self._stands(known)
            # It may have come in anew meanwhile.
            if not verdicts[asked] and self._known.get(key) is known:
                logger.warning(
                    "client %r of user %r would not be let in any more: disconnected",
                    client.client,
                    client.user,
                )
                await sessions.disconnect(client.client, NOT_AUTHORIZED)

    async def _stands(self, known: Known) -> bool:
        """Whether a client would be let in again, as far as can be told without its password."""
        voucher = known.identity.voucher
        if voucher is None:
            return self._welcomes(known.principal.listener)
        try:
            for name, part in self._parts():
                if name == voucher and await still_stands(known.identity, part):
                    return True
        except Exception as error:
            # The text of a driver's error may hold a password.
            said = error if isinstance(error, AccessError) else type(error).__name__
            logger.error("%s cannot say whether clients are still its users: %s", voucher, said)
            return True
        return False

    async def _put_in_force(self, revoked: frozenset[str]) -> None:
        """A source has changed: sessions get other rules, and revoked users go."""
        await self._push()
        if self._sessions is None or not revoked:
            return
        await self._answered()
        for client in await self._sessions.clients():
            if client.connected and client.user in revoked:
                await self._sessions.disconnect(client.client, NOT_AUTHORIZED)

    async def _push(self) -> None:
        """Give every session its rules; they hold once this returns.

        What is accepted meanwhile has them already.
        """
        if self._sessions is None:
            return
        before = set(self._known)
        clients = await self._sessions.clients()
        here: dict[object, Known] = {}
        for client in clients:
            key, known = self._find(client)
            if known is not None:
                here[key] = known
            principal = self._principal_of(client, known)
            self._sessions.set_permissions(client.client, self._bind_safely(principal))
        if clients:
            # A worker answers in turn, so by now it has taken the rules.
            await self._sessions.clients()
        if len(self._known) > self._most_known:
            # Those who came in meanwhile are not among the clients yet.
            late = {key: each for key, each in self._known.items() if key not in before}
            self._known = here | late
            self._most_known = max(1024, 2 * len(here))

    def _find(self, client: Client) -> tuple[object, Known | None]:
        """What is known of a client, and under which key."""
        for key in (client.client, (client.address, client.port)):
            known = self._known.get(key)
            if known is not None and known.principal.user in (None, client.user):
                return key, known
        return client.client, None

    def _principal_of(self, client: Client, known: Known | None) -> Principal:
        if known is not None:
            return dataclasses.replace(known.principal, client=client.client)
        # A session of an earlier run. A name that nobody vouched for is none.
        user = client.user if self._links or self._mechanisms else None
        return Principal(client.client, user, address=client.address, listener=client.listener)
