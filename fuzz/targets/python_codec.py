"""The Python codec under atheris: `make fuzz TARGETS=python_codec`."""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["noctule.protocol"]):
    import noctule.protocol  # noqa: F401

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.fuzz.checks import check_codec

atheris.Setup(sys.argv, check_codec)
atheris.Fuzz()
