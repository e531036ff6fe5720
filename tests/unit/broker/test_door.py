"""What access control is told of the sessions there are."""

from typing import Any, cast

from noctule.broker.door import all_clients


class BusySource:
    """Its workers answer in time at the third try."""

    def __init__(self) -> None:
        self._answers: list[list[dict[str, Any]] | None] = [None, None, [{"client": "c"}]]

    def clients(self, timeout_seconds: float = 5.0) -> list[dict[str, Any]] | None:
        return self._answers.pop(0)


async def test_sessions_are_asked_for_until_all_workers_have_answered() -> None:
    assert await all_clients(cast(Any, BusySource())) == [{"client": "c"}]
