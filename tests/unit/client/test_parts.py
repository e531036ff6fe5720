"""The client's parts by themselves: addresses, routes, patterns, patience."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noctule.client import (
    ConnectionEndedError,
    InvalidArgumentError,
    ReasonCode,
    Reconnect,
    connect,
)
from noctule.client._handlers import Pattern
from noctule.client._routing import FilterEntry, FilterTree, Routes
from noctule.client._supervisor import Supervisor
from noctule.client.url import Address
from noctule.protocol import Message, SubscriptionRequest, filter_matches

# --- Addresses ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("mqtt://host", "mqtt://host:1883"),
        ("host", "mqtt://host:1883"),
        ("mqtts://host", "mqtts://host:8883"),
        ("mqtt://host:99/", "mqtt://host:99"),
        ("ws://host", "ws://host:80/mqtt"),
        ("wss://host/a/b?c=d", "wss://host:443/a/b?c=d"),
        ("mqtt://[::1]:1884", "mqtt://[::1]:1884"),
        ("unix:///run/mqtt%20socket", "unix:///run/mqtt socket"),
    ],
)
def test_urls_are_read(url: str, text: str) -> None:
    assert str(Address.parse(url)) == text


def test_credentials_in_a_url_stay_out_of_its_text() -> None:
    address = Address.parse("mqtts://us%40er:p%3Aw@host")
    assert (address.user_name, address.password) == ("us@er", "p:w")
    assert "us" not in str(address)


@pytest.mark.parametrize(
    "url",
    ["http://host", "mqtt://", "mqtt://host:0x1", "mqtt://host:70000", "mqtt://h/p", "unix://"],
)
def test_urls_that_say_nothing_are_refused(url: str) -> None:
    with pytest.raises(InvalidArgumentError):
        connect(url)


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("other", "mqtts://other:8883"),
        ("other:99 third", "mqtts://other:99"),
        ("[::1]:99", "mqtts://[::1]:99"),
        ("", None),
        ("host:port", None),
    ],
)
def test_server_references_are_read(reference: str, text: str | None) -> None:
    referred = Address.parse("mqtts://user@host").referred(reference)
    assert (None if referred is None else str(referred)) == text
    assert referred is None or referred.user_name == "user"


# --- Routes ---------------------------------------------------------------------------

level = st.sampled_from(["a", "b", "", "$x", "+", "#"])
topics = st.lists(st.sampled_from(["a", "b", "", "$x"]), min_size=1, max_size=4).map("/".join)


def is_valid(levels: list[str]) -> bool:
    return "#" not in levels[:-1] and levels != [""]


filters = st.lists(level, min_size=1, max_size=4).filter(is_valid).map("/".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(filters, unique=True, max_size=8), st.lists(topics, max_size=6), st.data())
def test_tree_finds_what_the_definition_says(
    given_filters: list[str], names: list[str], data: st.DataObject
) -> None:
    tree = FilterTree()
    entries = {f: FilterEntry(SubscriptionRequest(f), 1) for f in given_filters}
    for entry in entries.values():
        tree.add(entry)
    removed = data.draw(st.sets(st.sampled_from(given_filters))) if given_filters else set()
    for topic_filter in removed:
        tree.remove(entries[topic_filter])
    left = set(given_filters) - removed
    for topic in names:
        found = [entry.topic_filter for entry in tree.matches(topic)]
        assert len(found) == len(set(found))
        assert set(found) == {f for f in left if filter_matches(f, topic)}


def test_routes_follow_subscriptions() -> None:
    routes = Routes()
    one, two = object(), object()
    first: Any = one
    second: Any = two
    entry, is_news = routes.attach(first, SubscriptionRequest("a/#", 0))
    assert is_news
    assert routes.find(Message("a/b", b"")) == (one,)
    _, is_news = routes.attach(second, SubscriptionRequest("a/#", 2))
    assert is_news
    assert entry.request.qos == 2
    assert routes.find(Message("a/b", b"")) == (one, two)
    assert not routes.detach(first, "a/#")
    assert routes.find(Message("a/b", b"")) == (two,)
    assert routes.detach(second, "a/#")
    assert routes.find(Message("a/b", b"")) == ()
    assert not routes.detach(second, "a/#")


# --- Patterns -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "topic_filter", "topic", "parameters"),
    [
        ("a/b", "a/b", "a/b", {}),
        ("a/{x}/b/{y}", "a/+/b/+", "a/1/b/2", {"x": "1", "y": "2"}),
        ("a/{rest...}", "a/#", "a/1/2", {"rest": "1/2"}),
        ("a/{rest...}", "a/#", "a", {"rest": ""}),
        ("$share/g/a/{x}", "$share/g/a/+", "a/1", {"x": "1"}),
        ("+/{x}/#", "+/+/#", "a/1/b/c", {"x": "1"}),
    ],
)
def test_patterns_name_their_wildcards(
    pattern: str, topic_filter: str, topic: str, parameters: dict[str, str]
) -> None:
    parsed = Pattern(pattern)
    assert parsed.topic_filter == topic_filter
    assert parsed.parameters(topic) == parameters


@pytest.mark.parametrize("pattern", ["", "a{x}", "{x}/{x}", "{rest...}/a", "{1}", "{}", "a#"])
def test_patterns_that_cannot_be_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidArgumentError):
        Pattern(pattern)


# --- Patience -------------------------------------------------------------------------


def test_waits_double_up_to_a_bound_and_are_spread() -> None:
    supervisor: Supervisor = connect("mqtt://host")._supervisor
    policy = Reconnect(first_delay=1, max_delay=10)
    lost = ConnectionEndedError("lost")
    for attempt, bound in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (1_000, 10)):
        delays = [supervisor._delay(policy, attempt, lost) for _ in range(200)]
        assert max(delays) <= bound
        assert max(delays) > bound * 0.7
        assert min(delays) < bound * 0.3
    busy = ConnectionEndedError("busy", ReasonCode.SERVER_BUSY)
    assert max(supervisor._delay(policy, 1, busy) for _ in range(200)) > 2


@pytest.mark.parametrize(
    ("code", "is_final"),
    [
        (None, False),
        (ReasonCode.SERVER_BUSY, False),
        (ReasonCode.SERVER_SHUTTING_DOWN, False),
        (ReasonCode.BANNED, True),
        (ReasonCode.NOT_AUTHORIZED, True),
        (ReasonCode.SESSION_TAKEN_OVER, True),
    ],
)
def test_some_ends_are_final(code: ReasonCode | None, is_final: bool) -> None:
    supervisor: Supervisor = connect("mqtt://host")._supervisor
    assert supervisor._is_final(ConnectionEndedError("end", code)) is is_final
