"""Mutated files of strangers against the loaders: python benchmarks/mutate.py KIND --count N

KIND is models, data, results-files or options, which are command lines with odd values. File
number i depends on `--seed` and i alone. Each is made and loaded in a child process with limits of
time and memory; with `--command` the real command `robcert` reads it. Printed are the counts of
what happened, and every fault with its number, which `--only NUMBER` repeats in this process with
its traceback. The exit status is 1 if there was a fault.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from campaigns.campaign import Campaign, Counts, Limits, by_command, judged, run

KINDS = ("models", "data", "results-files", "options")


def main() -> None:
    options = parsed()
    module = import_module(f"campaigns.{options.kind.replace('-', '_')}")
    campaign: Campaign = module.CAMPAIGN
    limits = Limits(options.seconds, options.memory * 2**30)
    if options.command:
        inside = Limits(options.seconds - 2, limits.memory)
        campaign, limits = by_command(campaign, inside), Limits(options.seconds, 2**40)
    with tempfile.TemporaryDirectory() as folder:
        if options.only is not None:
            case = campaign.make(options.seed, options.only, Path(folder))
            print(case, *judged(campaign.trial, case), sep="\n")
            return
        counts = counted(campaign, options, limits, Path(folder))
    print(counts.table())
    print(f"slowest {counts.slowest:.1f} s, most memory {counts.peak / 2**20:.0f} MiB")
    sys.exit(1 if counts.faults else 0)


def counted(
    campaign: Campaign, options: argparse.Namespace, limits: Limits, folder: Path
) -> Counts:
    counts, begin = Counts(), time.monotonic()
    numbers = range(options.start, options.start + options.count)
    found = run(
        campaign, numbers, folder, seed=options.seed, workers=options.workers, limits=limits
    )
    for done, result in enumerate(found, 1):
        counts.add(result)
        if counts.faults and counts.faults[-1] is result:
            print(result.number, result.mutation, result.outcome.value, result.message, flush=True)
        if done % (10 if options.command else 250) == 0 or done == options.count:
            print(f"{done} files in {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
            record(counts, options.json)
    return counts


def record(counts: Counts, path: Path | None) -> None:
    """Write what was counted so far to ``path``: a run may be ended at any time."""
    if path is not None:
        content = {"command": " ".join(["python", *sys.argv]), **counts.to_json()}
        path.write_text(json.dumps(content, indent=1) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0, help="number of the first file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="repeat this file with its traceback")
    parser.add_argument("--command", action="store_true", help="by the real command")
    parser.add_argument("--workers", type=int, default=1, help="processes at a time")
    parser.add_argument("--seconds", type=float, default=60.0, help="limit for each file")
    parser.add_argument("--memory", type=int, default=8, help="limit for each file in GiB")
    parser.add_argument("--json", type=Path, help="file for the counts")
    return parser.parse_args()


if __name__ == "__main__":
    main()
