"""What the broker says of itself is read where a rule names it; without rules, on this machine."""

from asyncio import to_thread
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from noctule.access import Access, Function
from noctule.broker import Broker
from tests.conformance.wire import Client

NOT_AUTHORIZED = 0x87
HERE, ELSEWHERE = "127.0.0.9", "192.0.2.7"
SYSTEM = ("$SYS/#", "$SYS/broker/version", "$SYS/+/version", "$share/g/$SYS/#")
# A proxy says where clients are, so that some are elsewhere.
LISTENER = "mqtt://127.0.0.1:0?proxy_protocol_from=127.0.0.1"


@contextmanager
def client_at(broker: Broker, address: str, name: str) -> Iterator[Client]:
    with Client(("127.0.0.1", broker.port), client_id=name) as client:
        client.send(f"PROXY TCP4 {address} 198.51.100.1 5 1883\r\n".encode())
        yield client


def granted(broker: Broker, address: str, user: str | None = None) -> list[bool]:
    """Whether each filter was, and all or none of them."""
    with client_at(broker, address, f"{user} at {address}") as client:
        client.connect(username=user)
        # What has no $ in front is everybody's.
        (plain,) = client.subscribe("#")
        assert plain == 0
        codes = client.subscribe(*SYSTEM)
        assert {code for code in codes if code} <= {NOT_AUTHORIZED}
        if any(codes):
            client.expect_nothing()
        else:
            message = client.expect_message(retain=True)
            assert message.topic.startswith("$SYS/broker/")
        return [code == 0 for code in codes]


ALL, NONE = [True] * len(SYSTEM), [False] * len(SYSTEM)


@pytest.mark.parametrize("access", [None, Access(links=[Function(lambda _: True)])], ids=str)
async def test_without_rules_only_this_machine_reads_it(access: Access | None) -> None:
    async with Broker(listeners=[LISTENER], authenticator=access) as broker:
        assert await to_thread(granted, broker, HERE) == ALL
        assert await to_thread(granted, broker, ELSEWHERE) == NONE


async def test_with_rules_it_is_read_by_whom_they_allow_wherever_they_are() -> None:
    rules: list[dict[str, object]] = [
        {"users": ["operator"], "filter": "$SYS/#"},
        {"filter": "#"},
    ]
    access = Access(links=[Function(lambda _: True)], rules=rules)
    async with Broker(listeners=[LISTENER], authenticator=access) as broker:
        for address in (HERE, ELSEWHERE):
            assert await to_thread(granted, broker, address, "operator") == ALL
            assert await to_thread(granted, broker, address, "bob") == NONE


async def test_session_that_comes_back_from_elsewhere_has_left_it_behind() -> None:
    def filters_of(address: str, **given: bool) -> bool:
        with client_at(broker, address, "wanderer") as client:
            connack = client.connect(clean=False, session_expiry_interval=600)
            if not connack.session_present:
                assert client.subscribe("$SYS/#", "$share/g/$SYS/#", "a") == (0, 0, 0)
            return bool(connack.session_present)

    async with Broker(listeners=[LISTENER]) as broker:
        for address, present, subscriptions in ((HERE, 0, 3), (HERE, 1, 3), (ELSEWHERE, 1, 1)):
            assert await to_thread(filters_of, address) == bool(present)
            (client,) = await broker.clients()
            assert client.subscriptions == subscriptions
