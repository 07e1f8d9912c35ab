"""Local linearity found against gradients spent, the default search beside the published one.

    python benchmarks/linearity.py --model m.onnx --data images.npz --plot gamma.png

The reference of each image is the largest deviation that 20 random starts of 300 sign steps find in
linf (steepest steps in l2 and l1), with step sizes that shrink to a hundredth of the radius. For
each search the table gives the largest number of gradients per image, the mean and the smallest
ratio to the reference, and the share of images with a ratio of at least 0.9. Images whose reference
is rounding are left out. A search may find more than the reference.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from robcert.certify.core import Batch, Norm
from robcert.certify.data import load_images
from robcert.certify.importer import LoadOptions, load_classifier
from robcert.certify.local_linearity import (
    LinearitySettings,
    Search,
    Sided,
    shrinking_rule,
    tangent,
)
from robcert.certify.model import PreprocessOptions
from robcert.certify.numerics import Loss
from robcert.certify.tables import save_picture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robcert.certify.local_linearity import Tangent

REFERENCE_STARTS, REFERENCE_STEPS = 20, 300
ALMOST = 0.9


def searches(norm: Norm, epsilon: float) -> Iterator[tuple[str, str, LinearitySettings]]:
    """Series, name and settings of the searches that are compared."""
    paper = replace(LinearitySettings.paper(), norm=norm, epsilon=epsilon)
    for restarts in (1, 2, 5, 10, 20):
        yield "paper", f"paper, {restarts} starts", replace(paper, restarts=restarts)
    quick, standard, thorough = (
        replace(LinearitySettings.of_profile(profile), norm=norm, epsilon=epsilon)
        for profile in ("quick", "standard", "thorough")
    )
    yield "multistart", "quick", quick
    yield "multistart", "standard", standard
    yield "multistart", "thorough", thorough


def reference(tangents: Tangent, batch: Batch, norm: Norm, epsilon: float) -> NDArray[np.float64]:
    """Largest deviations of the long search ``(n,)``, NaN where they are rounding."""
    rule = shrinking_rule(norm, REFERENCE_STEPS, 2.0, 0.01)
    search = Search(norm, Sided.TWO, REFERENCE_STEPS, rule, REFERENCE_STARTS)
    found = search.largest(tangents, batch, epsilon=epsilon, seed=1, stream="reference")
    value = torch.where(found.value > tangents.floor(found.delta), found.value, torch.nan)
    return value.double().numpy()


def draw(series: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """A picture of the mean ratio against gradients per image."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for name, points in series.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set_xscale("log")
    axes.set_xlabel("gradients per image, at most")
    axes.set_ylabel("γ found / reference, mean (estimated)")
    axes.grid(alpha=0.3)
    axes.legend()
    save_picture(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--preprocess", type=Path)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--norm", type=Norm, default=Norm.LINF)
    parser.add_argument("--eps", type=float, default=8 / 255)
    parser.add_argument("--only", nargs="*", help="names of the searches, all by default")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    images = load_images(options.data)
    assert images.labels is not None
    given = options.preprocess
    preprocess = PreprocessOptions() if given is None else PreprocessOptions.from_file(given)
    classifier = load_classifier(
        options.model, LoadOptions(preprocess=preprocess, device="cpu"), images=images
    )
    index = np.arange(min(options.images, len(images)))
    labels = torch.from_numpy(images.labels[index]).long()
    batch = Batch(index, images.pixels(index), labels)
    tangents = tangent(classifier, batch.x, batch.y, Loss.CE)
    most = reference(tangents, batch, options.norm, options.eps)
    print(f"{options.model.name}, {options.norm} {options.eps:g}, {np.isfinite(most).sum()} images")
    print(f"{'search':>18} {'gradients':>9} {'mean':>6} {'least':>6} {'≥ 0.9':>6}")
    series: dict[str, list[tuple[int, float]]] = {}
    for kind, name, settings in searches(options.norm, options.eps):
        if options.only and name not in options.only:
            continue
        found = settings.search.largest(
            tangents, batch, epsilon=options.eps, seed=0, stream="linearity"
        )
        ratio = (found.value.double().numpy() / most)[np.isfinite(most)]
        mean, share = float(ratio.mean()), float((ratio >= ALMOST).mean())
        print(
            f"{name:>18} {settings.gradient_passes:9} {mean:6.3f} {ratio.min():6.2f} {share:6.0%}",
            flush=True,
        )
        series.setdefault(kind, []).append((settings.gradient_passes, mean))
    if options.plot:
        draw(series, options.plot)


if __name__ == "__main__":
    main()
