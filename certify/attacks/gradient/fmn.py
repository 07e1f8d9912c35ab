"""Fast minimum-norm attack (Pintor, Roli, Brendel, Biggio 2021, arXiv:2102.12827, Algorithm 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Batch, Norm
from robcert.certify.numerics import classes_of, feasible, normalised, per_row, project

from ..search.boundary_tangents import nearest_class_boundary, target_margin
from ..search.state import Found, SearchState, adversarial

if TYPE_CHECKING:
    from robcert.certify.model import Classifier

FIRST_STEP = {Norm.LINF: 10.0, Norm.L2: 1.0, Norm.L1: 3.0}
"""Length of the first step in the l2 norm."""

_SHARE = 0.4
"""Share of ``steps`` in one descent: short ones that start again at the nearest image find more."""

_LEAST = 10  # steps of a descent
_REFINEMENTS = 5  # descents from the nearest image
_GAIN = 0.99  # a refinement that ends farther out than this share of the distance is the last

_COARSE = 2.0**-6  # resolution of distances between descents
_WORTH = 1.05  # farther images, as a multiple of the known distance, are not shrunk

_LARGE = 1e6  # larger than any distance in the pixel box; an infinite radius would give NaN


def fmn(
    classifier: Classifier, batch: Batch, *, norm: Norm, steps: int = 100, step: float | None = None
) -> Found:
    """Nearest adversarial images by ascent of the margin in a ball that shrinks and grows.

    Args:
        classifier: the model.
        batch: images.
        norm: norm of the distance.
        steps: gradients per image.
        step: length of the first step; None for :data:`FIRST_STEP`.
    """
    state = SearchState(classifier, batch, norm)
    run_fmn(state, state.correct, steps=steps, step=step)
    return state.result()


def run_fmn(
    state: SearchState, rows: Tensor, *, steps: int, step: float | None = None, targets: int = 9
) -> None:
    """FMN on a search state, and once more towards the nearest class boundary if FMN missed it.

    The plain attack follows the class with the largest logit. Where the boundary to another class
    (among the ``targets`` classes with the largest clean logits) is nearer by the tangents at the
    clean image, a second run goes towards that class; plain FMN would miss it even on a linear
    model. Further descents start at the nearest image found, with steps in proportion to its
    distance, as long as each comes 1 % nearer.
    """
    if not len(rows):
        return
    before, start = state.distance[rows].clone(), _Start(step or FIRST_STEP[state.norm])
    steps = min(steps, max(_LEAST, round(_SHARE * steps)))
    reached = _descend(state, rows, None, steps, start)
    if targets and state.classifier.num_classes > 2:
        nearest, _ = nearest_class_boundary(state, rows, targets)
        missed = nearest[rows] != reached
        _descend(state, rows[missed], nearest, steps, start)
    _refine(state, rows, steps)
    nearer = rows[state.distance[rows] < before]
    state.shrink_and_verify(nearer, state.x_adv[nearer])


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a descent starts: at the clean image with a first step of ``step``, in the l2 norm.

    If ``near``, at the nearest image known; a first step is then about as long as its distance.
    """

    step: float = 0.0
    near: bool = False


def _refine(state: SearchState, rows: Tensor, steps: int) -> None:
    """Descents from the nearest image of each row, as long as they gain."""
    rows = rows[state.distance[rows].isfinite()]
    for _ in range(_REFINEMENTS):
        if not len(rows):
            return
        before = state.distance[rows].clone()
        _descend(state, rows, None, steps, _Start(near=True))
        rows = rows[state.distance[rows] < _GAIN * before]


def _descend(
    state: SearchState, rows: Tensor, target: Tensor | None, steps: int, start: _Start
) -> Tensor:
    r"""Class of the nearest image found ``(r,)``, -1 where none is; the state keeps the image.

    The first radius is the distance of the linearised boundary, :math:`\|\delta\| + |m| /
    \|\nabla m\|_*` for the margin m; the radius is multiplied by :math:`1 - \gamma` at an
    adversarial iterate and by :math:`1 + \gamma` elsewhere. Step and :math:`\gamma` decrease by a
    cosine.
    """
    x, y, norm = state.x(rows), state.y(rows), state.norm
    delta = torch.zeros_like(x)
    best, best_norm = x.clone(), torch.full((len(rows),), torch.inf, device=x.device)
    radius, reached = best_norm.clone(), torch.full_like(rows, -1)
    if start.near:
        delta, radius = state.x_adv[rows] - x, state.distance[rows].to(x)
    for t in range(steps if len(rows) else 0):
        decay = (1 + math.cos(math.pi * t / steps)) / 2
        gamma = 0.001 + 0.049 * decay
        logits, gradient = state.gradient(
            rows, x + delta, lambda logits, at: target_margin(state, logits, at, target)
        )
        hit, size = adversarial(logits, y), norm.of(delta)
        better = hit & (size < best_norm)
        best_norm = torch.where(better, size, best_norm)
        best[better], reached[better] = (x + delta)[better], classes_of(logits)[better]
        slope = norm.dual.of(gradient).clamp_min(torch.finfo(size.dtype).tiny)
        ahead = size + target_margin(state, logits, rows, target).abs() / slope
        # multiplied in both cases, unlike the paper's: on the boundary of a flat model the radius
        # would not change
        outward = torch.where(best_norm.isfinite(), radius, ahead) * (1 + gamma)
        radius = torch.where(hit, torch.minimum(radius * (1 - gamma), best_norm), outward)
        uphill = normalised(feasible(gradient, x + delta))
        first = _l2_length(norm, radius, x) if start.near else torch.full_like(radius, start.step)
        moved = delta + per_row(first * (0.01 + 0.99 * decay), x) * uphill
        delta = project(moved, norm, radius.clamp_max(_LARGE), x=x)
    some = best_norm < _WORTH * state.distance[rows]
    state.shrink_and_verify(rows[some], best[some], resolution=_COARSE)
    return reached


def _l2_length(norm: Norm, radius: Tensor, x: Tensor) -> Tensor:
    """Largest l2 norm of a perturbation within ``radius (r,)`` and the pixel box."""
    return radius.clamp_max(1.0) * math.sqrt(x[0].numel()) if norm is Norm.LINF else radius
