"""Cost of gamma, omega and L relative to the network's passes, and speed of CLEVER.

    robcert train standard --epochs 2 --out runs/standard
    python benchmarks/bounds.py --model runs/standard

One run on real images prints (1) the cost of gamma, omega and L as a ratio to that of their forward
and backward passes alone, measured alternately; (2) gradient samples per second of the L-bound's
sample, of the per-image CLEVER and of the Adversarial Robustness Toolbox's CLEVER on the torch
module, as shipped and with glibc set to keep freed memory, as robcert does; (3) the largest slopes
that they and the ascent find on functions whose largest slope is known. Rates are medians over
rounds; on a busy machine, use those by processor time. If an ONNX file is given instead of a run
folder, the toolbox gets robcert's twin of it.

The toolbox must be installed separately: `pip install adversarial-robustness-toolbox`.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from native import Pair, load_pair
from torch import Tensor, nn

from robcert.certify.core import Batch, Norm
from robcert.certify.data import load_images
from robcert.certify.local_linearity import (
    Search,
    Sided,
    adam_rule,
    halving_rule,
    largest_deviation,
    tangent,
)
from robcert.certify.model import Classifier
from robcert.certify.numerics import Loss, keep_freed_memory
from robcert.certify.radius_bounds import (
    BLOCK_SIZE,
    BoundsSettings,
    GradientNormSearch,
    ResidualSearch,
    epsilon_grid,
    largest_excesses,
    largest_gradient_norm,
    largest_residuals,
    local_lipschitz,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from robcert.certify.local_linearity import Tangent

FIXTURES = Path(__file__).parent.parent / "fixtures"
EPSILON = 8 / 255
RADIUS = 0.5
TARGET_RATIO, TARGET_CLEVER = 1.15, 4.0
OURS, TOOLBOX = ("L at the images", "CLEVER of one image"), "toolbox"
WAYS_TO_TELL = ("wall", "cpu")
MARGIN = 0.1
"""Margin on the known functions, small because the toolbox limits its score to RADIUS."""
ASCENT_STEPS = 20
POOL_FACTOR = 10
"""Points that the toolbox draws per member of a block; it draws its blocks from them."""


@dataclass(frozen=True)
class Spent:
    """Seconds of one run, elapsed time and processor time of this process."""

    wall: float
    cpu: float


def spent(run: Callable[[], object]) -> Spent:
    start, cpu = time.perf_counter(), time.process_time()
    run()
    return Spent(time.perf_counter() - start, time.process_time() - cpu)


@dataclass(frozen=True)
class Passes:
    """Passes through the network that a kernel needs: gradients, and further forward passes."""

    gradients: int
    forwards: int


def medians(first: list[Spent], second: list[Spent]) -> str:
    """Median ratio of ``first`` to ``second`` over rounds, by elapsed and by processor time."""
    wall, cpu = (
        float(
            np.median([getattr(a, k) / getattr(b, k) for a, b in zip(first, second, strict=True)])
        )
        for k in WAYS_TO_TELL
    )
    return f"x{wall:.3f} | x{cpu:.3f}"


def bare(twin: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, passes: Passes) -> None:
    """The passes alone: logits, a loss, its input gradient."""
    for _ in range(passes.gradients):
        point = x.detach().requires_grad_()
        torch.autograd.grad(Loss.MARGIN.of(twin(point), y).sum(), point)
    with torch.no_grad():
        for _ in range(passes.forwards):
            twin(x)


def kernels(classifier: Classifier, batch: Batch) -> dict[str, tuple[Callable[[], object], Passes]]:
    """Each kernel with its tangent, and the passes that it needs."""
    adam = Search(Norm.LINF, Sided.TWO, 50, adam_rule())
    grid = ResidualSearch(Norm.LINF, epsilon_grid(EPSILON, 3), 20, 0)

    def tangents() -> Tangent:
        return tangent(classifier, batch.x, batch.y, Loss.MARGIN)

    def gamma() -> object:
        return largest_deviation(tangents(), batch, adam, epsilon=EPSILON, seed=0, stream="b")

    def omega() -> object:
        return largest_residuals(tangents(), batch, grid)

    def ball() -> object:
        search = GradientNormSearch(Norm.LINF, EPSILON, ASCENT_STEPS, restarts=1, seed=0)
        return largest_gradient_norm(tangents(), batch, search)

    # one forward pass after each of nine ascents, and at the floor and a random point
    looks = 11 * len(grid.epsilons)
    return {
        "gamma, 50 Adam steps": (gamma, Passes(1 + 50, 1)),
        "omega, 3 radii": (omega, Passes(1 + grid.n_gradients, looks)),
        "L at the images": (tangents, Passes(1, 0)),
        "L in a ball, 20 steps": (ball, Passes(1 + 2 * ASCENT_STEPS + 1, 0)),
    }


def report_ratios(classifier: Classifier, batches: list[Batch], rounds: int) -> None:
    assert classifier.twin is not None
    twin = classifier.twin.logits
    print(f"cost over passes alone (elapsed | processor time), target x{TARGET_RATIO}")
    for batch in batches:
        for name, (run, passes) in kernels(classifier, batch).items():
            several = range(max(1, 40 // passes.gradients))
            ours: list[Spent] = []
            floor: list[Spent] = []
            for _ in range(rounds):
                ours.append(spent(repeated(run, several)))
                floor.append(
                    spent(repeated(partial(bare, twin, batch.x, batch.y, passes), several))
                )
            print(f"  batch {len(batch):3d}  {name:22s} {medians(ours, floor)}")


def repeated(run: Callable[[], object], times: range) -> Callable[[], object]:
    return lambda: [run() for _ in times]


Way = tuple["Callable[[], object]", int]
"""A run, and the number of its gradient samples."""


def ours(classifier: Classifier, batch: Batch, points: int) -> dict[str, Way]:
    """The sample of the L-bound, and the per-image CLEVER of the first image."""
    tangents = tangent(classifier, batch.x, batch.y, Loss.MARGIN)
    one = np.array([0])
    centre, how = (tangents.part(one), batch.part(one)), {"norm": Norm.L2, "radius": RADIUS}
    blocks = points // BLOCK_SIZE
    return {
        OURS[0]: (lambda: tangent(classifier, batch.x, batch.y, Loss.MARGIN), len(batch)),
        OURS[1]: (lambda: local_lipschitz(*centre, **how, blocks=blocks, seed=0), points),
    }


def theirs(pair: Pair, batch: Batch, points: int) -> dict[str, Way]:
    """The toolbox's CLEVER of the first image; empty if it is not installed."""
    clever_t = toolbox()
    if clever_t is None:
        return {}
    wrapped, image = estimator(pair.module, pair.classifier), batch.x[0].numpy()
    target, size = runner_up(pair.classifier, batch), points // POOL_FACTOR

    def pooled() -> object:
        return clever_t(wrapped, image, target, points // BLOCK_SIZE, size, RADIUS, 2)

    return {TOOLBOX: (pooled, size * POOL_FACTOR)}


def sampled(ways: dict[str, Way], rounds: int) -> dict[str, list[Spent]]:
    """Seconds per gradient sample of each way; they alternate after a warm-up round."""
    found: dict[str, list[Spent]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, (run, samples) in ways.items():
            took = spent(run)
            found[name].append(Spent(took.wall / samples, took.cpu / samples))
    return {name: some[1:] for name, some in found.items()}


def report_rates(
    shipped: dict[str, list[Spent]], kept: dict[str, list[Spent]], points: int
) -> None:
    print(f"\ngradient samples per second (elapsed | processor time), {points} points per image")
    for state, some in (("as shipped", shipped), ("memory kept", kept)):
        for name, costs in some.items():
            wall, cpu = (1 / float(np.median([getattr(s, k) for s in costs])) for k in WAYS_TO_TELL)
            print(f"  {name + ', ' + state:34s} {wall:7.0f} | {cpu:7.0f}")
    for state, some in (("as shipped", shipped), ("with kept memory", kept)):
        for name in OURS if TOOLBOX in some else ():
            ratio = medians(some[TOOLBOX], kept[name])
            print(f"  {name}, against the toolbox {state}: {ratio}, target x{TARGET_CLEVER:g}")


def runner_up(classifier: Classifier, batch: Batch) -> int:
    """The target class of CLEVER: the second class of the first image."""
    with torch.no_grad():
        return int(classifier.twin_logits(batch.x[:1]).topk(2).indices[0, 1])


class Known(nn.Module):
    """Logits (f(x), 0) of flat pixels: the margin of class 0 has the slope of f."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        value = self.function(x.flatten(1) - 0.5) + MARGIN
        return torch.stack([value, torch.zeros_like(value)], 1)


def known_functions(pixels: int) -> dict[str, tuple[Callable[[Tensor], Tensor], float]]:
    """Functions of v, 0 at v = 0, and their largest l2 slope for v no longer than RADIUS."""
    weight = torch.randn(pixels, generator=torch.Generator().manual_seed(0)) / pixels**0.5
    return {
        "plane": (lambda v: v @ weight, float(weight.norm())),
        "paraboloid": (lambda v: -v.square().sum(1), 2 * RADIUS),
        "one curved axis": (lambda v: -2 * v[:, 0].square(), 4 * RADIUS),
    }


def report_found(classifier: Classifier, batch: Batch) -> None:
    """Print the residuals found against gradients, ours and those of one random start a radius."""
    tangents, grid = tangent(classifier, batch.x, batch.y, Loss.MARGIN), epsilon_grid(RADIUS, 5)
    found: dict[str, tuple[int, Tensor]] = {}
    for profile in ("quick", "standard", "thorough"):
        settings = replace(
            BoundsSettings.of_profile(profile), norm=Norm.L2, epsilon=RADIUS, points=5
        )
        excesses, residuals = settings.excess_search(0), settings.search(0)
        seen = largest_excesses(tangents, batch, excesses)
        passes = excesses.n_gradients + residuals.n_gradients
        found[profile] = (passes, largest_residuals(tangents, batch, residuals, seen).found)
    for steps in (8, 50, 200):
        search = Search(Norm.L2, Sided.UPPER, steps, halving_rule(Norm.L2, steps), box=False)
        values = [
            search.largest(tangents, batch, epsilon=epsilon, seed=0, stream="one").value
            for epsilon in grid
        ]
        found[f"one start, {steps} steps"] = (steps * len(grid), torch.stack(values, 1))
    most = torch.stack([values for _, values in found.values()]).amax(0).clamp_min(1e-12)
    print("\nresiduals found / largest found by any search, l2, 5 radii")
    for name, (passes, values) in found.items():
        ratio = values / most
        found_share = f"mean {ratio.mean():.3f} least {ratio.min():.2f}"
        print(f"  {name:22s} {passes:5} gradients   {found_share}")


def report_known(blocks: int, pixels: int = 784) -> None:
    """Print the largest slopes found relative to the true ones, with equal numbers of gradients."""
    points = blocks * BLOCK_SIZE
    batch = Batch(np.array([0]), torch.full((1, 1, 1, pixels), 0.5), torch.tensor([0]))
    how: dict[str, Any] = {"norm": Norm.L2, "radius": RADIUS, "seed": 0}
    restarts = max(1, points // (2 * ASCENT_STEPS + 1))
    print(f"\nL found / true L, {pixels} pixels, {points} gradients each")
    for name, (function, truth) in known_functions(pixels).items():
        module = Known(function)
        model = Classifier.from_module(module, image_shape=(1, 1, pixels), num_classes=2)
        tangents = tangent(model, batch.x, batch.y, Loss.MARGIN)
        (fit,) = local_lipschitz(tangents, batch, blocks=blocks, **how)
        search = GradientNormSearch(Norm.L2, RADIUS, ASCENT_STEPS, restarts, seed=0)
        top = largest_gradient_norm(tangents, batch, search)
        line = f"  {name:15s} ascent {float(top) / truth:.3f}   CLEVER {fit.point / truth:.3f}"
        if (clever_t := toolbox()) is not None:
            np.random.seed(0)  # noqa: NPY002 - the toolbox draws from numpy's global stream
            score = clever_t(
                estimator(module, model),
                batch.x[0].numpy(),
                1,
                blocks,
                points // POOL_FACTOR,
                RADIUS,
                2,
            )
            line += f"   toolbox {MARGIN / score / truth:.3f}"
        print(line)


def toolbox() -> Callable[..., float] | None:
    """The toolbox's targeted CLEVER, None if it is not installed."""
    if importlib.util.find_spec("art") is None:
        return None
    from art.metrics import clever_t

    return clever_t


def estimator(module: nn.Module, classifier: Classifier) -> object:
    """The toolbox's wrapper of ``module``."""
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        model=module,
        loss=nn.CrossEntropyLoss(),
        input_shape=classifier.image_shape,
        nb_classes=classifier.num_classes,
        device_type="cpu",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", type=Path, default=FIXTURES / "fashion-honest.onnx")
    parser.add_argument("--data", default="fashion-mnist-2000")
    parser.add_argument("--batches", type=int, nargs="+", default=[64])
    parser.add_argument("--blocks", type=int, default=50, help="blocks of 64 points per image")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="threads of torch and of the runtime")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    images = load_images(options.data)
    pair = load_pair(options.model, images, options.threads or 0)
    labels = images.labels
    assert labels is not None
    batches = [
        Batch(index, images.pixels(index), torch.from_numpy(labels[index]))
        for index in (np.arange(size) for size in options.batches)
    ]
    if toolbox() is None:
        print("without the toolbox: pip install adversarial-robustness-toolbox")
    points = options.blocks * BLOCK_SIZE
    shipped = sampled(theirs(pair, batches[-1], points), options.rounds)
    keep_freed_memory()
    report_ratios(pair.classifier, batches, options.rounds)
    both = ours(pair.classifier, batches[-1], points) | theirs(pair, batches[-1], points)
    report_rates(shipped, sampled(both, options.rounds), points)
    report_found(pair.classifier, batches[-1])
    report_known(options.blocks)


if __name__ == "__main__":
    main()
