"""Decoupled direction and norm (Rony et al. 2019, arXiv:1811.09600, Algorithm 1), l2 only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.ascent import normalised
from robcert.certify.core import Batch, Norm
from robcert.certify.objectives import Loss
from robcert.certify.projections import feasible, into_box, per_row

from .hunt import Found, Hunt, adversarial

if TYPE_CHECKING:
    from robcert.certify.classifier import Classifier


def ddn(
    classifier: Classifier, batch: Batch, *, steps: int = 100, loss: Loss = Loss.MARGIN
) -> Found:
    """Nearest adversarial images in l2; the paper climbs the cross-entropy."""
    hunt = Hunt(classifier, batch, Norm.L2)
    run_ddn(hunt, hunt.correct, steps=steps, loss=loss)
    return hunt.result()


def run_ddn(
    hunt: Hunt, rows: Tensor, *, steps: int, loss: Loss = Loss.MARGIN, gamma: float = 0.05
) -> None:
    r"""DDN within a hunt: a step along the gradient, then the perturbation's length is set.

    The length shrinks by the factor :math:`1 - \gamma` at an adversarial iterate and grows by
    :math:`1 + \gamma` elsewhere; the step falls from 1 to 0.01 by a cosine.
    """
    if not len(rows):
        return
    x, y = hunt.x(rows), hunt.y(rows)
    delta, length = torch.zeros_like(x), torch.ones(len(rows), device=x.device)
    best, best_norm = x.clone(), torch.full_like(length, torch.inf)
    for t in range(steps):
        step = 0.01 + 0.99 * (1 + math.cos(math.pi * t / steps)) / 2
        logits, gradient = hunt.gradient(
            rows, x + delta, lambda logits, at: loss.of(logits, hunt.y(at))
        )
        hit, size = adversarial(logits, y), Norm.L2.of(delta)
        better = hit & (size < best_norm)
        best_norm = torch.where(better, size, best_norm)
        best[better] = (x + delta)[better]
        length = torch.where(hit, length * (1 - gamma), length * (1 + gamma))
        uphill = normalised(feasible(gradient, x + delta))
        moved = into_box(delta + step * uphill, x)
        delta = into_box(normalised(moved) * per_row(length, moved), x)
    hunt.settle(rows[best_norm.isfinite()], best[best_norm.isfinite()])
