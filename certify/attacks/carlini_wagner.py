r"""Carlini & Wagner 2017 (arXiv:1608.04644), l2.

:math:`\min_w \|x(w) - x_0\|_2^2 + c \max(-m(x(w)), 0)` with :math:`x(w) = (\tanh w + 1)/2` and m
the logit margin, by Adam, with a bisection of c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.ascent import Direction, StepRule
from robcert.certify.core import Batch, Norm
from robcert.certify.objectives import Loss
from robcert.certify.projections import per_row

from .hunt import Found, Hunt, adversarial

if TYPE_CHECKING:
    from robcert.certify.classifier import Classifier

_INSIDE = 0.999  # at 1 - 1e-6, as often seen, black and white pixels hardly ever move
_LARGEST = 1e10


def carlini_wagner(
    classifier: Classifier,
    batch: Batch,
    *,
    steps: int = 200,
    searches: int = 9,
    step: float = 0.05,
    first: float = 0.1,
) -> Found:
    """Nearest adversarial images in l2.

    Args:
        classifier: the model.
        batch: images.
        steps: Adam steps for each c.
        searches: values of c.
        step: Adam's first step in w; a fifth of it after half, a fifth again after 3/4.
        first: first value of c.
    """
    hunt = Hunt(classifier, batch, Norm.L2)
    run_carlini_wagner(hunt, hunt.correct, steps=steps, searches=searches, step=step, first=first)
    return hunt.result()


def run_carlini_wagner(
    hunt: Hunt,
    rows: Tensor,
    *,
    steps: int,
    searches: int = 9,
    step: float = 0.05,
    first: float = 0.1,
) -> None:
    """The attack within a hunt: c times ten until it succeeds, then bisected."""
    if not len(rows):
        return
    weight = torch.full((len(rows),), first, device=rows.device)
    low, high = torch.zeros_like(weight), torch.full_like(weight, _LARGEST)
    best, best_norm = hunt.x(rows).clone(), torch.full_like(weight, torch.inf)
    for _ in range(searches):
        found, found_norm = _descend(hunt, rows, weight, steps, step)
        better = found_norm < best_norm
        best[better], best_norm[better] = found[better], found_norm[better]
        hit = found_norm.isfinite()
        low, high = torch.where(hit, low, weight), torch.where(hit, weight, high)
        weight = torch.where(high < _LARGEST, (low + high) / 2, weight * 10)
    hunt.settle(rows[best_norm.isfinite()], best[best_norm.isfinite()])


def _descend(
    hunt: Hunt, rows: Tensor, weight: Tensor, steps: int, step: float
) -> tuple[Tensor, Tensor]:
    """Nearest misclassified iterates and their distances, inf where there is none."""
    x, y = hunt.x(rows), hunt.y(rows)
    drops = ((steps // 2, 0.2), (3 * steps // 4, 0.2))
    rule = StepRule(Direction.ADAM, step, drops=drops, smoothing=1e-8)
    # in float32 it rounds by an entry's place in the batch; of float64 that is cut off
    w = ((2 * x - 1) * _INSIDE).double().atanh().to(x)
    moments = rule.moments(w)
    best, best_norm = x.clone(), torch.full((len(rows),), torch.inf, device=x.device)
    for t in range(1, steps + 1):
        point = (w.tanh() + 1) / 2
        logits, gradient = hunt.gradient(
            rows, point, lambda logits, at: Loss.MARGIN.of(logits, hunt.y(at)).clamp_max(0)
        )
        size = Norm.L2.of(point - x)
        better = adversarial(logits, y) & (size < best_norm)
        best[better], best_norm[better] = point[better], size[better]
        # ascent of minus the objective, by the chain rule through tanh
        uphill = (per_row(weight, x) * gradient - 2 * (point - x)) * (1 - w.tanh().square()) / 2
        at = torch.full_like(weight, t)
        unit, moments = rule.unit(uphill, at, moments)
        w = w + unit * per_row(rule.sizes(at, weight), unit)
    return best, best_norm
