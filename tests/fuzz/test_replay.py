"""The fuzzers' corpus of the targets in Python, and a fixed number of inputs near it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.checks import check_codec, check_config

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"
MAX_BYTES = 4_096


def replay(target: str, mutations: int, check: Callable[[bytes], None]) -> None:
    lines = (CORPUS / f"{target}.hex").read_text().splitlines()
    corpus = [bytes.fromhex(line) for line in lines]
    assert corpus
    for data in corpus:
        check(data)
    chance = random.Random(0x0FF5EED5)
    for _ in range(mutations):
        data = mutated(corpus, chance)
        try:
            check(data)
        except BaseException as error:
            error.add_note(f"input: {data.hex()}")
            raise


def mutated(corpus: list[bytes], chance: random.Random) -> bytes:
    """An input with one to four changes."""
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(data):
                data[at] = chance.choice([0x00, 0x01, 0x02, 0x7F, 0x80, 0xFE, 0xFF])
            case 2:
                data.insert(at, chance.randrange(256))
            case 3:
                del data[at : at + chance.randint(1, 4)]
            case _:
                other = chance.choice(corpus)
                data[at:] = other[chance.randrange(len(other) + 1) :]
    return bytes(data[:MAX_BYTES])


def test_codec_writes_what_it_reads_whatever_it_is() -> None:
    replay("python_codec", 20_000, check_codec)


def test_configuration_is_taken_or_explained_whatever_is_in_the_file() -> None:
    replay("config", 2_000, check_config)
