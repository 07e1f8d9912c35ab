"""Forecasts of `robcert plan` against what the same commands take, in one run.

    python benchmarks/plan.py [--only attack-quick …] [--images 100]

Each command is planned and then run, in a process each. Printed are the forecast in units of the
actual, by elapsed time and by processor time of the processes. Elapsed times say something on an
idle machine only: other programs take the processors from the plan and from the run unequally. The
aim is a ratio of 1/1.5 to 1.5 in nine of ten commands. Plans here have the requested profile only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import robcert.fixtures

FIXTURES = Path(robcert.fixtures.__path__[0])
HONEST, GAUSSIAN, MASKED = (
    ("--model", str(FIXTURES / f"fashion-{name}.onnx")) for name in ("honest", "gaussian", "masked")
)
QUICK = ("--profile", "quick")

CASES: dict[str, tuple[str, ...]] = {
    "attack, quick": ("attack", *HONEST, *QUICK),
    "attack, standard": ("attack", *HONEST),
    "linearity, standard": ("linearity", *HONEST),
    "bounds, quick": ("bounds", *HONEST, *QUICK),
    "verify, quick": ("verify", *HONEST, *QUICK),
    "smoothing, quick": ("smoothing", "certify", *HONEST, *QUICK),
    "smoothing, standard": ("smoothing", "certify", *GAUSSIAN),
    "masking-check, quick": ("masking-check", *HONEST, *QUICK),
    "corruption": ("corruption", *HONEST, "--spatial", "30,0.1"),
    "taylor": ("taylor", *HONEST),
    "audit, quick": ("audit", *GAUSSIAN, *QUICK),
    "audit of a masked model, quick": ("audit", *MASKED, *QUICK),
}

TOLERANCE = 1.5

PROGRAM = "import sys; from robcert.cli.main import run; sys.exit(run(sys.argv[1:]))"


@dataclass(frozen=True, slots=True)
class Times:
    """Elapsed and processor time, seconds."""

    elapsed: float
    processor: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--only", nargs="*", choices=tuple(CASES), default=tuple(CASES))
    options = parser.parse_args()
    head = ("forecast", "actual", "ratio", "forecast", "actual", "ratio", "pilots")
    print(f"{'':<32}{'elapsed':>27}{'processor':>27}")
    print(f"{'command':<32}" + "".join(f"{title:>9}" for title in head), flush=True)
    ratios = []
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            words = (*CASES[name], "--limit", str(options.images), "--quiet", "--no-config")
            planned, pilots = forecast(words, Path(folder))
            actual = measured((*words, "--out", "r.h5"), Path(folder))[0]
        ratios.append(planned.processor / actual.processor)
        row = (
            *(planned.elapsed, actual.elapsed, planned.elapsed / actual.elapsed),
            *(planned.processor, actual.processor, ratios[-1]),
            pilots.processor,
        )
        print(f"{name:<32}" + "".join(f"{value:9.2f}" for value in row), flush=True)
    inside = sum(1 / TOLERANCE <= ratio <= TOLERANCE for ratio in ratios)
    print(f"within a factor of {TOLERANCE} by processor time: {inside} of {len(ratios)}")


def forecast(words: tuple[str, ...], folder: Path) -> tuple[Times, Times]:
    """What the plan of a command says, and what the plan itself took."""
    took, printed = measured(("plan", *words, "--json"), folder)
    found = json.loads(printed)
    total = found["profiles"][found["profile"] or "default"]
    return Times(total["seconds"] or 0.0, total["processor_seconds"] or 0.0), took


def measured(words: tuple[str, ...], folder: Path) -> tuple[Times, str]:
    """What a command took with all its processes, and what it printed."""
    began, before = time.monotonic(), os.times()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    after = os.times()
    processor = sum(after[2:4]) - sum(before[2:4])
    return Times(time.monotonic() - began, processor), done.stdout


if __name__ == "__main__":
    main()
