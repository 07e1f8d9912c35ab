"""Cost of one training step of every method, relative to a standard step of the same network.

One run measures the networks one by one and alternates between the methods:

    python benchmarks/training.py --arch cnn4 resnet18 --batch-size 64 --rounds 5

It prints for each method the theoretical number of passes, the measured ratio, and the quotient of
measured and theoretical ratio. A standard step is one forward pass (1), one backward pass to the
layers' inputs (1) and one to their parameters (1): 3 units. An input gradient alone costs 2.
Differentiating it with respect to the parameters costs another 2 for each of its two passes: 6 for
a penalty on the gradient together with the loss itself. The steps are those of the training loop,
with optimiser and clipping. The ratios are medians of processor time over the rounds; on an idle
machine wall-clock time gives the same.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from robcert.certify.numerics import keep_freed_memory
from robcert.trainers.data import TrainingImages
from robcert.trainers.loop import Run, RunPlan
from robcert.trainers.methods import (
    Adversarial,
    Cure,
    Free,
    Gaussian,
    Gradient,
    Jacobian,
    Llr,
    SmoothAdv,
    Soar,
    Standard,
    Trades,
)
from robcert.trainers.networks import Architecture, BatchNorm, Convolution
from robcert.trainers.recipe import TrainConfig

if TYPE_CHECKING:
    from robcert.trainers.methods import Objective

STEP = 3
"""Units of a standard step: forward, backward to inputs, backward to parameters."""
IMAGE = 2
"""Units of an input gradient alone."""
FIRST, SECOND = 1.15, 1.4
"""Largest allowed quotient of measured and theoretical ratio: first order, second order."""


@dataclass(frozen=True)
class Method:
    """A method with its theoretical and allowed cost.

    Attributes:
        objective: the method.
        units: theoretical units of a step.
        most: largest allowed quotient of measured and theoretical ratio.
        own_layers: whether the layers are robcert's convolution and batch norm, or torch's.
    """

    objective: Objective
    units: float
    most: float = FIRST
    own_layers: bool = True


METHODS = {
    "standard": Method(Standard(), STEP),
    "gaussian": Method(Gaussian(), STEP),
    "free": Method(Free(), STEP),
    "adversarial-1": Method(Adversarial(steps=1), STEP + IMAGE),
    "adversarial-7": Method(Adversarial(steps=7), STEP + 7 * IMAGE),
    "adversarial-10": Method(Adversarial(steps=10), STEP + 10 * IMAGE),
    "adversarial-30": Method(Adversarial(steps=30), STEP + 30 * IMAGE),
    # clean logits for the divergence, ten gradients, and a step on clean and perturbed images
    "trades-10": Method(Trades(), 1 + 10 * IMAGE + 2 * STEP),
    # two gradients of two copies of each image, and a step on two copies
    "smoothadv-2x2": Method(SmoothAdv(), 2 * (2 * IMAGE + STEP)),
    # the direction needs one backward pass of the step's own forward pass
    "gradient-forward": Method(Gradient(), 2 * STEP + 1),
    "gradient-central": Method(Gradient(scheme="central"), 3 * STEP + 1),
    # forward, gradient, and both differentiated with respect to the parameters
    "gradient-exact": Method(Gradient(scheme="exact"), 2 + 2 * 2, SECOND),
    "gradient-exact-torch": Method(
        Gradient(scheme="exact"), 2 + 2 * 2, float("inf"), own_layers=False
    ),
    "jacobian": Method(Jacobian(), 2 + 2 * 2, SECOND),
    "cure": Method(Cure(), 2 * (2 + 2 * 2), SECOND),
    # the gradient at the image and its derivative, M gradients, and a step at the perturbed image
    "llr-2": Method(Llr(steps=2), (2 + 2 * 2) + 2 * IMAGE + STEP, SECOND),
    # a sign step, two gradients and their derivative, and the loss without the clipped penalty
    "soar": Method(Soar(), IMAGE + 2 * (2 + 2 * 2) + 2, SECOND),
}


def run_of(architecture: Architecture, method: Method, batch: int, folder: Path) -> Run:
    """New run on random images of CIFAR-10's size."""
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (batch, 3, 32, 32), generator=draws).to(torch.uint8)
    images = TrainingImages(pixels, torch.arange(batch) % 10, "noise")
    config = TrainConfig(
        objective=method.objective, architecture=architecture, batch_size=batch, normalize=False
    )
    run = Run(RunPlan(config, images, images, folder))
    for layer in () if method.own_layers else run.model.modules():
        if isinstance(layer, Convolution):
            layer.__class__ = nn.Conv2d  # type: ignore[assignment]
        if isinstance(layer, BatchNorm):
            layer.__class__ = nn.BatchNorm2d  # type: ignore[assignment]
    return run


def seconds(run: Run, least: float) -> float:
    """Processor seconds per step, over as many steps as fit in ``least`` seconds."""
    x, y = run.images.batch(torch.arange(len(run.images)), run.device)
    done, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < least or done == 0:
        run.step(x, y, number=done, replay=0, of=1000)
        done += 1
    return (time.process_time() - cpu) / done


def measured(runs: dict[str, Run], rounds: int, least: float) -> dict[str, float]:
    """Median ratio of each method's step to the standard step measured just before it."""
    for run in runs.values():
        seconds(run, 0.0)  # the first steps allocate memory
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            base = seconds(runs["standard"], least)
            found[name].append(seconds(run, least) / base)
    return {name: statistics.median(ratios) for name, ratios in found.items()}


def report(name: str, ratios: dict[str, float]) -> None:
    print(f"\n{name}: units | theory | measured | measured / theory (largest allowed)")
    for method, ratio in ratios.items():
        entry = METHODS[method]
        count = entry.units / STEP
        over = "  ABOVE" if ratio / count > entry.most else ""
        print(
            f"  {method:17s} {entry.units:5.0f} | {count:5.2f} | {ratio:5.2f} | "
            f"{ratio / count:4.2f} ({entry.most}){over}"
        )
    compare(ratios, "gradient-exact-torch", "gradient-forward", 1.0)
    compare(ratios, "gradient-exact-torch", "gradient-exact", 1.0)
    compare(ratios, "adversarial-30", "llr-2", 3.5)
    compare(ratios, "adversarial-10", "llr-2", 1.3)


def compare(ratios: dict[str, float], dear: str, cheap: str, least: float) -> None:
    """Print how much cheaper a step of one method is than of the other; at least ``least``."""
    if dear in ratios and cheap in ratios:
        quotient = ratios[dear] / ratios[cheap]
        print(f"  {cheap} is {quotient:.2f} times cheaper than {dear} (at least {least})")


def profile(run: Run, steps: int = 3) -> None:
    """Print the operations on which a step spends its time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        x, y = run.images.batch(torch.arange(len(run.images)), run.device)
        for number in range(steps):
            run.step(x, y, number=number, replay=0, of=1000)
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=14))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", nargs="+", default=["cnn4", "resnet18"])
    parser.add_argument("--width", type=int, help="channels of the first layer")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="duration of each measurement")
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--profile", action="store_true", help="print the time per operation")
    options = parser.parse_args()
    keep_freed_memory()
    names = dict.fromkeys(["standard", *options.only])
    with tempfile.TemporaryDirectory() as folder:
        for arch in options.arch:
            architecture = replace(Architecture(arch), width=options.width)
            runs = {
                name: run_of(architecture, METHODS[name], options.batch_size, Path(folder) / name)
                for name in names
            }
            report(arch, measured(runs, options.rounds, options.seconds))
            for name in options.only if options.profile else ():
                print(f"\n{arch}, {name}")
                profile(runs[name])


if __name__ == "__main__":
    main()
