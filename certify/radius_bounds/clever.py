r"""A Lipschitz constant of each image from gradients at random points around it: CLEVER.

Block maxima of :math:`\|\nabla \ell(x + v)\|_*` over points v drawn uniformly from the ball, and
the endpoint of a reverse Weibull law fitted to them (Weng et al. 2018, arXiv:1801.10578). Every
point is drawn once and belongs to one block; blocks drawn again from a pool, as is also done,
depend on one another. In image dimension random points look alike and miss steep directions, where
the ascent of `gradient_norm` does not: see benchmarks/bounds.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.numerics import generator, points_in_ball, value_and_gradient
from robcert.certify.stats import ExtremeValueFit, Method, fit_extremes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.core import Batch, Norm
    from robcert.certify.local_linearity import Tangent

STREAM = "bounds/clever"

BLOCK_SIZE = 64
"""Points of a block: a batch of gradients."""


def local_lipschitz(
    plane: Tangent, batch: Batch, *, norm: Norm, radius: float, blocks: int, seed: int
) -> list[ExtremeValueFit]:
    """Fits of the largest gradient norm within ``radius`` of each image, without the pixel box.

    Costs ``blocks * BLOCK_SIZE`` gradients an image.

    Args:
        plane: tangents of the images.
        batch: the images' positions in the data set, which seed their points.
        norm: norm of the ball.
        radius: its radius, pixel units.
        blocks: blocks an image.
        seed: seed of the run.
    """
    return [
        fit_extremes(
            _block_maxima(plane, row, int(index), norm, radius, blocks, seed),
            block_size=BLOCK_SIZE,
            method=Method.REVERSE_WEIBULL,
            seed=seed,
            bootstrap=0,
        )
        for row, index in enumerate(batch.index)
    ]


def _block_maxima(
    plane: Tangent, row: int, index: int, norm: Norm, radius: float, blocks: int, seed: int
) -> NDArray[np.float64]:
    """Largest gradient norm of each block of points around one image ``(blocks,)``."""
    centre, y = plane.x[row], plane.y[row].expand(BLOCK_SIZE)

    def loss(point: Tensor) -> Tensor:
        return plane.loss.of(plane.classifier.twin_logits(point), y)

    maxima = np.empty(blocks)
    for block in range(blocks):
        draws = generator(seed, STREAM, index, block)
        shape = tuple(centre.shape)
        points = points_in_ball(norm, radius, BLOCK_SIZE, shape, generator=draws).to(centre)
        _, gradient = value_and_gradient(loss, centre + points)
        maxima[block] = float(norm.dual.of(gradient).max())
    return maxima
