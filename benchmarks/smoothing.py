"""Certified smoothing: robcert against Cohen's fixed n and against his loop in plain PyTorch.

One run, real images, the bundled Gaussian-trained model:

    python benchmarks/smoothing.py --images 100

prints (1) draws per second of the engine, of the runtime alone and of the plain loop at their best
batch sizes and at batch 400, alternating; (2) the same for a ResNet-18; (3) for each sigma, draws
per image and the certified-accuracy curve of Cohen's fixed n and of the sequential tests, by
`robcert smoothing certify`, and the variation of Cohen's curve between re-runs; (4) certified
images per hour. Ratios are medians over rounds of ratios within a round; on a busy machine, use
those by processor time. The plain loop is too slow to certify all images: its images per hour are
its rate divided by the draws that it needs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from cohen_loop import IMAGES
from smoothing_rates import PUBLISHED_BATCH, Bench, Rates, measure

from robcert.certify import smoothing
from robcert.certify.data import load_images
from robcert.certify.importer import load_classifier
from robcert.certify.numerics import keep_freed_memory
from robcert.certify.session import Session
from robcert.certify.smoothing import Mode, SmoothingSettings, attainable_radii, standard_radius
from robcert.certify.stats import clopper_pearson_lower
from robcert.certify.store import ResultStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.data import ImageSet

FIXTURES = Path(__file__).parent.parent / "fixtures"
RERUNS = 1000


@dataclass(frozen=True)
class Run:
    """One run of `robcert smoothing certify`.

    Attributes:
        shares: certified accuracy by radius of the grid.
        draws: mean draws per image.
        seconds: time of the whole run, the results file included.
        rerun: 95 % quantile of the largest change of the curve in a re-run.
    """

    shares: NDArray[np.float64]
    draws: float
    seconds: float
    rerun: float


def certify(bench: Bench, settings: SmoothingSettings, folder: Path) -> Run:
    path = folder / f"{settings.sigma}-{settings.mode}-{settings.exact}.h5"
    with ResultStore.open(path, model=bench.classifier.info, data=bench.images.info) as store:
        session = Session(bench.classifier, bench.images, bench.indices, store, bench.seed)
        start = time.perf_counter()
        key = smoothing.analyse(session, settings)
        seconds = time.perf_counter() - start
        summary = smoothing.summarise(store, key)
        group = store.at(key)
        labels = store.labels[store.rows(bench.indices)]
        right = group.column("selected", bench.indices) == labels
        top = group.column("top_count", bench.indices)
    shares = np.array([entry.value for entry in summary.certified_accuracy])
    return Run(shares, summary.mean_samples, seconds, _rerun(settings, top, right))


def _rerun(settings: SmoothingSettings, top: NDArray[np.int64], right: NDArray[np.bool_]) -> float:
    """Change of Cohen's curve if his n draws are repeated with the observed shares."""
    if settings.mode is not Mode.COHEN:
        return 0.0
    n, radii = settings.n, np.array(settings.radii)
    counts = np.random.default_rng(0).binomial(n, top / n, size=(RERUNS, len(top)))
    kinds, where = np.unique(np.vstack([top, counts]), return_inverse=True)
    radius = np.array(
        [
            settings.sigma * standard_radius(clopper_pearson_lower(int(k), n, settings.alpha))
            for k in kinds
        ]
    )[where.reshape(RERUNS + 1, -1)]
    curves = (right & (radius >= radii[:, None, None]) & (radius > 0)).mean(-1)
    return float(np.quantile(np.abs(curves[:, 1:] - curves[:, :1]).max(0), 0.95))


def report_rates(name: str, found: Rates) -> None:
    print(f"\n{name}: draws per second (elapsed | processor time), engine / way (the same)")
    for way in found.rounds:
        one, ratio = found.median(way), found.ratio(way)
        print(f"  {way:35s} {one.wall:7.0f} | {one.cpu:6.0f}   {ratio.wall:.2f} | {ratio.cpu:.2f}")


def report_curves(bench: Bench, sigma: float, n: int, folder: Path) -> float:
    """Print curves and draws; mean draws of the default mode."""
    grid = SmoothingSettings(sigma=sigma, n=n)
    runs = {
        "grid": certify(bench, grid, folder),
        "grid exact": certify(bench, SmoothingSettings(sigma=sigma, n=n, exact=True), folder),
        "cohen": certify(bench, SmoothingSettings(sigma=sigma, n=n, mode=Mode.COHEN), folder),
    }
    reachable = [grid.radii.index(r) for r in attainable_radii(grid)]
    print(f"\nsigma {sigma:g}, radii " + " ".join(f"{grid.radii[i]:g}" for i in reachable))
    for name, run in runs.items():
        shares = " ".join(f"{run.shares[i]:.3f}" for i in reachable)
        apart = np.abs(run.shares - runs["cohen"].shares)[reachable].max(initial=0.0)
        fewer = runs["cohen"].draws / run.draws
        print(
            f"  {name:11s} {shares}  draws per image {run.draws:.0f} (x{fewer:.1f} fewer), "
            f"{3600 * len(bench.indices) / run.seconds:.0f} images per hour, curve {apart:.3f} off"
        )
    print(f"  95 % of {RERUNS} simulated re-runs of cohen: at most {runs['cohen'].rerun:.3f} apart")
    return runs["grid"].draws


def report_hours(found: Rates, draws: float, fixed: int) -> None:
    """Print images per hour: draws per second divided by draws per image."""
    engine = found.median("engine")
    print(f"\nimages per hour: robcert {3600 * engine.wall / draws:.0f}")
    for name in dict.fromkeys([f"plain loop {PUBLISHED_BATCH}", found.loop]):
        ratio = found.ratio(name)
        wall, cpu = ratio.wall * fixed / draws, ratio.cpu * fixed / draws
        hour = 3600 * found.median(name).wall / fixed
        print(f"  {name}: {hour:.1f} (from its rate); robcert x{wall:.1f} | x{cpu:.1f}")


def resnet(folder: Path, images: ImageSet) -> Path:
    """A ResNet-18 of torchvision with random weights, to measure its speed."""
    from torchvision.models import resnet18

    net = resnet18(num_classes=10)
    net.conv1 = torch.nn.Conv2d(images.shape[0], 64, 3, padding=1, bias=False)
    net.eval()
    path = folder / "resnet18.onnx"
    example = torch.zeros(2, *images.shape)
    batch = torch.export.Dim("batch")
    shapes = ({0: batch},)
    torch.onnx.export(net, (example,), path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--sigma", type=float, nargs="+", default=[0.25])
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--skip-curves", action="store_true", help="rates only")
    parser.add_argument("--skip-resnet", action="store_true", help="the 4-layer CNN only")
    options = parser.parse_args()
    keep_freed_memory()  # as every robcert command does
    images = load_images(IMAGES)
    step = max(1, len(images) // options.images)
    indices = np.arange(0, len(images), step)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = FIXTURES / "fashion-gaussian.onnx"
        bench = Bench(path, load_classifier(path, images=images), images, indices)
        how = {"rounds": options.rounds, "seconds": options.seconds}
        found = measure(bench, options.sigma[0], **how)
        report_rates("4-layer CNN", found)
        if not options.skip_resnet:
            path = resnet(folder, images)
            deep = Bench(path, load_classifier(path, images=images), images, indices)
            report_rates("ResNet-18", measure(deep, options.sigma[0], **how))
        if options.skip_curves:
            return
        fixed = SmoothingSettings().n0 + options.n
        for sigma in options.sigma:
            draws = report_curves(bench, sigma, options.n, folder)
            report_hours(found, draws, fixed)


if __name__ == "__main__":
    main()
