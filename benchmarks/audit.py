"""Share of an audit's time that is not spent in the model.

    python benchmarks/audit.py [--model m.onnx] [--images 100] [--profile quick]

Audits the bundled honest model (a 4-layer CNN) and times, inside the same run, every call of the
runtime, of the twin and of autograd's backward pass. The remaining time is robcert's own: random
numbers, projections, statistics, the results file. The smallest possible share is 0.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import robcert.fixtures
from robcert.certify import attacks, local_linearity, masking, radius_bounds, smoothing
from robcert.certify.auditing import AuditSettings
from robcert.certify.core import Norm
from robcert.certify.data import load_images
from robcert.certify.importer import load_classifier
from robcert.certify.numerics import keep_freed_memory
from robcert.certify.session import Session
from robcert.certify.store import ResultStore

if TYPE_CHECKING:
    from collections.abc import Callable

ANALYSE: dict[str, Callable[[Session, AuditSettings], str]] = {
    "linearity": lambda session, of: local_linearity.analyse(session, of.linearity),
    "bounds": lambda session, of: radius_bounds.analyse(session, of.bounds),
    "attack": lambda session, of: attacks.analyse(session, of.attack),
    "smoothing": lambda session, of: smoothing.analyse(session, of.smoothing),
    "masking": lambda session, of: masking.analyse(session, of.masking),
}


class Stopwatch:
    """Time spent in the outermost of the functions it wraps."""

    def __init__(self) -> None:
        self.seconds, self._depth = 0.0, 0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self._depth += 1
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self.seconds += time.perf_counter() - start

        return wrapped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    bundled = Path(robcert.fixtures.__path__[0]) / "fashion-honest.onnx"
    parser.add_argument("--model", type=Path, default=bundled)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--profile", default="quick")
    options = parser.parse_args()
    keep_freed_memory()
    images = load_images("fashion-mnist-2000")
    classifier = load_classifier(options.model, images=images)
    watch = Stopwatch()
    runtime, twin = classifier.runtime, classifier.twin
    # one batch at a time: no overlapping times
    runtime = replace(runtime, logits=watch.timed(runtime.logits), reopened=None, cores=1)
    if twin is not None:
        twin = replace(twin, logits=watch.timed(twin.logits))
    classifier = replace(classifier, runtime=runtime, twin=twin)
    torch.autograd.grad = watch.timed(torch.autograd.grad)
    print(f"{'analysis':<10} {'seconds':>8} {'in the model':>13} {'outside':>8}")
    total = inside = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.h5"
        with ResultStore.open(path, model=classifier.info, data=images.info) as store:
            session = Session(classifier, images, np.arange(options.images), store)
            settings = AuditSettings.of_profile(
                options.profile, norm=Norm.LINF, epsilon=Norm.LINF.usual_radius
            )
            for name, analyse in ANALYSE.items():
                watch.seconds, start = 0.0, time.perf_counter()
                analyse(session, settings)
                seconds = time.perf_counter() - start
                row(name, seconds, watch.seconds)
                total, inside = total + seconds, inside + watch.seconds
    row("all", total, inside)


def row(name: str, seconds: float, inside: float) -> None:
    print(f"{name:<10} {seconds:8.1f} {inside:13.1f} {1 - inside / seconds:8.0%}")


if __name__ == "__main__":
    main()
