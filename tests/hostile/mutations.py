"""Broken packets without end, from a seed: good ones with something done to them."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.hostile.witness import ROOT

__all__ = ["Mutation", "mutations"]

VECTORS = ROOT / "tests" / "vectors" / "vectors.jsonl"
MAX_CHANGES = 4


@dataclass(frozen=True)
class Mutation:
    """What is sent, at which protocol level, and whether a good CONNECT goes before it."""

    version: int
    data: bytes
    behind_connect: bool

    def __str__(self) -> str:
        return f"version {self.version}, CONNECT before: {self.behind_connect}, {self.data.hex()}"


def mutations(seed: int) -> Iterator[Mutation]:
    """The same ones for the same seed, for ever."""
    chance = random.Random(seed)
    with VECTORS.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    packets = [(row["ver"], bytes.fromhex(row["hex"])) for row in rows]
    while True:
        version, data = chance.choice(packets)
        for _ in range(chance.randint(1, MAX_CHANGES)):
            data = chance.choice(CHANGES)(chance, data, packets)
        yield Mutation(version, data, behind_connect=chance.random() < 0.7)


Packets = list[tuple[int, bytes]]


def flip(chance: random.Random, data: bytes, _: Packets) -> bytes:
    """One bit is another."""
    at = chance.randrange(len(data) or 1)
    return (
        data[:at]
        + bytes(byte ^ 1 << chance.randrange(8) for byte in data[at : at + 1])
        + (data[at + 1 :])
    )


def insert(chance: random.Random, data: bytes, _: Packets) -> bytes:
    """A few bytes more, of any kind or of one that is a border."""
    at = chance.randrange(len(data) + 1)
    more = chance.choice([chance.randbytes(chance.randint(1, 8)), b"\x00", b"\xff", b"\x80"])
    return data[:at] + more + data[at:]


def delete(chance: random.Random, data: bytes, _: Packets) -> bytes:
    """A few bytes less."""
    at = chance.randrange(len(data) or 1)
    return data[:at] + data[at + chance.randint(1, 8) :]


def repeat(chance: random.Random, data: bytes, _: Packets) -> bytes:
    """A part of it again and again."""
    at = chance.randrange(len(data) or 1)
    end = at + chance.randint(1, 32)
    return data[:at] + data[at:end] * chance.randint(2, 50) + data[end:]


def join(chance: random.Random, data: bytes, packets: Packets) -> bytes:
    """Another packet behind it."""
    return data + chance.choice(packets)[1]


def lie(chance: random.Random, data: bytes, _: Packets) -> bytes:
    """Another remaining length, and the rest as it was."""
    if len(data) < 2:
        return data
    length = chance.choice([0, 1, data[1] ^ 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
    return data[:1] + bytes([length]) + data[2:]


def cut(chance: random.Random, data: bytes, _: Packets) -> bytes:
    """Its beginning only."""
    return data[: chance.randrange(len(data) + 1)]


CHANGES = (flip, insert, delete, repeat, join, lie, cut)
