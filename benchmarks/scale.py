"""Two worker processes against one, each of one thread, on the analyses of an audit.

    python benchmarks/scale.py [--images 48] [--rounds 1] [--profile quick] [--only smoothing …]

Both numbers of workers compute the same rows of the bundled honest model (a 4-layer CNN), in turn,
in files of their own. Printed are medians over the rounds of

- *elapsed*: the ratio of the elapsed times, which other programs on the machine change;
- *by processor time*: the same where every process has a core of its own: the processor time of
  this process and that of the busiest worker of each table. It leaves out what cores that compute
  take from each other (clock rate, memory), and counts an uneven division of the images;
- *more processor time*: that of all processes together by two workers, in units of that by one;
- *memory*: private memory of a worker at its end, megabytes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

import robcert.fixtures
from robcert.certify import (
    attacks,
    local_linearity,
    masking,
    radius_bounds,
    smoothing,
    verification,
)
from robcert.certify.auditing import AuditSettings
from robcert.certify.core import Norm
from robcert.certify.data import load_images
from robcert.certify.importer import load_classifier
from robcert.certify.numerics import keep_freed_memory
from robcert.certify.session import Session
from robcert.certify.store import ResultStore
from robcert.certify.workers import WorkerPool
from robcert.certify.workers.activity import processor_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from robcert.certify.data import ImageSet
    from robcert.certify.model import Classifier

ANALYSE: dict[str, Callable[[Session, AuditSettings], str]] = {
    "smoothing": lambda session, of: smoothing.analyse(session, of.smoothing),
    "attack": lambda session, of: attacks.analyse(session, of.attack),
    "linearity": lambda session, of: local_linearity.analyse(session, of.linearity),
    "bounds": lambda session, of: radius_bounds.analyse(session, of.bounds),
    "masking": lambda session, of: masking.analyse(session, of.masking),
    "verify": lambda session, of: verification.analyse(session, of.verify),
}


@dataclass(slots=True)
class Cost:
    """What one run took, seconds and megabytes.

    Attributes:
        elapsed: elapsed time.
        here: processor time of this process.
        workers: processor time of each worker, pool by pool.
        memory: largest private memory of a worker.
    """

    elapsed: float = 0.0
    here: float = 0.0
    workers: list[list[float]] = field(default_factory=list)
    memory: float = 0.0

    @property
    def apart(self) -> float:
        """Elapsed time if every process had a core of its own."""
        return self.here + sum(map(max, self.workers))

    @property
    def together(self) -> float:
        """Processor time of all processes."""
        return self.here + sum(map(sum, self.workers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--only", nargs="*", choices=tuple(ANALYSE), default=tuple(ANALYSE))
    options = parser.parse_args()
    keep_freed_memory()
    images = load_images("fashion-mnist-2000")
    bundled = Path(robcert.fixtures.__path__[0]) / "fashion-honest.onnx"
    classifier = load_classifier(bundled, images=images)
    of = AuditSettings.of_profile(options.profile, norm=Norm.LINF, epsilon=8 / 255)
    head = ("elapsed", "by processor time", "more processor time", "memory")
    print(f"{'analysis':<12}" + "".join(f"{title:>21}" for title in head), flush=True)
    for name in options.only:
        pairs = []
        for _ in range(options.rounds):
            one, two = (
                measured(ANALYSE[name], of, pair=(classifier, images), n=options.images, workers=n)
                for n in (1, 2)
            )
            pairs.append((one, two))
        print(f"{name:<12}" + "".join(f"{value:21.2f}" for value in ratios(pairs)), flush=True)


def ratios(pairs: list[tuple[Cost, Cost]]) -> tuple[float, ...]:
    """The four numbers of a line, medians over the rounds."""
    return (
        median(one.elapsed / two.elapsed for one, two in pairs),
        median(one.apart / two.apart for one, two in pairs),
        median(two.together / one.together for one, two in pairs),
        median(two.memory for _, two in pairs),
    )


def measured(
    analyse: Callable[[Session, AuditSettings], str],
    of: AuditSettings,
    *,
    pair: tuple[Classifier, ImageSet],
    n: int,
    workers: int,
) -> Cost:
    """What the analysis of the first ``n`` images by so many workers takes."""
    classifier, images = pair
    cost, leave = Cost(), WorkerPool.__exit__

    def counted(pool: WorkerPool, *error: object) -> None:
        cost.workers.append([processor_seconds(process) for process in pool.processes])
        cost.memory = max([cost.memory, *map(private_megabytes, pool.processes)])
        leave(pool, *error)

    WorkerPool.__exit__ = counted  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "r.h5"
            with ResultStore.open(path, model=classifier.info, data=images.info) as store:
                session = Session(classifier, images, np.arange(n), store, processes=workers)
                begun, before = time.perf_counter(), time.process_time()
                analyse(session, of)
                cost.elapsed = time.perf_counter() - begun
                cost.here = time.process_time() - before
    finally:
        WorkerPool.__exit__ = leave  # type: ignore[method-assign]
    return cost


def private_megabytes(process: int) -> float:
    """Memory that the process shares with no other."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024


if __name__ == "__main__":
    main()
