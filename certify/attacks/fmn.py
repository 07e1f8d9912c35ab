"""Fast minimum-norm attack (Pintor, Roli, Brendel, Biggio 2021, arXiv:2102.12827, Algorithm 1)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.ascent import normalised
from robcert.certify.core import Batch, Norm
from robcert.certify.objectives import Loss
from robcert.certify.projections import feasible, project

from .hunt import Found, Hunt, adversarial

if TYPE_CHECKING:
    from robcert.certify.classifier import Classifier

FIRST_STEP = {Norm.LINF: 10.0, Norm.L2: 1.0, Norm.L1: 3.0}
"""Length of the first step in the l2 norm."""


def fmn(
    classifier: Classifier, batch: Batch, *, norm: Norm, steps: int = 100, step: float | None = None
) -> Found:
    """Nearest adversarial images by ascent of the margin in a ball that shrinks and grows.

    Args:
        classifier: the model.
        batch: images.
        norm: what is made small.
        steps: gradients an image.
        step: see :data:`FIRST_STEP`.
    """
    hunt = Hunt(classifier, batch, norm)
    run_fmn(hunt, hunt.correct, steps=steps, step=step)
    return hunt.result()


def run_fmn(hunt: Hunt, rows: Tensor, *, steps: int, step: float | None = None) -> None:
    r"""FMN within a hunt.

    The radius starts where the tangent plane puts the boundary, :math:`\|\delta\| + |m| /
    \|\nabla m\|_*` for the margin m; it shrinks by the factor :math:`1 - \gamma` at an adversarial
    iterate and grows by :math:`1 + \gamma` elsewhere. Step and :math:`\gamma` fall by a cosine.
    """
    if not len(rows):
        return
    x, y, norm = hunt.x(rows), hunt.y(rows), hunt.norm
    delta = torch.zeros_like(x)
    best, best_norm = x.clone(), torch.full((len(rows),), torch.inf, device=x.device)
    radius, first = best_norm.clone(), step or FIRST_STEP[norm]
    for t in range(steps):
        decay = (1 + math.cos(math.pi * t / steps)) / 2
        length = first * (0.01 + 0.99 * decay)
        gamma = 0.001 + 0.049 * decay
        logits, gradient = hunt.gradient(
            rows, x + delta, lambda logits, at: Loss.MARGIN.of(logits, hunt.y(at))
        )
        hit, size = adversarial(logits, y), norm.of(delta)
        better = hit & (size < best_norm)
        best_norm = torch.where(better, size, best_norm)
        best[better] = (x + delta)[better]
        slope = norm.dual.of(gradient).clamp_min(torch.finfo(size.dtype).tiny)
        ahead = size + Loss.MARGIN.of(logits, y).abs() / slope
        outward = torch.where(best_norm.isfinite(), radius * (1 + gamma), ahead)
        inward = torch.minimum(radius * (1 - gamma), best_norm)
        radius = torch.where(hit, inward, outward)
        moved = delta + length * normalised(feasible(gradient, x + delta))
        delta = project(moved, norm, radius.clamp_max(_LARGE), x=x)
    hit = adversarial(hunt.twin_logits(rows, x + delta), y)
    better = hit & (norm.of(delta) < best_norm)
    best[better], best_norm[better] = (x + delta)[better], 0.0
    hunt.settle(rows[best_norm.isfinite()], best[best_norm.isfinite()])


_LARGE = 1e6  # more than any distance in the pixel box; an infinite radius would make NaN
