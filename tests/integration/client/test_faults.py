"""What the client promises, over a network that fails.

NOCTULE_FAULT_RUNS seeds are tried, from NOCTULE_FAULT_SEED on; `make client-faults` tries 1,000.
"""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from noctule.client import Client, Reconnect, Subscription, Version, connect
from tests.integration.client.conftest import RunningBroker
from tests.integration.client.faults import FaultyProxy

RUNS = int(os.environ.get("NOCTULE_FAULT_RUNS", "40"))
FIRST_SEED = int(os.environ.get("NOCTULE_FAULT_SEED", "1"))
MESSAGES = 30
RECONNECT = Reconnect(first_delay=0.005, max_delay=0.02)
MAX_FAILURES = 10


@pytest.mark.timeout(60 + RUNS * 5)
async def test_nothing_acknowledged_is_lost(broker: RunningBroker, topic: str) -> None:
    failures: list[Exception] = []
    for seed in range(FIRST_SEED, FIRST_SEED + RUNS):
        try:
            async with asyncio.timeout(60):
                await run(broker, f"{topic}/{seed}", seed)
            tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            assert not tasks, f"tasks are left: {tasks}"
        except Exception as error:
            error.add_note(f"seed {seed} with {broker.name}")
            failures.append(error)
        if len(failures) == MAX_FAILURES:
            break
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {RUNS} runs", failures)


async def run(broker: RunningBroker, topic: str, seed: int) -> None:
    """A client behind the proxy publishes and receives; one with a good network checks."""
    dice = random.Random(seed)
    version = dice.choice([Version.V5, Version.V5, Version.V3_1_1])
    with_silence = dice.random() < 0.1
    up, down = f"{topic}/up", f"{topic}/down"
    async with (
        FaultyProxy(broker.port, seed, dice.randrange(1, 5), with_silence) as proxy,
        connect(broker.url) as witness,
        witness.subscribe(up, qos=2, queue_limit=10_000) as seen,
    ):
        client = connect(
            f"mqtt://127.0.0.1:{proxy.port}",
            client_id=topic.replace("/", "-"),
            version=version,
            session_expiry_interval=600,
            # A clean start of 3.1.1 leaves no session behind: nothing could be promised.
            clean_start=version >= Version.V5,
            keep_alive=1 if with_silence else 60,
            connect_timeout=1,
            close_timeout=1,
            reconnect=RECONNECT,
            require_connection=False,
            # Mosquitto 2.0 mixes up the order of what waits for the receive maximum.
            receive_maximum=1000 if broker.name == "mosquitto" else dice.choice([3, 20, 1000]),
        )
        async with client:
            messages = client.subscribe(down, qos=2, queue_limit=dice.choice([5, 1000]))
            await messages.open()
            sending = asyncio.create_task(publish(witness, down))
            receiving = asyncio.create_task(receive(messages))
            receipts = []
            for number in range(MESSAGES):
                receipts.append(await client.enqueue(up, str(number), qos=1 + number % 2))
                if dice.random() < 0.1:
                    await asyncio.sleep(0.001)
            for receipt in receipts:
                assert (await receipt).reason_code in (0, 0x10)
            await sending
            got = await receiving
            # Mosquitto 2.0 forgets its PUBREL when it loses a client twice in a row.
            again = [int(payload) for payload in proxy.releases.sent_again]
            assert not again or broker.name == "mosquitto", f"the broker sent again: {again}"
            check("received", without_repeated(got, again))
            await messages.close()
        # No order holds between publishers: "end" could overtake what is on its way.
        seen_up: list[int] = []
        try:
            while len(set(seen_up)) < MESSAGES:
                seen_up.append(int((await seen.next(30)).text))
        except TimeoutError:
            check("published", seen_up)
        await witness.publish(up, "end", qos=2)
        while (message := await seen.next(30)).text != "end":
            seen_up.append(int(message.text))
        check("published", seen_up)


async def publish(witness: Client, topic: str) -> None:
    for number in range(MESSAGES):
        await witness.publish(topic, str(number), qos=1 + number % 2)


async def receive(messages: Subscription) -> list[int]:
    got: list[int] = []
    while len(set(got)) < MESSAGES:
        got.append(int((await messages.next()).text))
    return got


def without_repeated(got: list[int], again: list[int]) -> list[int]:
    """What came, less the copies that the broker made."""
    seen: set[int] = set()
    left = list(again)
    kept = []
    for number in got:
        if number in seen and number in left:
            left.remove(number)
            continue
        seen.add(number)
        kept.append(number)
    return kept


def check(what: str, got: list[int]) -> None:
    """All there; QoS 2 (odd) once and in order; QoS 1 (even) in the order of first arrival."""
    assert set(got) == set(range(MESSAGES)), f"{what}: {sorted(set(range(MESSAGES)) - set(got))}"
    exactly_once = [number for number in got if number % 2]
    assert exactly_once == list(range(1, MESSAGES, 2)), f"{what}: {exactly_once}"
    at_least_once = list(dict.fromkeys(number for number in got if not number % 2))
    assert at_least_once == list(range(0, MESSAGES, 2)), f"{what}: {at_least_once}"
