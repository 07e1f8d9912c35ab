"""PGD at the radius that misclassifies half of the images: robcert, torchattacks and foolbox.

    robcert train standard --epochs 2 --out runs/standard
    python benchmarks/attacks.py --model runs/standard

Network, images, radius, number of steps, loss and number of random restarts are the same, and all
run in one process. The other libraries take steps of an eighth of the radius at 20 steps. robcert
runs once with these and once with the steps of ``robcert attack``: first longer ones, so that
images that are easily misclassified need no further steps, then shorter ones. Images are used in
the order of the data set. robcert reads the ONNX file and drops an image once the runtime confirms
that it is misclassified; the other libraries get the torch module and run all steps and restarts on
every image. They run first as shipped; then all alternate with glibc set to keep freed memory, as
robcert does. If an ONNX file is given instead of a run folder, the other libraries get robcert's
twin of it. The script prints images per second by elapsed and by processor time, as medians over
rounds, their ratios, and the number of images that each misclassifies. A library that is not
installed is skipped:

    pip install foolbox torchattacks
"""

from __future__ import annotations

import argparse
import importlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from native import Pair, load_pair
from torch import Tensor

from robcert.certify.attacks import PgdConfig, pgd
from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.data import load_images
from robcert.certify.numerics import Direction, Loss, StepRule, keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from robcert.certify.data import ImageSet

FIXTURES = Path(__file__).parent.parent / "fixtures"
TARGETS = {"torchattacks": 3.0, "foolbox": 4.0}


@dataclass(frozen=True)
class Task:
    """One attack that all libraries run."""

    pair: Pair
    batch: Batch
    epsilon: float
    steps: int
    restarts: int
    seed: int

    @property
    def step(self) -> float:
        return 2.5 * self.epsilon / self.steps

    def broken(self, adversarial: Tensor) -> Tensor:
        """Whether the runtime misclassifies the images, and they lie in the ball."""
        near = (adversarial - self.batch.x).abs().flatten(1).amax(1) <= self.epsilon + 1e-6
        return (self.pair.classifier.logits(adversarial).argmax(1) != self.batch.y) & near


def own_steps(task: Task) -> Tensor:
    return robcert(task, None)


def equal_steps(task: Task) -> Tensor:
    return robcert(task, StepRule(Direction.SIGN, task.step))


def robcert(task: Task, rule: StepRule | None) -> Tensor:
    found = pgd(
        task.pair.classifier,
        task.batch,
        Ball(Norm.LINF, task.epsilon),
        PgdConfig(task.steps, rule, Loss.CE, task.restarts, early_stopping=rule is None),
        seed=task.seed,
    )
    return found.found


def torchattacks(task: Task) -> Tensor:
    library = importlib.import_module("torchattacks")
    attack = library.PGD(task.pair.module, eps=task.epsilon, alpha=task.step, steps=task.steps)
    broken = torch.zeros(len(task.batch), dtype=torch.bool)
    for _ in range(task.restarts):
        broken |= task.broken(attack(task.batch.x, task.batch.y))
    return broken


def foolbox(task: Task) -> Tensor:
    library = importlib.import_module("foolbox")
    model = library.PyTorchModel(task.pair.module, bounds=(0, 1), device="cpu")
    attack = library.attacks.LinfPGD(abs_stepsize=task.step, steps=task.steps, random_start=True)
    criterion = library.criteria.Misclassification(task.batch.y)
    broken = torch.zeros(len(task.batch), dtype=torch.bool)
    for _ in range(task.restarts):
        _, adversarial, _ = attack(model, task.batch.x, criterion, epsilons=task.epsilon)
        broken |= task.broken(adversarial)
    return broken


OURS: dict[str, Callable[[Task], Tensor]] = {
    "robcert, its own steps": own_steps,
    "robcert, equal steps": equal_steps,
}
PEERS: dict[str, Callable[[Task], Tensor]] = {"torchattacks": torchattacks, "foolbox": foolbox}


@dataclass(frozen=True)
class Rate:
    """Images per second of elapsed time and of this process's processor time."""

    wall: float
    cpu: float
    broken: int


def timed(run: Callable[[Task], Tensor], task: Task) -> Rate:
    start, cpu = time.perf_counter(), time.process_time()
    broken = int(run(task).sum())
    images = len(task.batch)
    return Rate(
        images / (time.perf_counter() - start), images / (time.process_time() - cpu), broken
    )


def first(images: ImageSet, count: int) -> Batch:
    """The first images, including misclassified ones."""
    assert images.labels is not None
    indices = np.arange(min(len(images), count))
    return Batch(indices, images.pixels(indices), torch.from_numpy(images.labels[indices]).long())


def half(task: Task) -> float:
    """Radius at which half of the images are misclassified, by bisection."""
    low, high = 0.0, 0.5
    for _ in range(8):
        middle = (low + high) / 2
        share = float(equal_steps(replace(task, epsilon=middle)).double().mean())
        low, high = (low, middle) if share > 0.5 else (middle, high)
    return high


def installed() -> dict[str, Callable[[Task], Tensor]]:
    found = {}
    for name, run in PEERS.items():
        try:
            importlib.import_module(name)
        except ImportError:
            print(f"{name} is not installed (pip install {name})")
            continue
        found[name] = run
    return found


def measure(ways: dict[str, Callable[[Task], Tensor]], task: Task, rounds: int) -> dict[str, Rate]:
    """Median rates of each function; they alternate, and the first round is a warm-up."""
    found: dict[str, list[Rate]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, run in ways.items():
            found[name].append(timed(run, task))
    return {
        name: Rate(
            float(np.median([rate.wall for rate in some[1:]])),
            float(np.median([rate.cpu for rate in some[1:]])),
            some[0].broken,
        )
        for name, some in found.items()
    }


def report(title: str, ours: dict[str, Rate], libraries: dict[str, Rate], images: int) -> None:
    print(f"\n{title}: images per second (elapsed time | processor time), misclassified")
    for name, rate in {**ours, **libraries}.items():
        print(f"  {name:22s} {rate.wall:7.1f} | {rate.cpu:7.1f}   {rate.broken} of {images}")
    for name, mine in ours.items():
        for library, rate in libraries.items():
            ratio = f"x{mine.wall / rate.wall:.2f} | x{mine.cpu / rate.cpu:.2f}"
            print(f"  {name} / {library}: {ratio} (target x{TARGETS[library]:g})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", type=Path, default=FIXTURES / "fashion-honest.onnx")
    parser.add_argument("--data", default="fashion-mnist-2000")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--restarts", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--eps", type=float, help="default: misclassifies half of the images")
    parser.add_argument("--threads", type=int, help="threads of torch and of the runtime")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    images = load_images(options.data)
    pair = load_pair(options.model, images, options.threads or 0)
    batch = first(images, options.images)
    task = Task(pair, batch, options.eps or 0.0, options.steps, restarts=1, seed=0)
    if not options.eps:
        task = replace(task, epsilon=half(task))
    clean = int((pair.classifier.logits(batch.x).argmax(1) == batch.y).sum())
    print(f"{clean} of {len(batch)} images are classified correctly before the attack")
    libraries = installed()
    tasks = [replace(task, restarts=number) for number in options.restarts]
    shipped = [measure(libraries, one, options.rounds) for one in tasks]
    keep_freed_memory()
    for one, as_shipped in zip(tasks, shipped, strict=True):
        print(f"\nlinf PGD-{one.steps} at {one.epsilon:.4f}, restarts: {one.restarts}")
        kept = measure({**OURS, **libraries}, one, options.rounds)
        ours = {name: kept.pop(name) for name in OURS}
        report("other libraries as shipped", ours, as_shipped, len(batch))
        report("other libraries with freed memory kept", ours, kept, len(batch))


if __name__ == "__main__":
    main()
