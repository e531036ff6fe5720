"""Opens a store again and again, each time with another byte of one of its files flipped.

`python -m tests.hostile.damaged_store STORE SCRATCH STEP` takes every STEP-th byte and prints
one line of JSON for each: what the broker in this process said, and what it served. A broker
that takes the process with it ends the lines.
"""

import asyncio
import json
import logging
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from noctule.broker import Broker, StartError
from tests.conformance.wire import Client, ClosedError, packets

__all__ = ["KEEPER", "KEPT_TOPICS", "NEVER", "Found", "damaged_files"]

KEEPER = "keeper"
"""The client identifier of the session in the store."""
NEVER = 0xFFFF_FFFF
"""Its expiry interval in seconds: all bytes take longer than one would think."""
KEPT_TOPICS = "kept/#"
"""What that session subscribes to, and what is retained."""


@dataclass
class Found:
    """What came of one flipped byte. Payloads are text; `queued` is what the session was sent."""

    file: str
    byte: int
    refused: str = ""
    log: list[str] = field(default_factory=list)
    session_present: bool = False
    queued: list[str] = field(default_factory=list)
    retained: dict[str, str] = field(default_factory=dict)


def damaged_files(store: Path) -> list[Path]:
    """The files that hold something: a reserve is only room."""
    files = [path for path in store.iterdir() if path.is_file() and path.stat().st_size]
    return sorted(path for path in files if path.name != "reserve" and path.suffix != ".db-shm")


def damage(store: Path, scratch: Path, name: str, byte: int) -> None:
    """Make `scratch` a copy with one bit of that byte flipped."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for path in damaged_files(store):
        shutil.copy(path, scratch)
    content = bytearray((scratch / name).read_bytes())
    content[byte] ^= 1 << byte % 8
    (scratch / name).write_bytes(content)


async def examine(scratch: Path, found: Found) -> None:
    """Start a broker on a damaged store, and ask for all that was kept."""
    lines = Lines()
    logging.getLogger("noctule").addHandler(lines)
    try:
        async with Broker(
            listeners=["mqtt://127.0.0.1:0"], durability="disk", data_dir=scratch, workers=1
        ) as broker:
            await asyncio.to_thread(ask, ("127.0.0.1", broker.port), found)
    except StartError as error:
        found.refused = str(error)
    finally:
        logging.getLogger("noctule").removeHandler(lines)
    found.log = lines.lines


def ask(address: tuple[str, int], found: Found) -> None:
    """Note what the session is sent and what is retained."""
    with Client(address, client_id=KEEPER) as keeper:
        connack = keeper.connect(clean=False, session_expiry_interval=NEVER)
        found.session_present = connack.session_present
        found.queued = [packet.payload.decode() for packet in taken(keeper)]
        keeper.disconnect()
    with Client(address, client_id="reader") as reader:
        reader.connect()
        reader.subscribe(KEPT_TOPICS, qos=0)
        found.retained = {packet.topic: packet.payload.decode() for packet in taken(reader)}
        reader.disconnect()


def taken(client: Client) -> list[packets.Packet]:
    """The messages that come before the answer to a PINGREQ."""
    client.send(packets.PINGREQ)
    messages = []
    while (packet := client.receive()) is not None and packet.type == "PUBLISH":
        messages.append(packet)
    if packet is None:
        raise ClosedError("the broker closed")
    return messages


class Lines(logging.Handler):
    """Keeps the warnings and errors."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


async def main(store: Path, scratch: Path, step: int) -> None:
    """Flip every `step`-th byte of each file, one after the other."""
    for path in damaged_files(store):
        for byte in range(0, path.stat().st_size, step):
            found = Found(path.name, byte)
            damage(store, scratch, path.name, byte)
            await examine(scratch, found)
            print(json.dumps(asdict(found)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
