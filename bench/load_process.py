"""Carries one scenario out, in a process that can be pinned to a core.

The argument is the scenario as JSON. Each phase it is about to enter is a line of JSON on
standard output ({"phase": …, "connections": …}), and a line on standard input lets it go on, so
that whoever measures can look at the broker in between. The last line is {"report": …}.
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
            sys.stdin.readline()

    report = json.loads(_engine.bench(sys.argv[1], progress))
    print(json.dumps({"report": report}), flush=True)


if __name__ == "__main__":
    main()
