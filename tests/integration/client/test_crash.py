"""Programs that are killed while they publish."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from noctule.client import connect
from tests.integration.client.conftest import RunningBroker

PROGRAM = Path(__file__).with_name("crashing.py")


async def run(*arguments: str, kill_after: float | None) -> list[str]:
    """The lines that the program got out before its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    lines: list[str] = []
    async for line in process.stdout:
        lines.append(line.decode().strip())
        if kill_after is not None and len(lines) > kill_after:
            process.kill()
            kill_after = None
    await process.wait()
    return lines


async def test_what_is_in_the_outbox_arrives_although_the_program_is_killed(
    broker: RunningBroker, topic: str, tmp_path: Path
) -> None:
    dice = random.Random(5)
    kept: list[str] = []
    got: list[str] = []
    async with (
        connect(broker.url) as client,
        client.subscribe(topic, qos=2, queue_limit=100_000) as messages,
    ):
        for number in range(6):
            kill_after = dice.randrange(150) if number < 5 else None
            outbox = str(tmp_path / "outbox")
            kept += await run(broker.url, outbox, str(number), "200", topic, kill_after=kill_after)
        await client.publish(topic, "end", qos=2)
        while (message := await messages.next(30)).text != "end":
            got.append(message.text)
    assert set(kept) <= set(got)
    exactly_once = [text for text in got if int(text.split(":")[1]) % 2]
    assert len(exactly_once) == len(set(exactly_once))
    assert exactly_once == sorted(exactly_once, key=lambda t: [int(n) for n in t.split(":")])
