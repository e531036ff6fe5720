"""The border to the engine: options in, batches of events out, nothing per message.

Built from `crates/python`. Every call that may wait releases the GIL, and with nobody
asking for events the engine's threads never touch it.
"""

from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any, Self, final

__all__ = [
    "DecodeError",
    "Engine",
    "StoreError",
    "StoreLockedError",
    "Tap",
    "bench",
    "decode",
    "explain",
    "store_backup",
    "store_compact",
    "store_export",
    "store_import",
    "store_summary",
]

class DecodeError(ValueError):
    """Bytes that are no packet of the given version.

    `what`, also the text, says what was wrong; `reason_code` is the one that a peer would be
    answered with, 0x80 to 0xA2.
    """

    reason_code: int
    what: str

class StoreError(Exception):
    """A store, or what is to go into one, is not as it should be; the text says what to do."""

class StoreLockedError(StoreError):
    """A running broker has the store."""

@final
class Engine:
    """The native broker: listeners, one worker thread per core, the store.

    `options_json` is `BrokerOptions.engine_json()`. ValueError names the key and the reason
    where an option is unknown or out of its range.
    """

    def __new__(cls, options_json: str) -> Self: ...
    @property
    def is_running(self) -> bool:
        """Whether `start` has succeeded and `stop` has not been called."""

    @property
    def failure(self) -> str | None:
        """Why the engine stopped by itself; None unless a worker died."""

    def start(self) -> None:
        """Bind the listeners and start the threads; OSError names the address refused."""

    def addresses(self) -> list[tuple[int, str, int]]:
        """Position, host and port of each listener as bound, in the order of the options; of a
        name that stands for several addresses, each.
        """

    def drain(self, server_reference: str | None, moved: bool) -> None:
        """Send the clients elsewhere.

        Every 5.0 client is disconnected, and every further CONNECT answered, with 0x9C "use
        another server", or 0x9D "server moved" where `moved` is true, and with the server
        reference if there is one (MQTT 5.0 §4.11).
        """

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Disconnect every client (0x8B to 5.0 clients), then join the threads.

        What has not been written after `timeout_seconds` is cut off. Does nothing when the
        engine is not running. RuntimeError where a worker had died.
        """

    def statistics(self) -> dict[str, int | float]:
        """Counters since the start and gauges of the moment, by name."""

    def observe(self, observed: bool) -> None:
        """Record events from now on (they are not, at first), or no longer."""

    def event_fd(self) -> int:
        """A descriptor that is readable while events wait and after the end. Not to be read."""

    def next_events(
        self, timeout_seconds: float | None, maximum: int = 1024
    ) -> list[dict[str, object]] | None:
        """Wait for events and log lines and return up to `maximum` of them, oldest first.

        Each has its `kind`; "log" has `level`, `target` and `message`.

        An empty list after `timeout_seconds` (None: no limit) without any; None once the
        engine has stopped and all events have been taken.
        """

    def next_requests(
        self, timeout_seconds: float | None, maximum: int = 1024
    ) -> list[dict[str, Any]] | None:
        """Wait for clients to be authenticated: up to `maximum` requests, oldest first.

        Each is to be answered, once, by its `number`, with `accept`, `challenge` or `refuse`.
        Otherwise as `next_events`.
        """

    def request_fd(self) -> int:
        """A descriptor that is readable while requests wait and after the end. Not to be read."""

    def accept(
        self,
        number: int,
        user: str | None,
        data: bytes | None,
        rules_json: str | None,
        keep_alive_seconds: int | None = None,
        session_expiry_seconds: int | None = None,
    ) -> bool:
        """Let a client in: as `user` (None: the name it gave), with `data` in CONNACK or AUTH,
        allowed what `rules_json` says (None: everything), granted no more than those seconds.
        False if answered before.
        """

    def challenge(self, number: int, data: bytes | None) -> bool:
        """Go on with an AUTH 0x18 that carries `data`. False if answered before."""

    def refuse(self, number: int, reason_code: int, text: str | None = None) -> bool:
        """Turn a client away; `reason_code` is 0x80 or above. False if answered before."""

    def set_hooks(
        self,
        *,
        connect: bool,
        authenticate: bool,
        subscribe: bool,
        publish: list[str],
        authorize: bool,
        timeout_seconds: float,
    ) -> None:
        """Ask hooks from the start on; once, before it.

        `publish` are topic filters: what matches none of them is not asked about. With
        `connect` each CONNECT is a request as of `next_requests`, and with `authenticate` those
        who answer say who it is. What is not answered within `timeout_seconds` is refused.
        """

    def next_consultations(
        self, timeout_seconds: float | None, maximum: int = 1024
    ) -> list[dict[str, Any]] | None:
        """Wait for questions to hooks: up to `maximum`, oldest first.

        Each is to be answered, once, with `advise`. Otherwise as `next_events`.
        """

    def consultation_fd(self) -> int:
        """A descriptor that is readable while questions wait and after the end. Not to be read."""

    def advise(self, answers: list[tuple[int, int, dict[str, Any]]]) -> None:
        """Answer questions to hooks: worker, number and answer of each.

        An answer is {"refuse": code}, {"changes": …} of a message, {"granted": codes} of a
        SUBSCRIBE, {"allowed": flags}, or {} for no. ValueError where one is none; then none of
        them counts.
        """

    def ban(self, kind: str, value: str, seconds: float | None, reason: str) -> None:
        """Keep a client, a user or an address out, for some seconds or for ever.

        `kind` is client, user or address. ValueError for another kind, or no address.
        """

    def unban(self, kind: str, value: str) -> bool:
        """Let them in again; False where they were not banned."""

    def bans(self) -> list[tuple[str, str, int | None, str]]:
        """Kind, value, seconds left (None: for ever) and reason of each ban."""

    def forget_permissions(self, client: str | None) -> None:
        """Ask anew what one client may do, or all; about their subscriptions at once."""

    def observe_deliveries(self, observed: bool) -> None:
        """Record an event for each message delivered, or no longer."""

    def set_permissions(self, client: str, rules_json: str | None) -> None:
        """Give a client's session other rules at once; None allows everything."""

    def disconnect(self, client: str, reason_code: int) -> None:
        """End a client's connection, if it has one."""

    def clients(self, timeout_seconds: float = 5.0) -> list[dict[str, Any]] | None:
        """Every session, connected or not; None where a worker has not answered in time."""

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int = 0,
        retain: bool = False,
        properties: dict[str, Any] | None = None,
    ) -> bool:
        """Publish on the broker's own account; False: try again a little later.

        ValueError for a topic that is none, or begins with `$`, and for a property that is none.
        """

    def retained(
        self,
        filter: str,  # noqa: A002
        after: str | None,
        maximum: int,
    ) -> tuple[list[dict[str, Any]], bool]:
        """Retained messages that match a filter, behind the topic `after`, in the order of their
        topics: up to `maximum`, and whether there may be more.
        """

    def retained_of(self, topic: str) -> dict[str, Any] | None:
        """The retained message of one topic."""

    def tap(
        self,
        name: str,
        filter: str,  # noqa: A002
        qos: int = 1,
        kept: bool = False,
    ) -> Tap:
        """Open a tap; `kept`: messages wait for it while it is not there."""

@final
class Tap:
    """Every message of one filter, in batches and at the reader's pace."""

    def fileno(self) -> int:
        """A descriptor that is readable while messages wait, for a selector. Not to be read."""

    def take(self, maximum: int) -> list[dict[str, Any]]:
        """Up to `maximum` of the messages that are there.

        ConnectionError once the engine has ended the tap.
        """

    def acknowledge(self) -> None:
        """Let go of the messages taken so far: at QoS 1 they would come again otherwise."""

    def close(self) -> None:
        """End it."""

def explain(
    rules_json: str,
    client: str,
    user: str | None,
    action: str,
    topic: str,
    qos: int = 0,
    retain: bool = False,
) -> tuple[bool, str | None]:
    """Whether `client` may do it, and the rule that decides; no rule: nothing speaks of it.

    `rules_json` is a list of rules in their order, `action` publish, subscribe or receive;
    `topic` is a filter where the action is subscribe. ValueError for anything else.
    """

def decode(version: int, data: bytes) -> str:
    """One whole packet as JSON; `version` is the protocol level 3, 4 or 5.

    For tests that hold two codecs to one answer. DecodeError where the bytes are refused.
    """

def bench(scenario_json: str, progress: Callable[[str], object] | None = None) -> str:
    """Carry a load scenario out and return the report, both as JSON.

    `progress` is called about ten times a second with the state so far, as JSON. Where it returns
    False the run ends with what there is; an exception it raises ends the run and comes out of
    here, as KeyboardInterrupt does. The GIL is released in between. ValueError names the field
    of the scenario that is wrong, ConnectionError says why
    connections did not come up, OSError what the system refused.
    """

def store_summary(directory: str | PathLike[str]) -> str:
    """What a store holds and how it is, as JSON; nothing is changed.

    Each kind of record has `records` and `bytes`; `damage` lists what is damaged, which is not
    an error. StoreLockedError while a broker runs, as in all of these but `store_backup`;
    StoreError where there is no store, or one of a later version.
    """

def store_export(directory: str | PathLike[str], write: Callable[[bytes], object]) -> str:
    """Hand everything in a store to `write` as lines of JSON, in pieces that end anywhere.

    Returns JSON: `lines`; `left_out`, records that belong to nothing; and what was damaged, which
    has been repaired then and put aside in `quarantined`. What `write` raises comes out of here.
    """

def store_import(
    directory: str | PathLike[str],
    pieces: Iterable[bytes],
    progress: Callable[[int], object] | None = None,
) -> str:
    """Fill a store that is empty, or not there, with lines as `store_export` hands them out.

    The pieces end anywhere. All of them come in, or nothing. `progress` is called with the
    number of lines so far. Returns JSON: `lines`, `sessions`, `subscriptions`, `queued` and
    `retained`. StoreError names the line that is wrong, or says that the store is not empty.
    """

def store_compact(directory: str | PathLike[str]) -> tuple[int, int]:
    """Write a store anew without what is dead; its bytes before and after."""

def store_backup(
    directory: str | PathLike[str],
    to: str | PathLike[str],
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Copy a store, of a running broker or not, into the new directory `to`.

    `progress` is called with how many pages are copied, and of how many. FileExistsError where
    there is something already.
    """
