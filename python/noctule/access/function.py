"""A Python function, a coroutine or not, as an authenticator of the chain."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from noctule.access.chain import DENIED, Identity, Verdict
from noctule.broker import AuthenticationRequest

__all__ = ["Decision", "Function"]

Decision = Verdict | bool
"""True: it is whom it says it is. False: it is not. None: not known here."""


class Function:
    """Asks the function; one that is no coroutine runs in a thread, and may block."""

    def __init__(
        self, function: Callable[[AuthenticationRequest], Decision | Awaitable[Decision]]
    ) -> None:
        self._function = function

    async def identify(self, request: AuthenticationRequest) -> Verdict:
        """What the function says."""
        if inspect.iscoroutinefunction(self._function):
            answer: object = await self._function(request)
        else:
            answer = await asyncio.to_thread(self._function, request)
            if inspect.isawaitable(answer):
                answer = await answer
        if answer is True:
            return Identity(request.user)
        if answer is False:
            return DENIED
        if answer is None or isinstance(answer, Verdict):
            return answer
        raise TypeError(f"the authenticator returned {type(answer).__name__}")

    async def close(self) -> None:
        """Nothing is held."""
