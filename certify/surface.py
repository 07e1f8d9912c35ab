r"""The loss in a plane through an image: adversarial direction against a random one.

:math:`\ell(x + a u + b v)` on a grid (Qin et al. 2019, arXiv:1907.02610, figures 1, 4 and A1): u
is a perturbation that ascent found, v random signs. A smooth bowl is what an honest gradient looks
like; a jagged surface whose peaks the gradient does not point to is masking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .ascent import Direction, StepRule, maximise, random_start
from .objectives import Loss, cross_entropy, margin_loss
from .sampling import generator

if TYPE_CHECKING:
    from torch import Tensor

    from .classifier import Classifier
    from .core import Batch, Norm

ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Surface:
    """Losses and classes in a plane through one image.

    Attributes:
        offsets: a and b ``(m,)``, -1 to 1 in units of the directions.
        u: adversarial direction ``(c, h, w)``, pixel units.
        v: random direction ``(c, h, w)`` of the same norm.
        cross_entropy: ``(m, m)``, first axis along u.
        margin: margin loss of logits likewise; below 0 where the class is y.
        prediction: classes likewise.
    """

    offsets: Tensor
    u: Tensor
    v: Tensor
    cross_entropy: Tensor
    margin: Tensor
    prediction: Tensor


def surface(
    classifier: Classifier,
    batch: Batch,
    *,
    norm: Norm,
    epsilon: float,
    resolution: int,
    steps: int,
    seed: int,
) -> Surface:
    """Surface around the one image of ``batch``, on a square of side 2 epsilon, without pixel box.

    Args:
        classifier: model; the losses on the grid are the runtime's.
        batch: one image.
        norm: norm in which both directions have length ``epsilon`` (pixel units).
        epsilon: half the side of the square.
        resolution: points along a side.
        steps: of the ascent that finds u.
        seed: of the random direction and the ascent's start.
    """
    u = _adversarial(classifier, batch, norm=norm, epsilon=epsilon, steps=steps, seed=seed)
    stream = generator(seed, "surface/direction", int(batch.index[0]))
    signs = torch.rand(u.shape, generator=stream).lt(0.5).to(u) * 2 - 1
    v = signs * (epsilon / norm.of(signs[None])).to(u)
    offsets = torch.linspace(-1, 1, resolution, dtype=u.dtype)
    shifts = torch.cartesian_prod(offsets, offsets)
    values = []
    for part in torch.split(shifts, ROWS_AT_ONCE):
        a, b = part.to(u.device).T[:, :, None, None, None]
        logits = classifier.logits(batch.x + a * u + b * v)
        y = batch.y.expand(len(part))
        numbers = (cross_entropy(logits, y), margin_loss(logits, y), logits.argmax(1).to(logits))
        values.append(torch.stack(numbers))
    grid = torch.cat(values, dim=1).view(3, resolution, resolution)
    return Surface(offsets, u, v, grid[0], grid[1], grid[2].long())


def _adversarial(
    classifier: Classifier, batch: Batch, *, norm: Norm, epsilon: float, steps: int, seed: int
) -> Tensor:
    """Perturbation ``(c, h, w)`` of length ``epsilon`` along the highest loss that PGD found."""
    start = random_start(
        batch.index, batch.x, norm=norm, epsilon=epsilon, seed=seed, stream="surface/attack"
    )
    found = maximise(
        lambda delta: Loss.MARGIN.of(classifier.twin_logits(batch.x + delta), batch.y),
        batch.x,
        norm=norm,
        epsilon=epsilon,
        steps=steps,
        rule=StepRule(Direction.steepest(norm), 0.25, relative=True, drops=((steps // 2, 0.4),)),
        start=start,
        box=True,
    )
    delta = found.best_delta
    return (delta * (epsilon / norm.of(delta).clamp_min(1e-12)))[0]
