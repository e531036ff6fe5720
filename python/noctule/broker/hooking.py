"""The decorators of a broker: functions that are asked, or told, what happens."""

from collections.abc import Callable
from typing import Any

from noctule.broker.errors import BrokerError
from noctule.broker.hooks import EventHook, Hooks
from noctule.broker.present import (
    AuthenticateHook,
    AuthorizeHook,
    ConnectHook,
    PresentHooks,
    PublishHook,
    Registered,
    SubscribeHook,
)
from noctule.broker.tap import Tap, TapHandler
from noctule.broker.topics import check_filter

__all__ = ["Hooking"]


class Hooking:
    """Hooks and taps of a broker, all of them set before it starts.

    Those in the present tense are coroutine functions and may change or refuse what they are
    asked about; the client waits for them, nobody else does. One that raises, or is not done
    within `hook_timeout_seconds`, has refused, unless `fail_open` says that it has let it be.
    Those in the past tense are told in batches.
    """

    def __init__(self, hook_timeout_seconds: float) -> None:
        if hook_timeout_seconds <= 0:
            raise ValueError("hook_timeout_seconds is more than 0")
        self._present = PresentHooks(hook_timeout_seconds)
        self._hooks = Hooks()
        self._taps: list[Tap] = []
        self._hooks_are_set = False

    def _require_unset(self) -> None:
        if self._hooks_are_set:
            raise BrokerError("hooks and taps are set before the broker starts")

    def registered(self) -> tuple[object, ...]:
        """What is registered so far, for `restore_registered`."""
        return self._present.registered(), self._hooks.registered(), tuple(self._taps)

    def restore_registered(self, before: tuple[Any, ...]) -> None:
        """Forget what has been registered since."""
        present, hooks, taps = before
        self._present.restore(present)
        self._hooks.restore(hooks)
        self._taps[:] = taps

    def hook_failures(self) -> dict[str, int]:
        """How often each hook raised or was late, by the function's name."""
        return dict(self._present.failures + self._hooks.failures)

    def authenticate(self, hook: AuthenticateHook) -> AuthenticateHook:
        """Ask the function who a client is, before the broker's authenticator, if it has one.

        None leaves it to the next one; where there is none left the client is refused.
        """
        self._require_unset()
        self._present.authenticate.append(Registered(hook))
        return hook

    def authorize(self, hook: AuthorizeHook) -> AuthorizeHook:
        """Ask the function whether a client may publish, or subscribe, besides the rules.

        Wills are asked about at CONNECT and when they go out. An answer is kept for the session
        until its connection ends or `reauthorize` is called. Deliveries are left to the rules.
        """
        self._require_unset()
        self._present.authorize.append(Registered(hook))
        return hook

    def on_connect(self, hook: ConnectHook) -> ConnectHook:
        """Ask the function about each client that authentication lets in."""
        self._require_unset()
        self._present.connect.append(Registered(hook))
        return hook

    def on_subscribe(self, hook: SubscribeHook) -> SubscribeHook:
        """Ask the function about each SUBSCRIBE."""
        self._require_unset()
        self._present.subscribe.append(Registered(hook))
        return hook

    def on_publish(
        self, topic_filter: str, *, fail_open: bool = False
    ) -> Callable[[PublishHook], PublishHook]:
        """Ask the function about each message of a client whose topic matches the filter.

        Others never leave the engine. A publisher's messages stay in their order. Messages of
        `broker.publish` are not asked about. ValueError for a filter that is none.
        """
        check_filter(topic_filter)

        def decorate(hook: PublishHook) -> PublishHook:
            self._require_unset()
            self._present.publish.append(Registered(hook, fail_open, topic_filter))
            return hook

        return decorate

    def on_connected(self, hook: EventHook) -> EventHook:
        """Tell the function, in batches, of clients that came in."""
        return self._tell("connected", hook)

    def on_disconnected(self, hook: EventHook) -> EventHook:
        """Tell the function, in batches, of connections that ended."""
        return self._tell("disconnected", hook)

    def on_subscribed(self, hook: EventHook) -> EventHook:
        """Tell the function, in batches, of new subscriptions."""
        return self._tell("subscribed", hook)

    def on_delivered(self, hook: EventHook) -> EventHook:
        """Tell the function, in batches, of each message that a client was sent.

        Above QoS 0 once the client has taken it. This costs something for each delivery.
        """
        return self._tell("delivered", hook)

    def on_dropped(self, hook: EventHook) -> EventHook:
        """Tell the function, in batches, of messages that did not reach a client."""
        return self._tell("dropped", hook)

    def _tell(self, kind: str, hook: EventHook) -> EventHook:
        self._require_unset()
        self._hooks.add(kind, hook)
        return hook

    def tap(
        self, topic_filter: str, *, batch: int = 1000, linger: float = 0.05, name: str | None = None
    ) -> Callable[[TapHandler], TapHandler]:
        """Bring every message of the filter to the function, up to `batch` at a time.

        A batch that is not full waits `linger` seconds for more. With a `name` messages wait
        while the function is away (`noctule.broker.tap` says more).
        """
        check_filter(topic_filter)

        def decorate(handler: TapHandler) -> TapHandler:
            self._require_unset()
            self._taps.append(Tap(topic_filter, handler, batch, linger, name))
            return handler

        return decorate
