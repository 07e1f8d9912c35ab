"""Start time of the command line, relative to Python itself.

    python benchmarks/startup.py [--rounds 15]

Each round runs `python -c pass`, then `robcert` with each list of arguments, in separate processes.
Prints the medians over rounds of the seconds and of the ratio to `python -c pass` of the same
round; use the ratio to compare machines.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from statistics import median

PROGRAM = "from robcert.cli.main import main; main()"
COMMANDS = (
    "--help",
    "--version",
    "attack --help",
    "smoothing certify --help",
    "train trades --help",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    rounds = [measured() for _ in range(options.rounds)]
    print(f"{'command':<34} {'seconds':>8} {'ratio':>6}")
    for name in rounds[0]:
        seconds = median(one[name] for one in rounds)
        ratio = median(one[name] / one["python -c pass"] for one in rounds)
        print(f"{name:<34} {seconds:8.3f} {ratio:6.1f}")


def measured() -> dict[str, float]:
    """Seconds of each command, once."""
    found = {"python -c pass": seconds("pass")}
    for arguments in COMMANDS:
        found[f"robcert {arguments}"] = seconds(PROGRAM, *arguments.split())
    return found


def seconds(program: str, *arguments: str) -> float:
    """Seconds of elapsed time of one process."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
