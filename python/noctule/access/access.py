"""Access control: a chain that says who a client is, and rules that say what it may do."""

import asyncio
import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_address

from noctule.access.chain import Denied, Identity, Link, Mechanism
from noctule.access.names import name_of
from noctule.access.rules import Principal, Rule, engine_rules, rules_from
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

BAD_USER_NAME_OR_PASSWORD = 0x86
NOT_AUTHORIZED = 0x87
BAD_METHOD = 0x8C

# Without rules everybody may do everything, except look into the broker from afar.
WITHOUT_RULES = (
    Rule(permission="deny", actions=("subscribe", "receive"), filter="$SYS/#"),
    Rule(),
)

logger = logging.getLogger("noctule.access")


class Access:
    """An authenticator for `Broker(authenticator=...)`.

    The first of `links` that knows a client decides; one that raises denies. Clients with an
    authentication method go to the mechanism of that name. `allow_anonymous` lets in clients
    that say nothing about themselves, `anonymous_listeners` those of listeners, by position.
    `listener_authenticators` are names, as of `name_of`, of all that is asked about the clients
    of a listener; of others everything is. `groups` are names of groups with their users.
    """

    def __init__(
        self,
        *,
        links: Sequence[Link] = (),
        mechanisms: Sequence[Mechanism] = (),
        rules: Iterable[Rule | Mapping[str, object]] = (),
        groups: Mapping[str, Iterable[str]] | None = None,
        allow_anonymous: bool = False,
        anonymous_listeners: Iterable[int] = (),
        listener_authenticators: Mapping[int, Iterable[str]] | None = None,
    ) -> None:
        self._links = tuple(links)
        self._mechanisms = {each.method: each for each in mechanisms}
        self._rules = rules_from(rules)
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
        self._principals: dict[object, Principal] = {}
        self._most_principals = 1024

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force."""
        return self._rules

    async def start(self, request: AuthenticationRequest) -> Answer:
        """Who it is: by a mechanism where the client names one, else by the chain."""
        with self._asked():
            return await self._start(request)

    async def _start(self, request: AuthenticationRequest) -> Answer:
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
        return self._accept(request, identity, data)

    async def _identify(self, request: AuthenticationRequest) -> Identity | Denied:
        links = [link for link in self._links if self._asks(link, request)]
        for link in links:
            verdict = await link.identify(request)
            if verdict is not None:
                return verdict
        nameless = request.user is None and request.password is None
        welcome = self._allow_anonymous or request.listener in self._anonymous_listeners
        # With nobody to ask, a name is only a word: it is let in like one without.
        if welcome and (nameless or not links):
            return Identity(None)
        return Denied(NOT_AUTHORIZED if nameless else BAD_USER_NAME_OR_PASSWORD)

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
        )

        def rules() -> list[EngineRule] | None:
            self._principals[request.client or (request.address, request.port)] = principal
            return self._bind(principal)

        # Bound when the engine is told: rules may change while others are still asked.
        return Accept(data, identity.user, rules, identity.expires_at)

    def _groups_of(self, user: str | None) -> frozenset[str]:
        return frozenset(name for name, users in self._groups.items() if user in users)

    def _bind(self, principal: Principal) -> list[EngineRule] | None:
        groups = principal.groups | self._groups_of(principal.user)
        principal = dataclasses.replace(principal, groups=groups)
        bound = engine_rules(self._rules, principal)
        if bound is None and not is_local(principal.address):
            return engine_rules(WITHOUT_RULES, principal)
        return bound

    async def attach(self, sessions: Sessions) -> None:
        """The broker has started: sessions it kept get the rules of today."""
        self._sessions = sessions
        await self._push()

    async def detach(self) -> None:
        """The broker has stopped."""
        self._sessions = None
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
        the rules of every session, are of the new one.
        """
        asking, links = set(self._asking), self._links
        self._links, self._mechanisms = other._links, other._mechanisms
        self._rules, self._groups = other._rules, other._groups
        self._allow_anonymous = other._allow_anonymous
        self._anonymous_listeners = other._anonymous_listeners
        await self._push()
        if asking:
            await asyncio.wait(asking)
        await asyncio.gather(*(link.close() for link in links))

    async def _push(self) -> None:
        """Give every session its rules. What is accepted meanwhile has them already."""
        if self._sessions is None:
            return
        clients = await self._sessions.clients()
        principals: dict[object, Principal] = {}
        for client in clients:
            key, principal = self._principal_of(client)
            principals[key] = principal
            self._sessions.set_permissions(client.client, self._bind(principal))
        if len(self._principals) > self._most_principals:
            self._principals = principals
            self._most_principals = max(1024, 2 * len(principals))

    def _principal_of(self, client: Client) -> tuple[object, Principal]:
        for key in (client.client, (client.address, client.port)):
            known = self._principals.get(key)
            if known is not None and known.user in (None, client.user):
                return key, dataclasses.replace(known, client=client.client)
        # A session of an earlier run. A name that nobody vouched for is none.
        user = client.user if self._links or self._mechanisms else None
        return client.client, Principal(
            client.client, user, address=client.address, listener=client.listener
        )


def is_local(address: str | None) -> bool:
    """Whether it is this machine's own, or no network address at all."""
    return address is None or ip_address(address).is_loopback
