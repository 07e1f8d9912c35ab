"""Boundary attack (Brendel, Rauber, Bethge 2018, arXiv:1712.04248): labels only, l2.

A random walk along the boundary on the adversarial side: a step along the sphere around the image,
then one towards it. It starts at the nearest adversarial image that is known, else at noise; an
image without a start stands, and the others go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.ascent import normalised
from robcert.certify.core import Batch, Norm
from robcert.certify.projections import per_row
from robcert.certify.sampling import generator

from .hunt import Found, Hunt, adversarial
from .noise import run_start

if TYPE_CHECKING:
    from robcert.certify.classifier import Classifier

_TARGET = 0.25  # share of proposals that should succeed; the paper's 50 % and 25 % in one
_MEMORY = 0.9  # weight of the past in the running share
_CHANGE = 1.1


def boundary(classifier: Classifier, batch: Batch, *, queries: int = 2000, seed: int = 0) -> Found:
    """Nearest adversarial images in l2 that a walk of ``queries`` steps reaches."""
    hunt = Hunt(classifier, batch, Norm.L2, seed)
    run_boundary(hunt, hunt.correct, queries=queries)
    return hunt.result()


def run_boundary(hunt: Hunt, rows: Tensor, *, queries: int) -> None:
    """The walk within a hunt.

    One step size serves both moves: the step along the sphere, and its tenth towards the image; it
    grows by a tenth where more than a quarter of the proposals succeed and shrinks otherwise.
    """
    unknown = rows[hunt.distance[rows].isinf()]
    if len(unknown):
        run_start(hunt, unknown)
    rows = rows[hunt.distance[rows].isfinite()]
    if not len(rows):
        return
    streams = [
        generator(hunt.seed, "attack/boundary", int(index))
        for index in hunt.batch.index[rows.cpu().numpy()]
    ]
    x, here = hunt.x(rows), hunt.x_adv[rows].clone()
    size = torch.full((len(rows),), 0.3, device=x.device)
    share = torch.full_like(size, _TARGET)
    for _ in range(queries):
        noise = torch.stack([torch.randn(x.shape[1:], generator=s) for s in streams]).to(x)
        there = _proposal(x, here, noise, size)
        hit = adversarial(hunt.logits(rows, there), hunt.y(rows))
        nearer = hit & (Norm.L2.of(there - x) < Norm.L2.of(here - x))
        here = torch.where(nearer.view(-1, 1, 1, 1), there, here)
        share = _MEMORY * share + (1 - _MEMORY) * hit
        size = torch.where(share > _TARGET, size * _CHANGE, size / _CHANGE).clamp(1e-4, 1.0)
    hunt.settle(rows, here)


def _proposal(x: Tensor, here: Tensor, noise: Tensor, size: Tensor) -> Tensor:
    """A step along the sphere around ``x``, back onto it, and a tenth of a step inwards."""
    away = here - x
    radius = per_row(Norm.L2.of(away), away)
    outward = normalised(away)
    along = noise - outward * per_row((noise * outward).flatten(1).sum(1), noise)
    step = normalised(along) * per_row(size, noise) * radius
    onto = normalised(away + step) * radius
    # the gain of a perfect step of this size is of second order, and so is the step inwards
    inward = 1 - 0.5 * per_row(size, noise).square().clamp_max(0.5)
    return (x + onto * inward).clamp(0, 1)
