"""Carries one scenario out, in a process that can be pinned to a core.

The argument is the scenario as JSON. Each phase it enters is a line of JSON on standard
output ({"phase": …, "connections": …}), and so is the report at the end ({"report": …}).
"""

import json
import sys

from noctule import _engine


def main() -> None:
    phase = None

    def progress(text: str) -> None:
        nonlocal phase
        moment = json.loads(text)
        if moment["phase"] != phase:
            phase = moment["phase"]
            print(json.dumps({"phase": phase, "connections": moment["connections"]}), flush=True)

    report = json.loads(_engine.bench(sys.argv[1], progress))
    print(json.dumps({"report": report}), flush=True)


if __name__ == "__main__":
    main()
