"""Cost and benefit of early stopping of PGD.

    python benchmarks/early_stopping.py --model m.onnx --data images.npz --norm linf --eps 0.01 0.02

PGD on the margin, on the cross-entropy and towards each other class at each radius, with 20 steps
of ``robcert attack``: once with all of them, once with early stopping. Prints the number of
misclassified images, of those that early stopping misses, the gradients of both runs and the ratio
of their times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from robcert.certify.attacks import Found, PgdConfig, multi_targeted, pgd
from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.data import load_images
from robcert.certify.importer import load_classifier
from robcert.certify.numerics import Loss

PendingAttack = Callable[[bool], Found]


def timed(attack: PendingAttack, *, early_stopping: bool) -> tuple[Found, float]:
    start = time.perf_counter()
    return attack(early_stopping), time.perf_counter() - start


def compare(name: str, attack: PendingAttack) -> None:
    full, whole = timed(attack, early_stopping=False)
    stopped, part = timed(attack, early_stopping=True)
    lost = int((full.found & ~stopped.found).sum())
    gradients = [int(found.n_backward.sum()) for found in (full, stopped)]
    print(
        f"  {name:14s} misclassified {int(full.found.sum())}, missed {lost}, "
        f"gradients {gradients[0]} -> {gradients[1]}, time x{whole / part:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--norm", type=Norm, default=Norm.LINF)
    parser.add_argument("--eps", type=float, nargs="+", required=True)
    options = parser.parse_args()
    images = load_images(options.data)
    classifier = load_classifier(options.model, images=images)
    assert images.labels is not None
    index = np.arange(min(options.images, len(images)))
    labels = torch.from_numpy(images.labels[index]).long()
    batch, norm = Batch(index, images.pixels(index), labels), options.norm
    for epsilon in options.eps:
        print(f"{options.model.name}, {norm} {epsilon:g}")

        def ascent(early_stopping: bool, loss: Loss, epsilon: float = epsilon) -> Found:
            config = PgdConfig(loss=loss, early_stopping=early_stopping)
            return pgd(classifier, batch, Ball(norm, epsilon), config)

        def towards(early_stopping: bool, epsilon: float = epsilon) -> Found:
            config = PgdConfig(early_stopping=early_stopping)
            return multi_targeted(classifier, batch, Ball(norm, epsilon), config)

        compare("margin", lambda early_stopping: ascent(early_stopping, Loss.MARGIN))
        compare("cross-entropy", lambda early_stopping: ascent(early_stopping, Loss.CE))
        compare("each class", towards)


if __name__ == "__main__":
    main()
