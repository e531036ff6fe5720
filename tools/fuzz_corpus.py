"""The fuzzers' corpus: `fuzz/corpus/TARGET.hex` to and from the folders that libFuzzer wants.

    tools/fuzz_corpus.py seed TARGET            begin a target's corpus from the wire vectors
    tools/fuzz_corpus.py unpack TARGET FOLDER   write an input a file
    tools/fuzz_corpus.py pack TARGET FOLDER     take over what a folder holds (merge it first)

A line is an input in hex digits, so that a change to the corpus can be read.
"""

import json
import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VECTORS = ROOT / "tests" / "vectors" / "vectors.jsonl"

# The whole corpus is to stay below a megabyte, and hex doubles.
MAX_INPUT_BYTES = 1_024
MAX_TARGET_BYTES = 60_000


def main() -> None:
    match sys.argv[1:]:
        case ["seed", target]:
            write(target, seeds())
        case ["unpack", target, folder]:
            unpack(target, Path(folder))
        case ["pack", target, folder]:
            write(target, (each.read_bytes() for each in sorted(Path(folder).iterdir())))
        case _:
            sys.exit(__doc__)


def corpus(target: str) -> Path:
    return ROOT / "fuzz" / "corpus" / f"{target}.hex"


def seeds() -> Iterable[bytes]:
    """The wire vectors as the codecs' targets take them: the version, then the packet."""
    for line in VECTORS.read_text().splitlines():
        row = json.loads(line)
        if "tail" not in row:
            yield bytes([row["ver"]]) + bytes.fromhex(row["hex"])


def unpack(target: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for line in corpus(target).read_text().splitlines():
        data = bytes.fromhex(line)
        (folder / sha256(data).hexdigest()[:20]).write_bytes(data)


def write(target: str, inputs: Iterable[bytes]) -> None:
    """Write the shortest inputs, as many as the corpus has room for."""
    chosen: list[str] = []
    room = MAX_TARGET_BYTES
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        if len(data) > min(MAX_INPUT_BYTES, room):
            break
        room -= len(data)
        chosen.append(data.hex())
    corpus(target).write_text("".join(f"{line}\n" for line in chosen))


if __name__ == "__main__":
    main()
