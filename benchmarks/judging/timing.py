"""Cost of a training step of the penalties and of adversarial training."""

from __future__ import annotations

import tempfile
from pathlib import Path

from training import METHODS, measured, run_of

from robcert.trainers.networks import Architecture

from .networks import BATCH, WIDTH

NAMES = {
    "standard": "standard",
    "gradient-forward": "difference",
    "gradient-exact": "exact",
    "adversarial-7": "ADV-7",
}
ROUNDS, SECONDS = 5, 2.0


def step_ratios(seed: int) -> dict[str, float]:
    """Processor time of a step, relative to a standard step; medians over rounds.

    Args:
        seed: number of the repetition; the images are random noise.
    """
    architecture = Architecture("cnn4", width=WIDTH)
    with tempfile.TemporaryDirectory(prefix=f"timing-{seed}-") as folder:
        runs = {
            name: run_of(architecture, METHODS[name], BATCH, Path(folder) / name) for name in NAMES
        }
        ratios = measured(runs, ROUNDS, SECONDS)
    return {NAMES[name]: ratio for name, ratio in ratios.items()}
