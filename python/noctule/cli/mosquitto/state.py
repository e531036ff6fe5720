"""mosquitto.db → sessions, queued and retained messages, in the words that we have for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from noctule.cli.mosquitto.database import (
    Client,
    ClientMessage,
    Database,
    Direction,
    State,
    StoredMessage,
)
from noctule.protocol import Properties, filter_matches
from noctule.protocol.topics import shared_filter

__all__ = ["Grant", "Kept", "KeptMessage", "KeptState", "Queued", "Stage", "state_of"]

NO_LOCAL = 0x04
RETAIN_AS_PUBLISHED = 0x08
NEVER_EXPIRES = 0xFFFF_FFFF

Stage = str
"""queued: not sent yet. sent: its acknowledgement, or PUBREC, is missing. released: PUBREC has
come and PUBCOMP is missing."""

STAGES: dict[State, Stage] = {
    State.PUBLISH_QOS_0: "queued",
    State.PUBLISH_QOS_1: "queued",
    State.PUBLISH_QOS_2: "queued",
    State.QUEUED: "queued",
    State.WAIT_FOR_PUBACK: "sent",
    State.WAIT_FOR_PUBREC: "sent",
    State.RESEND_PUBREL: "released",
    State.WAIT_FOR_PUBCOMP: "released",
}


class Grant(NamedTuple):
    """A subscription as it was granted; `identifier` is 0 where it has none."""

    topic_filter: str
    qos: int
    no_local: bool
    retain_as_published: bool
    identifier: int


class KeptMessage(NamedTuple):
    """A message; `expires_at` is in seconds since 1970, None: never."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties
    expires_at: int | None


class Queued(NamedTuple):
    """A message on its way to one session, at the QoS and with the flags that it will have."""

    message: KeptMessage
    qos: int
    retain: bool
    stage: Stage
    packet_identifier: int
    subscription_identifiers: tuple[int, ...]


class Kept:
    """One session: `away_since` is in seconds since 1970."""

    def __init__(self, client: Client, away_since: int) -> None:
        self.client_identifier = client.identifier
        self.user_name = client.user_name
        self.expiry_seconds = client.expiry_seconds
        self.away_since = away_since
        self.subscriptions: list[Grant] = []
        self.queue: list[Queued] = []
        # Packet identifiers of QoS 2 messages that came and were not released.
        self.received: list[int] = []


class KeptState:
    """All that outlives Mosquitto, and what was left behind, in words with a count."""

    def __init__(self) -> None:
        self.sessions: dict[str, Kept] = {}
        self.retained: list[KeptMessage] = []
        self.left: dict[str, int] = {}

    @property
    def queued(self) -> int:
        """Messages that wait in all queues."""
        return sum(len(session.queue) for session in self.sessions.values())

    @property
    def subscriptions(self) -> int:
        """Subscriptions of all sessions."""
        return sum(len(session.subscriptions) for session in self.sessions.values())

    def leave(self, what: str) -> None:
        """Count something that is not taken over."""
        self.left[what] = self.left.get(what, 0) + 1


def state_of(database: Database, now: int, saved_at: int) -> KeptState:
    """What is still alive at `now`; `saved_at` is when the file was written, in seconds."""
    return _Translator(database, now, saved_at).translate()


class _Translator:
    def __init__(self, database: Database, now: int, saved_at: int) -> None:
        self._database = database
        self._now = now
        self._saved_at = saved_at
        self._state = KeptState()

    def translate(self) -> KeptState:
        for client in self._database.clients:
            self._session(client)
        for subscription in self._database.subscriptions:
            session = self._state.sessions.get(subscription.client)
            if session is not None:
                session.subscriptions.append(
                    Grant(
                        subscription.topic_filter,
                        subscription.qos,
                        bool(subscription.options & NO_LOCAL),
                        bool(subscription.options & RETAIN_AS_PUBLISHED),
                        subscription.identifier,
                    )
                )
        for store_id in self._database.retained:
            stored = self._alive(store_id)
            if stored is not None and not stored.topic.startswith("$SYS/"):
                self._state.retained.append(_message(stored))
        for entry in self._database.client_messages:
            self._client_message(entry)
        return self._state

    def _session(self, client: Client) -> None:
        if client.expiry_seconds == 0:
            self._state.leave("sessions that end with their connection")
            return
        if 0 < client.expires_at <= self._now:
            self._state.leave("sessions that have expired")
            return
        is_counted = client.expires_at and client.expiry_seconds != NEVER_EXPIRES
        since = client.expires_at - client.expiry_seconds if is_counted else self._saved_at
        self._state.sessions[client.identifier] = Kept(client, since)

    def _alive(self, store_id: int) -> StoredMessage | None:
        stored = self._database.messages.get(store_id)
        if stored is None:
            self._state.leave("references to messages that the file does not hold")
            return None
        if 0 < stored.expires_at <= self._now:
            self._state.leave("messages that have expired")
            return None
        return stored

    def _client_message(self, entry: ClientMessage) -> None:
        session = self._state.sessions.get(entry.client)
        if session is None:
            return
        if entry.direction is Direction.IN:
            self._incoming(session, entry)
            return
        stage = STAGES.get(entry.state)
        stored = self._alive(entry.store_id)
        if stage is None or stored is None:
            return
        if entry.qos == 0:
            self._state.leave("queued messages of QoS 0")
            return
        queued = Queued(
            _message(stored),
            entry.qos,
            entry.retain,
            stage,
            0 if stage == "queued" else entry.packet_identifier,
            entry.properties.subscription_identifiers,
        )
        session.queue.append(queued)

    def _incoming(self, session: Kept, entry: ClientMessage) -> None:
        """A QoS 2 message that is here, and that Mosquitto would deliver at PUBREL.

        We deliver at PUBLISH, MQTT 5.0 §4.3.3 method B: so it is delivered now, and its
        packet identifier is known, so that PUBREL finds it. One that still waits to be
        answered (queued) is sent again by its publisher.
        """
        if entry.state is not State.WAIT_FOR_PUBREL:
            return
        session.received.append(entry.packet_identifier)
        stored = self._alive(entry.store_id)
        if stored is None:
            return
        message = _message(stored)
        if message.retain:
            self._state.retained = [r for r in self._state.retained if r.topic != message.topic]
            if message.payload:
                self._state.retained.append(message)
        groups: set[str] = set()
        for other in self._state.sessions.values():
            grants = list(_matching(other, message.topic, session, groups))
            if any(grant.qos for grant in grants):
                other.queue.append(_delivered(message, grants))


def _matching(session: Kept, topic: str, publisher: Kept, groups: set[str]) -> Iterator[Grant]:
    """The subscriptions of a session that a message goes to; a shared one goes to one session."""
    for grant in session.subscriptions:
        if grant.no_local and session is publisher:
            continue
        group, topic_filter = shared_filter(grant.topic_filter)
        if not filter_matches(topic_filter, topic):
            continue
        if group is not None:
            name = f"{group}/{topic_filter}"
            if name in groups:
                continue
            groups.add(name)
        yield grant


def _delivered(message: KeptMessage, grants: list[Grant]) -> Queued:
    qos = min(message.qos, max(grant.qos for grant in grants))
    retain = message.retain and any(grant.retain_as_published for grant in grants)
    identifiers = tuple(grant.identifier for grant in grants if grant.identifier)
    return Queued(message, qos, retain, "queued", 0, identifiers)


def _message(stored: StoredMessage) -> KeptMessage:
    return KeptMessage(
        stored.topic,
        stored.payload,
        stored.qos,
        stored.retain,
        stored.properties,
        stored.expires_at or None,
    )
