r"""A Lipschitz constant of each image from gradients at random points around it: CLEVER.

Block maxima of :math:`\|\nabla \ell(x + v)\|_*` over points v drawn uniformly from the ball, and
the endpoint of a reverse Weibull distribution fitted to them (Weng et al. 2018, arXiv:1801.10578).
Every point is drawn once and belongs to one block; blocks resampled from a pool, as in the paper's
code, would depend on one another. The score as published is the gap over the endpoint, at most the
ball's radius; there the margins to each class are fitted apart, here their maximum. A score at the
ball's radius only says that the slopes in the ball do not reach the class boundary, and where
outputs are saturated they never do, so it is flagged and counts as no radius. In image dimension
random points miss steep directions, which the ascent of `gradient_norm` finds: see
benchmarks/bounds.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.numerics import generator, points_in_ball, value_and_gradient
from robcert.certify.stats import ExtremeValueFit, Method, SupremumEstimator, fit_extremes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.core import Batch, Norm
    from robcert.certify.local_linearity import Tangent

STREAM = "bounds/clever"

BLOCK_SIZE = 64
"""Points per block: one batch of gradients."""


def local_lipschitz(
    tangents: Tangent, batch: Batch, *, norm: Norm, radius: float, blocks: int, seed: int
) -> list[ExtremeValueFit | None]:
    """Fits of the largest gradient norm within ``radius`` of each image, without the pixel box.

    None where a gradient is NaN or infinite, which bounds no slope. Costs ``blocks * BLOCK_SIZE``
    gradients per image.

    Args:
        tangents: of the images.
        batch: the images' positions in the data set, which seed their points.
        norm: norm of the ball.
        radius: radius of the ball, pixel units.
        blocks: blocks per image.
        seed: seed of the run.
    """
    fits: list[ExtremeValueFit | None] = []
    for row, index in enumerate(batch.index):
        maxima = np.empty(blocks)
        for block in range(blocks):
            draws = generator(seed, STREAM, int(index), block)
            shape = tuple(tangents.x[row].shape)
            points = points_in_ball(norm, radius, BLOCK_SIZE, shape, generator=draws)
            maxima[block] = float(norm.dual.of(_gradients(tangents, row, points)).max())
        if not np.isfinite(maxima).all():
            fits.append(None)
            continue
        estimator = SupremumEstimator(Method.REVERSE_WEIBULL)
        fit = fit_extremes(maxima, estimator, block_size=BLOCK_SIZE, seed=seed, bootstrap=0)
        fits.append(fit)
    return fits


def capped_radii(
    loss: NDArray[np.float64], lipschitz: NDArray[np.float64], *, radius: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    r"""Radii :math:`\min(gap / L, R)` ``(n,)`` and whether they are the ball's radius R.

    0 where misclassified; NaN where an image's own L is; R where no slope was found.

    Args:
        loss: margin losses ``(n,)``.
        lipschitz: L of each image within R ``(n,)``.
        radius: R, pixel units.
    """
    gap = np.maximum(-loss, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        radii = np.where(loss < 0, np.minimum(gap / lipschitz, radius), 0.0 * lipschitz)
    return radii, radii >= radius


def _gradients(tangents: Tangent, row: int, points: Tensor) -> Tensor:
    """Gradients ``(n, c, h, w)`` at the image at ``row`` plus ``points (n, c, h, w)``."""
    centre, y = tangents.x[row], tangents.y[row].expand(len(points))

    def loss(point: Tensor) -> Tensor:
        return tangents.loss.of(tangents.classifier.twin_logits(point), y)

    return value_and_gradient(loss, centre + points.to(centre))[1]
