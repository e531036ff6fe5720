"""Hooks in the present tense: asked one after the other before something happens.

Each has a time of its own. One that raises, or is late, has refused, unless it was registered
with `fail_open`; either is logged and counted, and nobody waits but the client it is about.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from noctule.broker.authentication import (
    Accept,
    Answer,
    AuthenticationRequest,
    Authenticator,
    Refuse,
)
from noctule.broker.requests import (
    AccessRequest,
    ConnectRequest,
    PublishRequest,
    SubscribeRequest,
    WillTopic,
)
from noctule.broker.topics import matches

__all__ = [
    "AuthenticateHook",
    "AuthorizeHook",
    "ConnectHook",
    "HookedAuthenticator",
    "PresentHooks",
    "PublishHook",
    "Registered",
    "SubscribeHook",
]

AuthenticateHook = Callable[[AuthenticationRequest], Awaitable[Answer | None]]
AuthorizeHook = Callable[[AccessRequest], Awaitable[bool]]
ConnectHook = Callable[[ConnectRequest], Awaitable[ConnectRequest | Refuse | None]]
PublishHook = Callable[[PublishRequest], Awaitable[PublishRequest | Refuse | None]]
SubscribeHook = Callable[[SubscribeRequest], Awaitable[SubscribeRequest | Refuse | None]]

Request = TypeVar("Request", ConnectRequest, PublishRequest, SubscribeRequest)

IMPLEMENTATION_SPECIFIC_ERROR = 0x83
NOT_AUTHORIZED = 0x87

logger = logging.getLogger("noctule.hooks")


class HookFailedError(Exception):
    """A hook raised or was late; logged and counted already."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A hook and how it was registered."""

    function: Callable[[Any], Awaitable[Any]]
    fail_open: bool = False
    topic_filter: str = "#"

    @property
    def name(self) -> str:
        """What logs and counters call it."""
        return getattr(self.function, "__qualname__", repr(self.function))


class PresentHooks:
    """The hooks of one broker by what they are asked about."""

    def __init__(self, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self.connect: list[Registered] = []
        self.subscribe: list[Registered] = []
        self.publish: list[Registered] = []
        self.authenticate: list[Registered] = []
        self.authorize: list[Registered] = []
        self.failures: Counter[str] = Counter()
        """By the function's name: how often it raised or was late."""

    @property
    def _groups(self) -> tuple[list[Registered], ...]:
        return (self.connect, self.subscribe, self.publish, self.authenticate, self.authorize)

    def registered(self) -> tuple[tuple[Registered, ...], ...]:
        """What is there now."""
        return tuple(map(tuple, self._groups))

    def restore(self, before: tuple[tuple[Registered, ...], ...]) -> None:
        """Forget what was added since."""
        for group, hooks in zip(self._groups, before, strict=True):
            group[:] = hooks

    @property
    def is_empty(self) -> bool:
        """Whether nobody is to be asked about anything."""
        return not any(self._groups)

    @property
    def wants_connects(self) -> bool:
        """Whether somebody is to be asked about a CONNECT; about its will, if nothing else."""
        return bool(self.connect or self.authenticate or self.authorize)

    async def call(
        self, hook: Registered, request: object, about: str, *, secret: bool = False
    ) -> Any:
        """Ask one hook; HookFailedError where it has no answer.

        `secret`: the error's text may hold secrets, so only its kind is told.
        """
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await hook.function(request)
        except TimeoutError:
            self.failures[hook.name] += 1
            logger.error(
                "the hook %s gave no answer about %s within %g s",
                hook.name,
                about,
                self.timeout_seconds,
            )
        except Exception as error:
            self.failures[hook.name] += 1
            if secret:
                kind = type(error).__name__
                logger.error("the hook %s failed about %s: %s", hook.name, about, kind)
            else:
                logger.exception("the hook %s failed about %s", hook.name, about)
        raise HookFailedError(hook.name)

    async def pass_through(
        self, hooks: list[Registered], request: Request, about: str
    ) -> Request | Refuse:
        """Hand a request from hook to hook; what is left of it, or the first refusal."""
        kind = type(request)
        for hook in hooks:
            topic: str | None = getattr(request, "topic", None)
            if topic is not None and not matches(hook.topic_filter, topic):
                continue
            try:
                answer = await self.call(hook, request, about)
            except HookFailedError:
                if hook.fail_open:
                    continue
                return Refuse(IMPLEMENTATION_SPECIFIC_ERROR)
            if isinstance(answer, Refuse):
                return answer
            if isinstance(answer, kind):
                request = answer
            elif answer is not None:
                self.failures[hook.name] += 1
                logger.error("the hook %s returned a %s", hook.name, type(answer).__name__)
                if not hook.fail_open:
                    return Refuse(IMPLEMENTATION_SPECIFIC_ERROR)
        return request

    async def may(self, request: AccessRequest) -> bool:
        """Whether everybody who authorizes allows it."""
        about = f"{request.action} of client {request.client!r} to {request.topic!r}"
        for hook in self.authorize:
            try:
                allowed = await self.call(hook, request, about)
            except HookFailedError:
                if hook.fail_open:
                    continue
                return False
            if allowed is not True:
                logger.warning("the hook %s denies %s", hook.name, about)
                return False
        return True

    async def enter(
        self, request: AuthenticationRequest, accepted: Accept
    ) -> tuple[int | None, int | None] | Refuse:
        """Ask about a client that authentication lets in.

        The longest keep alive and session expiry interval it is granted, in seconds, where a
        hook says so.
        """
        user = request.user if accepted.user is None else accepted.user
        will = None if request.will is None else WillTopic(*request.will)
        if will is not None and self.authorize:
            access = AccessRequest(
                request.client, user, "publish", will.topic, will.qos, will.retain
            )
            if not await self.may(access):
                return Refuse(NOT_AUTHORIZED)
        asked = ConnectRequest(
            client=request.client,
            user=user,
            address=request.address,
            port=request.port,
            listener=request.listener,
            version=request.version,
            clean_start=request.clean_start,
            keep_alive_seconds=request.keep_alive_seconds,
            session_expiry_seconds=request.session_expiry_seconds,
            will=will,
        )
        answer = await self.pass_through(
            self.connect, asked, f"CONNECT of client {request.client!r}"
        )
        if isinstance(answer, Refuse):
            return answer
        keep_alive, expiry = answer.keep_alive_seconds, answer.session_expiry_seconds
        return (
            None if keep_alive == asked.keep_alive_seconds else keep_alive,
            None if expiry == asked.session_expiry_seconds else expiry,
        )


class HookedAuthenticator:
    """Asks the functions first, then the authenticator there is; nobody knows: refused.

    With no function and no authenticator everybody is let in, unless it `refuses`.
    """

    def __init__(
        self, hooks: PresentHooks, behind: Authenticator | None, *, refuses: bool = False
    ) -> None:
        self._refuses = refuses or bool(hooks.authenticate)
        self._hooks = hooks
        self._behind = behind
        self.method: str | None = getattr(behind, "method", None)

    async def start(self, request: AuthenticationRequest) -> Answer:
        """Answer a CONNECT, or the first AUTH of a re-authentication."""
        for hook in self._hooks.authenticate:
            about = f"CONNECT of client {request.client!r}"
            try:
                answer: Answer | None = await self._hooks.call(hook, request, about, secret=True)
            except HookFailedError:
                return Refuse(NOT_AUTHORIZED)
            if answer is not None:
                return answer
        if self._behind is not None:
            return await self._behind.start(request)
        return Refuse(NOT_AUTHORIZED) if self._refuses else Accept()

    async def continue_(self, request: AuthenticationRequest) -> Answer:
        """Answer an AUTH that came after a Challenge: whoever sent that one knows its state."""
        for hook in self._hooks.authenticate:
            try:
                answer: Answer | None = await self._hooks.call(hook, request, "AUTH", secret=True)
            except HookFailedError:
                return Refuse(NOT_AUTHORIZED)
            if answer is not None:
                return answer
        if self._behind is not None:
            return await self._behind.continue_(request)
        return Refuse(NOT_AUTHORIZED)
