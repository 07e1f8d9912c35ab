"""Certified smoothing: robcert against Cohen's fixed n and against his loop in plain PyTorch.

One run, real images, the bundled Gaussian-trained model:

    python benchmarks/smoothing.py --images 100

prints (1) draws an image and the certified-accuracy curve of the sequential test and of Cohen's
fixed n, both on robcert's engine; (2) draws a second of the engine, of the bare runtime at its best
batch, and of the plain loop at batch 400 and at its best batch, measured in turns; (3) certified
images an hour, which is (2) divided by (1). Rates are medians over rounds; on a machine that
others use too, read those by processor time.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from robcert.certify.analyses.smoothing_settings import (
    Mode,
    SmoothingSettings,
    attainable_radii,
    certification_rule,
)
from robcert.certify.data import load_images
from robcert.certify.intervals import clopper_pearson_lower
from robcert.certify.models import load_classifier
from robcert.certify.smoothing import standard_radius
from robcert.certify.smoothing_engine import Job, Sampler
from robcert.certify.smoothing_procedures import Outcome, certification

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from robcert.certify.classifier import Classifier
    from robcert.certify.image_set import ImageSet

FIXTURES = Path(__file__).parent.parent / "fixtures"
BATCHES = (32, 64, 128, 256, 400, 1000)
PUBLISHED_BATCH = 400


class CohenLoop:
    """CERTIFY of Cohen et al. 2019 as their release runs it: one image, one batch at a time."""

    def __init__(self, model: Callable[[Tensor], Tensor], num_classes: int, sigma: float) -> None:
        self.model = model
        self.num_classes = num_classes
        self.sigma = sigma

    def certify(
        self, x: Tensor, *, n0: int, n: int, alpha: float, batch_size: int
    ) -> tuple[int, float]:
        selected = int(self.sample_noise(x, n0, batch_size).argmax())
        top = int(self.sample_noise(x, n, batch_size)[selected])
        p_lower = clopper_pearson_lower(top, n, alpha)
        if p_lower < 0.5:
            return -1, 0.0
        return selected, self.sigma * standard_radius(p_lower)

    @torch.no_grad()
    def sample_noise(self, x: Tensor, n: int, batch_size: int) -> NDArray[np.int64]:
        counts = np.zeros(self.num_classes, dtype=np.int64)
        for _ in range(math.ceil(n / batch_size)):
            rows = min(batch_size, n)
            n -= rows
            batch = x.repeat((rows, 1, 1, 1))
            noise = torch.randn_like(batch) * self.sigma
            for predicted in self.model(batch + noise).argmax(1).numpy():
                counts[predicted] += 1
        return counts


@dataclass(frozen=True)
class Bench:
    """What is measured: a model as file, as runtime and as torch function, and images."""

    path: Path
    classifier: Classifier
    images: ImageSet
    indices: NDArray[np.int64]
    seed: int

    def pixels(self, index: int) -> Tensor:
        return self.images.pixels(np.array([index]))[0]

    def outcomes(self, settings: SmoothingSettings) -> dict[int, Outcome]:
        rule = certification_rule(settings)
        sampler = Sampler(self.classifier, sigma=settings.sigma, seed=self.seed)
        jobs = (
            Job(int(i), self.pixels(i), certification(lambda _: rule, n_select=settings.n0))
            for i in self.indices
        )
        return {
            int(i): outcome
            for finished in sampler.run(jobs)
            for i, outcome in zip(finished.indices, finished.outcomes, strict=True)
        }


def curve(bench: Bench, settings: SmoothingSettings) -> tuple[NDArray[np.float64], float]:
    """Certified accuracy on the grid, and mean draws an image."""
    found = bench.outcomes(settings)
    labels = bench.images.labels
    assert labels is not None
    radius = np.array(
        [
            settings.sigma * o.verdict.z if o.prediction == labels[i] else -1.0
            for i, o in found.items()
        ]
    )
    draws = settings.n0 + np.mean([o.verdict.n_used for o in found.values()])
    return np.array([(radius >= r).mean() for r in settings.radii]), float(draws)


@dataclass(frozen=True)
class Rate:
    """Draws a second, by the clock and by the processor time of this process."""

    wall: float
    cpu: float


def rate(run: Callable[[], int], seconds: float) -> Rate:
    """Rate of ``run``, which returns how many draws it did, over at least ``seconds``."""
    done, start, cpu = 0, time.perf_counter(), time.process_time()
    while (spent := time.perf_counter() - start) < seconds:
        done += run()
    return Rate(done / spent, done / (time.process_time() - cpu))


def rates(bench: Bench, sigma: float, rounds: int, seconds: float) -> dict[str, Rate]:
    """Median rates of each way, taken in turns."""
    x = bench.pixels(int(bench.indices[0]))
    twin = bench.classifier.twin
    assert twin is not None
    loop = CohenLoop(twin, bench.classifier.num_classes, sigma)
    found: dict[str, list[Rate]] = {}
    for _ in range(rounds):
        for name, run in ways(bench, x, loop, sigma):
            found.setdefault(name, []).append(rate(run, seconds))
    return {
        name: Rate(
            *(float(np.median([getattr(r, kind) for r in some])) for kind in ("wall", "cpu"))
        )
        for name, some in found.items()
    }


def ways(
    bench: Bench, x: Tensor, loop: CohenLoop, sigma: float
) -> Iterator[tuple[str, Callable[[], int]]]:
    """Each way with the thread setting it is used with."""
    threads = torch.get_num_threads()
    settings = SmoothingSettings(sigma=sigma, n=8000, mode=Mode.COHEN)
    rule = certification_rule(settings)

    def engine() -> int:
        sampler = Sampler(bench.classifier, sigma=sigma, seed=bench.seed)
        jobs = [Job(i, x, certification(lambda _: rule, n_select=100)) for i in range(4)]
        for _ in sampler.run(jobs):
            pass
        return sampler.drawn

    yield "engine", engine
    torch.set_num_threads(1)
    for batch in BATCHES:
        yield f"bare runtime {batch}", bare(bench, batch)
    torch.set_num_threads(threads)
    for batch in BATCHES:

        def plain(batch: int = batch) -> int:
            loop.certify(x, n0=100, n=2000, alpha=1e-3, batch_size=batch)
            return 2100

        yield f"plain loop {batch}", plain


def bare(bench: Bench, batch: int) -> Callable[[], int]:
    """The runtime alone on one prepared batch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads() if torch.get_num_threads() > 1 else 0
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        str(bench.path), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    x = np.random.default_rng(0).random((batch, *bench.classifier.image_shape), dtype=np.float32)

    def run() -> int:
        for _ in range(4):
            session.run(None, {name: x})
        return 4 * batch

    run()
    return run


def best(found: dict[str, Rate], way: str) -> str:
    return max((name for name in found if name.startswith(way)), key=lambda name: found[name].wall)


def report_rates(found: dict[str, Rate], draws: float, fixed: int) -> None:
    """Print rates, their ratios, and images an hour."""
    loop, runtime = best(found, "plain loop"), best(found, "bare runtime")
    engine, published = found["engine"], f"plain loop {PUBLISHED_BATCH}"
    print("\ndraws a second (by the clock | by processor time)")
    for name, one in found.items():
        ratio = f"engine x{engine.wall / one.wall:.2f} | x{engine.cpu / one.cpu:.2f}"
        print(f"  {name:18s} {one.wall:6.0f} | {one.cpu:6.0f}   {ratio}")
    print(f"best: {runtime}, {loop}")
    print(f"\nimages an hour: robcert {3600 * engine.wall / draws:.0f}")
    for name in (published, loop):
        one = found[name]
        wall, cpu = (
            e / draws / (o / fixed) for e, o in zip(astuple(engine), astuple(one), strict=True)
        )
        print(f"  {name}: {3600 * one.wall / fixed:.1f}; robcert x{wall:.1f} | x{cpu:.1f}")


def report_curves(bench: Bench, sigma: float, n: int) -> float:
    """Print curves and draws; mean draws of the default mode."""
    grid = SmoothingSettings(sigma=sigma, n=n)
    runs = {
        "cohen": SmoothingSettings(sigma=sigma, n=n, mode=Mode.COHEN),
        "grid": grid,
        "grid exact": SmoothingSettings(sigma=sigma, n=n, exact=True),
    }
    reachable = [grid.radii.index(r) for r in attainable_radii(grid)]
    draws: dict[str, float] = {}
    print(f"\nsigma {sigma:g}, radii " + " ".join(f"{grid.radii[i]:g}" for i in reachable))
    for name, settings in runs.items():
        values, draws[name] = curve(bench, settings)
        shares = " ".join(f"{values[i]:.3f}" for i in reachable)
        ratio = draws["cohen"] / draws[name]
        print(f"  {name:11s} {shares}  draws an image {draws[name]:.0f} (x{ratio:.1f} fewer)")
    again = Bench(bench.path, bench.classifier, bench.images, bench.indices, bench.seed + 1)
    values, _ = curve(again, runs["cohen"])
    print("  cohen again " + " ".join(f"{values[i]:.3f}" for i in reachable))
    return draws["grid"]


def resnet(folder: Path, images: ImageSet) -> Path:
    """A ResNet-18 of torchvision with random weights, for its speed."""
    from torchvision.models import resnet18

    net = resnet18(num_classes=10)
    net.conv1 = torch.nn.Conv2d(images.shape[0], 64, 3, padding=1, bias=False)
    net.eval()
    path = folder / "resnet18.onnx"
    example = torch.zeros(2, *images.shape)
    batch = torch.export.Dim("batch")
    torch.onnx.export(net, (example,), path, dynamo=True, dynamic_shapes=({0: batch},))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--sigma", type=float, nargs="+", default=[0.25])
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--skip-curves", action="store_true", help="rates only")
    parser.add_argument("--resnet", action="store_true", help="rates of a ResNet-18 instead")
    options = parser.parse_args()
    images = load_images("fashion-mnist-2000")
    step = max(1, len(images) // options.images)
    with tempfile.TemporaryDirectory() as folder:
        path = FIXTURES / "fashion-gaussian.onnx"
        if options.resnet:
            path = resnet(Path(folder), images)
        classifier = load_classifier(path, images=images)
        bench = Bench(path, classifier, images, np.arange(0, len(images), step), seed=0)
        found = rates(bench, options.sigma[0], options.rounds, options.seconds)
        fixed = SmoothingSettings().n0 + options.n
        draws = float(fixed)
        if not (options.skip_curves or options.resnet):
            for sigma in reversed(options.sigma):
                draws = report_curves(bench, sigma, options.n)
        report_rates(found, draws, fixed)


if __name__ == "__main__":
    main()
