"""SIGKILL at random moments against every command that keeps results: python benchmarks/kills.py

Each command is killed while it works, mostly in the middle of writing, resumed by the same line,
now and then killed again, and compared bit by bit with a run that nobody disturbed. Printed are the
counts, and every fault with the number of its sequence. The exit status is 1 if there was a fault.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

from campaigns.kills import COMMANDS, Counts, Kills


def main() -> None:
    options = parsed()
    begin, counts = time.monotonic(), Counts()
    with tempfile.TemporaryDirectory() as folder:
        kills = Kills(Path(folder), options.only or COMMANDS, program=options.command)
        for one in kills.sequences(itertools.count(options.start), options.seed):
            counts.add(one)
            for fault in one.faults:
                print(f"{one.number} {one.name}: {fault}", flush=True)
            done = counts.total["kills"]
            print(f"{done} kills in {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
            record(counts, one.number + 1, options.json)
            if done >= options.count or time.monotonic() - begin > options.minutes * 60:
                break
    print(counts.table())
    print(f"next: --start {one.number + 1}")
    sys.exit(1 if counts.faults else 0)


def record(counts: Counts, following: int, path: Path | None) -> None:
    """Write what was counted so far to ``path``: a run may be ended at any time."""
    if path is not None:
        command = " ".join(["python", *sys.argv])
        content = {"command": command, "next": following, **counts.to_json()}
        path.write_text(json.dumps(content, indent=1) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="kills")
    parser.add_argument("--start", type=int, default=0, help="number of the first sequence")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=tuple(COMMANDS), metavar="NAME")
    parser.add_argument("--command", action="store_true", help="start the program each time")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no sequence after these")
    parser.add_argument("--json", type=Path, help="file for the counts")
    return parser.parse_args()


if __name__ == "__main__":
    main()
