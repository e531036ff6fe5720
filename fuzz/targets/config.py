"""The configuration file under atheris: `make fuzz TARGETS=config`."""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["noctule.config"]):
    import noctule.config  # noqa: F401

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.fuzz.checks import check_config

atheris.Setup(sys.argv, check_config)
atheris.Fuzz()
