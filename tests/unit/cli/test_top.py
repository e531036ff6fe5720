"""What `noctule top` makes of what a broker says of itself."""

import pytest

from noctule.cli.top import PREFIX, System, _behind, _lost, _who

SENT = "publish/messages/sent"


def test_a_retained_count_begins_no_rate() -> None:
    system = System()
    system.put(f"{PREFIX}{SENT}", b"1000", 5.0, is_retained=True)
    system.put(f"{PREFIX}{SENT}", b"9000", 5.1)
    assert system.rate(SENT, "publish/sent") is None
    system.put(f"{PREFIX}{SENT}", b"9010", 10.1)
    assert system.rate(SENT, "publish/sent") == pytest.approx(2.0)


def test_the_mean_of_the_minute_stands_in_for_a_rate() -> None:
    system = System()
    system.put(f"{PREFIX}{SENT}", b"1000", 5.0, is_retained=True)
    system.put(f"{PREFIX}load/publish/sent/1min", b"120", 5.0, is_retained=True)
    system.put(f"{PREFIX}{SENT}", b"9000", 5.1)
    assert system.rate(SENT, "publish/sent") == 2.0


@pytest.mark.parametrize("payload", [b"", b"7", b"{}", b"[", b"\xff", None])
def test_a_broker_that_tells_no_clients_is_not_misread(payload: bytes | None) -> None:
    system = System()
    if payload is not None:
        system.put(f"{PREFIX}clients/slow", payload, 1.0)
    assert system.clients("slow") is None


def test_clients_are_shown_without_what_a_terminal_obeys() -> None:
    system = System()
    told = rb'[{"client":"a\u001b[2J","user":"u","dropped":3,"dropped_in_all":40,'
    told += rb'"by_reason":{"slow_reader":40}},{"bytes_waiting":2000,"messages_queued":"?"},5]'
    system.put(f"{PREFIX}clients/dropping", told, 1.0)
    found = system.clients("dropping")
    assert found is not None
    first, second = found
    assert _who(first) == r"a\x1b[2J (u)"
    assert _lost(first) == "3 lost, 40 in all (slow reader)"
    assert (_who(second), _behind(second)) == ("?", "2.0 kB wait, ? messages queued")
