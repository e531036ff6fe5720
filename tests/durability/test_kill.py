"""kill -9 of the real process under load: acknowledged means on disk.

NOCTULE_KILLS says how many times (`make torture`: 1,000), NOCTULE_SEED repeats a run as far as
the scheduling of two processes can be repeated.
"""

import os
import random
from pathlib import Path

import pytest

from .torture import Torture

KILLS = int(os.environ.get("NOCTULE_KILLS", "20"))
SECONDS_A_KILL = 15


@pytest.mark.timeout(60 + KILLS * SECONDS_A_KILL)
def test_broker_keeps_what_it_acknowledged_when_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("NOCTULE_SEED", random.randrange(1 << 32)))
    print(f"NOCTULE_SEED={seed}")
    torture = Torture(tmp_path / "data", "disk", seed)
    torture.run(KILLS)
    print(f"{torture.delivered} messages published and checked")
    assert torture.delivered > 0


def test_clients_notice_a_broker_that_keeps_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"gone|holds|never got"):
        Torture(tmp_path / "data", "memory", seed=1).run(2)
