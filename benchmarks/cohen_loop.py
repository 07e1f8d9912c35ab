"""CERTIFY of Cohen et al. 2019 in plain PyTorch, as in their release, in a separate process.

    python benchmarks/cohen_loop.py MODEL.onnx SIGMA

Reads lines "BATCH SECONDS" and answers each with draws per second, by elapsed and by processor
time. The model is the ONNX file's graph as torch operations, with torch's default thread and memory
settings; robcert's engine does not run in this process.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from robcert.certify.data import load_images
from robcert.certify.importer import load_classifier
from robcert.certify.smoothing import standard_radius
from robcert.certify.stats import clopper_pearson_lower

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

IMAGES = "fashion-mnist-2000"


class CohenLoop:
    """One image, one batch at a time."""

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
class Rate:
    """Draws per second of elapsed time and of the process's processor time."""

    wall: float
    cpu: float


def rate(run: Callable[[], int], seconds: float) -> Rate:
    """Rate of ``run``, which returns its number of draws, over at least ``seconds``."""
    done, start, cpu = 0, time.perf_counter(), time.process_time()
    while (spent := time.perf_counter() - start) < seconds:
        done += run()
    return Rate(done / spent, done / (time.process_time() - cpu))


class LoopProcess:
    """The loop in its own process, which sleeps between requests."""

    def __init__(self, model: Path, sigma: float) -> None:
        command = [sys.executable, __file__, str(model), str(sigma)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def rate(self, batch: int, seconds: float) -> Rate:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{batch} {seconds}\n")
        self.process.stdin.flush()
        wall, cpu = self.process.stdout.readline().split()
        return Rate(float(wall), float(cpu))

    def close(self) -> None:
        self.process.communicate()


def main() -> None:
    images = load_images(IMAGES)
    classifier = load_classifier(Path(sys.argv[1]), images=images)
    x = images.pixels(np.array([0]))[0]
    assert classifier.twin is not None
    loop = CohenLoop(classifier.twin.logits, classifier.num_classes, float(sys.argv[2]))
    for line in sys.stdin:
        batch, seconds = line.split()

        def run(batch: int = int(batch)) -> int:
            loop.sample_noise(x, batch, batch)
            return batch

        found = rate(run, float(seconds))
        print(found.wall, found.cpu, flush=True)


if __name__ == "__main__":
    main()
