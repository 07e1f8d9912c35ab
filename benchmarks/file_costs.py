"""What the results file costs by number of images: writing, size, reading, the page, merging.

    python benchmarks/file_costs.py [--images 500 5000 50000]

A linear model on random images of 8 x 8 pixels takes an attack of one step and local linearity of
one step: hardly any work but the file's. Printed is the processor time of
this process, which other programs change less than elapsed time. *run* is that of the analyses,
*write* the part of it in the results file; the other times are of the whole file. A cost per image
that grows with the number of images would show a step that is not linear.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from robcert.certify import api
from robcert.certify.attacks import AttackSettings
from robcert.certify.auditing import results
from robcert.certify.local_linearity import LinearitySettings
from robcert.certify.report import write_report
from robcert.certify.store import AnalysisGroup, ResultStore, ledger, merge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robcert.certify.data import ImageSet
    from robcert.certify.model import Classifier

SIDE, CLASSES = 8, 10

HEADER = "images  batch  run, write          file        summaries  ledger  page     merge   memory"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[500, 5000, 50_000])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(HEADER)
    for n in options.images:
        for batch in (64, 1) if n == min(options.images) else (64,):
            with tempfile.TemporaryDirectory() as folder:
                print(line(n, batch, Path(folder)), flush=True)


def line(n: int, batch: int, folder: Path) -> str:
    """The costs of ``n`` images."""
    random = np.random.default_rng(0)
    pixels = random.random((n, 1, SIDE, SIDE), np.float32)
    images = api.load_images((pixels, np.arange(n) % CLASSES))
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(SIDE * SIDE, CLASSES)).eval()
    model = api.load_model(module, images)
    whole, halves = folder / "whole.h5", [folder / f"{k}.h5" for k in (1, 2)]
    writes: list[float] = []
    with timed_appends(writes):
        run = seconds(lambda: analyse(model, images, whole, batch_size=batch))
    with ResultStore.read(whole) as store:
        summaries = seconds(lambda: results(store))
        compared = seconds(lambda: ledger(store))
    page = seconds(lambda: write_report(whole, folder / "page.html"))
    for k, half in enumerate(halves):
        analyse(model, images, half, batch_size=64, indices=range(k, n, 2))
    merged = seconds(lambda: merge(halves, folder / "merged.h5"))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"{n:6}  {batch:5}  {1000 * run / n:6.2f}, {1000 * sum(writes) / n:6.2f} ms    "
        f"{whole.stat().st_size / n:5.0f} B      {summaries:6.2f} s   {compared:5.2f} s "
        f"{page:6.2f} s {merged:6.2f} s {memory:6.0f} MB"
    )


def analyse(model: Classifier, images: ImageSet, out: Path, **options: Any) -> None:
    """Two analyses of all images with hardly any work."""
    options |= {"out": out, "allow_low_accuracy": True}
    api.attack(model, images, AttackSettings(attacks=("fgsm",)), **options)
    api.linearity(model, images, LinearitySettings(steps=1, restarts=1), **options)


@contextlib.contextmanager
def timed_appends(into: list[float]) -> Iterator[None]:
    """Within the context, keep the processor time of every write of rows."""
    append = AnalysisGroup.append

    def timed(group: AnalysisGroup, *given: Any) -> None:
        into.append(seconds(lambda: append(group, *given)))

    AnalysisGroup.append = timed  # type: ignore[method-assign]
    try:
        yield
    finally:
        AnalysisGroup.append = append  # type: ignore[method-assign]


def seconds(work: Callable[[], object]) -> float:
    """Processor time of ``work``."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
