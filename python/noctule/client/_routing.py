"""Which subscriptions a message is for: by identifier, or by a tree of filters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from noctule.protocol.message import Message
from noctule.protocol.packets import SubscriptionRequest
from noctule.protocol.topics import shared_filter

if TYPE_CHECKING:
    from noctule.client.subscription import Subscription

__all__ = ["FilterEntry", "FilterTree", "Routes"]

MAX_CACHED_ROUTES = 4096

Route: TypeAlias = "tuple[Subscription, ...]"


@dataclass(eq=False, slots=True)
class FilterEntry:
    """One subscription at the server, shared by the local ones with the same filter.

    `identifier` is its subscription identifier, 1 and up.
    """

    request: SubscriptionRequest
    identifier: int
    consumers: list[Subscription] = field(default_factory=list)

    @property
    def topic_filter(self) -> str:
        return self.request.topic_filter


@dataclass(slots=True)
class _Level:
    entries: list[FilterEntry] = field(default_factory=list)
    below: dict[str, _Level] = field(default_factory=dict)


class FilterTree:
    """Entries by the levels of their filters, MQTT 5.0 §4.7."""

    def __init__(self) -> None:
        self._root = _Level()

    def add(self, entry: FilterEntry) -> None:
        level = self._root
        for name in shared_filter(entry.topic_filter)[1].split("/"):
            level = level.below.setdefault(name, _Level())
        level.entries.append(entry)

    def remove(self, entry: FilterEntry) -> None:
        path = [self._root]
        names = shared_filter(entry.topic_filter)[1].split("/")
        for name in names:
            path.append(path[-1].below[name])
        path[-1].entries.remove(entry)
        for name, parent, level in zip(reversed(names), path[-2::-1], path[:0:-1], strict=True):
            if not level.entries and not level.below:
                del parent.below[name]

    def matches(self, topic: str) -> Iterator[FilterEntry]:
        """The entries whose filters match; wildcards at the front do not match $ topics."""
        names = topic.split("/")
        levels = [self._root]
        for depth, name in enumerate(names):
            takes_wildcards = depth > 0 or not name.startswith("$")
            below: list[_Level] = []
            for level in levels:
                if takes_wildcards and "#" in level.below:
                    yield from level.below["#"].entries
                if name in level.below:
                    below.append(level.below[name])
                if takes_wildcards and "+" in level.below:
                    below.append(level.below["+"])
            levels = below
        for level in levels:
            yield from level.entries
            if "#" in level.below:  # "a/#" matches "a" as well.
                yield from level.below["#"].entries


class Routes:
    """All entries, and for each topic or set of identifiers the subscriptions to serve.

    Found routes are kept until an entry changes, because most messages have the route of
    one before them.
    """

    def __init__(self, first_identifier: int = 1) -> None:
        self.entries: dict[str, FilterEntry] = {}
        self._by_identifier: dict[int, FilterEntry] = {}
        self._tree = FilterTree()
        self._next_identifier = first_identifier
        self.by_topic: dict[str, Route] = {}
        self.by_identifiers: dict[tuple[int, ...], Route] = {}

    def attach(
        self, consumer: Subscription, request: SubscriptionRequest
    ) -> tuple[FilterEntry, bool]:
        """Adds a consumer; returns its entry, and whether the server has to be told.

        A second consumer of a filter asks for what both need, and is a news to the server
        too: it wants the retained messages, as the first one got them.
        """
        entry = self.entries.get(request.topic_filter)
        if entry is None:
            entry = FilterEntry(request, self._next_identifier)
            self._next_identifier += 1
            self.entries[request.topic_filter] = entry
            self._by_identifier[entry.identifier] = entry
            self._tree.add(entry)
            is_news = True
        else:
            wanted = SubscriptionRequest(
                request.topic_filter,
                max(request.qos, entry.request.qos),
                request.no_local and entry.request.no_local,
                request.retain_as_published or entry.request.retain_as_published,
                request.retain_handling,
            )
            is_news = wanted.qos != entry.request.qos or wanted.retain_handling == 0
            is_news = is_news or wanted != entry.request
            entry.request = wanted
        entry.consumers.append(consumer)
        self._forget_routes()
        return entry, is_news

    def detach(self, consumer: Subscription, topic_filter: str) -> bool:
        """Removes a consumer; whether it was the last one of the filter."""
        entry = self.entries.get(topic_filter)
        if entry is None or consumer not in entry.consumers:
            return False
        entry.consumers.remove(consumer)
        self._forget_routes()
        if entry.consumers:
            return False
        del self.entries[topic_filter]
        del self._by_identifier[entry.identifier]
        self._tree.remove(entry)
        return True

    def find(self, message: Message) -> Route:
        """The subscriptions that `message` is for, each once."""
        identifiers = message.subscription_identifiers
        if identifiers:
            named = [self._by_identifier[i] for i in identifiers if i in self._by_identifier]
            if named:
                if len(self.by_identifiers) >= MAX_CACHED_ROUTES:
                    self.by_identifiers.clear()
                route = self.by_identifiers[identifiers] = _consumers(named)
                return route
        if len(self.by_topic) >= MAX_CACHED_ROUTES:
            self.by_topic.clear()
        route = self.by_topic[message.topic] = _consumers(self._tree.matches(message.topic))
        return route

    def _forget_routes(self) -> None:
        self.by_topic.clear()
        self.by_identifiers.clear()


def _consumers(entries: Iterable[FilterEntry]) -> Route:
    return tuple(dict.fromkeys(c for entry in entries for c in entry.consumers))
