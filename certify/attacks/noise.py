"""Attacks that look at no gradient and no loss: random points of the ball, and Gaussian noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from robcert.certify.ascent import random_start
from robcert.certify.projections import into_box
from robcert.certify.sampling import generator

from .hunt import Found, Hunt
from .pgd import radii, standing

if TYPE_CHECKING:
    from robcert.certify.classifier import Classifier
    from robcert.certify.core import Batch, Norm

PATCHWORKS = 40
"""Random patchworks that are tried as a start."""

GAUSSIAN_STEPS = 12
"""Noise levels of the Gaussian search: 2^-6 to 2^-0.5 of the pixel range, half an octave apart."""


def noise_search(
    classifier: Classifier,
    batch: Batch,
    *,
    norm: Norm,
    epsilon: float | Tensor,
    draws: int = 100,
    seed: int = 0,
) -> Found:
    """The first of ``draws`` uniform points of the ball that the runtime misclassifies.

    ``epsilon`` is in pixel units, one number or one an image ``(b,)``.
    """
    hunt = Hunt(classifier, batch, norm, seed)
    run_noise(hunt, hunt.correct, radii(hunt, epsilon), draws=draws)
    return hunt.result()


def run_noise(hunt: Hunt, rows: Tensor, epsilon: Tensor, *, draws: int, block: int = 0) -> None:
    """Noise search within a hunt; ``epsilon (b,)`` speaks of all rows of the batch."""
    for draw in range(draws):
        rows = standing(hunt, rows, epsilon)
        if not len(rows):
            return
        x = hunt.x(rows)
        delta = random_start(
            hunt.batch.index[rows.cpu().numpy()],
            x,
            norm=hunt.norm,
            epsilon=epsilon[rows],
            seed=hunt.seed,
            stream=f"attack/noise/{draw}",
            block=block,
        )
        point = x + into_box(delta, x)
        hunt.claim(rows, point, hunt.logits(rows, point))


def run_gaussian(hunt: Hunt, rows: Tensor, *, draws: int = 5) -> None:
    """Gaussian noise of growing size until it is misclassified, then shrunk; clipped to the box."""
    found = torch.zeros(len(hunt.batch), dtype=torch.bool, device=rows.device)
    for level in range(GAUSSIAN_STEPS):
        sigma = 2.0 ** (-6 + level / 2)
        for draw in range(draws):
            todo = rows[~found[rows]]
            if not len(todo):
                return
            point = (hunt.x(todo) + sigma * _normal(hunt, todo, level * draws + draw)).clamp(0, 1)
            hit = hunt.claim(todo, point, hunt.logits(todo, point))
            hunt.settle(todo[hit], point[hit])
            found[todo[hit]] = True


def run_start(hunt: Hunt, rows: Tensor) -> None:
    """Some adversarial image, however far: Gaussian noise, else a patchwork of random greys.

    Fine noise is one class to many models, and tells nothing of images of that class.
    """
    run_gaussian(hunt, rows)
    for draw in range(PATCHWORKS):
        todo = rows[hunt.distance[rows].isinf()]
        if not len(todo):
            return
        shape = (hunt.batch.x.shape[1], 2 + draw % 4, 2 + draw % 4)
        coarse = torch.stack(
            [
                torch.rand(shape, generator=generator(hunt.seed, "attack/patchwork", int(i), draw))
                for i in hunt.batch.index[todo.cpu().numpy()]
            ]
        ).to(hunt.batch.x)
        size = list(hunt.batch.x.shape[2:])
        point = functional.interpolate(coarse, size=size, mode="nearest")
        hunt.claim(todo, point, hunt.logits(todo, point))


def _normal(hunt: Hunt, rows: Tensor, block: int) -> Tensor:
    shape = tuple(hunt.batch.x.shape[1:])
    draws = [
        torch.randn(shape, generator=generator(hunt.seed, "attack/gaussian", int(index), block))
        for index in hunt.batch.index[rows.cpu().numpy()]
    ]
    return torch.stack(draws).to(hunt.batch.x)
