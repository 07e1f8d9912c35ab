r"""Radii from the Lipschitz constant L and the modulus :math:`\omega(\epsilon)` of a margin loss.

For a loss that is negative exactly where an image is classified as y, with
:math:`gap = \max(-\ell(x), 0)` and :math:`G = \|\nabla \ell(x)\|_*`, an image keeps its class
within gap / L, and within every :math:`\epsilon` with :math:`gap \ge \omega(\epsilon) + \epsilon G`
(Finlay & Oberman 2019, arXiv:1905.11468, Proposition 2.2). Both are proven for the true L and
:math:`\omega`, and are estimates for estimated ones. The pixel box is ignored: the radii cover the
larger set without it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from robcert.certify.numerics import generator

Array = NDArray[np.float64]

LEAST_BLOCK_SIZE = 10
"""Smallest block size; with fewer images there are fewer blocks."""

VANISHING = 1e-12
"""Gradient norms below this count as zero."""


def sample_blocks(
    n_images: int, *, blocks: int, block_size: int, seed: int, data_sha256: str
) -> NDArray[np.int64]:
    """Images of disjoint random blocks, ``(blocks, size)``, drawn without replacement.

    With fewer images than ``blocks * block_size`` the blocks get smaller; once they are down to 10
    images, their number falls. The sample depends only on the data, the seed and the two numbers,
    not on the selection of images.
    """
    size = min(block_size, n_images // blocks)
    if size < min(LEAST_BLOCK_SIZE, block_size):
        size = min(LEAST_BLOCK_SIZE, block_size, n_images)
        blocks = min(blocks, n_images // size)
    stream = generator(seed, f"bounds/sample/{data_sha256}", 0)
    order = torch.randperm(n_images, generator=stream)[: blocks * size]
    return order.numpy().reshape(blocks, size)


def epsilon_grid(epsilon: float, points: int) -> tuple[float, ...]:
    """Geometric points from epsilon / 8 to 2 epsilon, pixel units.

    >>> [round(point, 3) for point in epsilon_grid(0.4, 5)]
    [0.05, 0.1, 0.2, 0.4, 0.8]
    """
    return tuple(float(point) for point in epsilon * np.geomspace(1 / 8, 2, points))


def l_bound(loss: Array, lipschitz: float) -> Array:
    """Radii gap / L ``(n,)``; 0 where misclassified, and everywhere for L = 0; NaN without L.

    L = 0 means that no gradient was found, not that no image can change its class.
    """
    gap = np.maximum(-loss, 0.0)
    if np.isnan(lipschitz):
        return np.full_like(gap, np.nan)
    return gap / lipschitz if lipschitz > 0 else np.zeros_like(gap)


def omega_bound(
    loss: Array, gradient_norm: Array, *, epsilons: tuple[float, ...], omegas: Array
) -> tuple[Array, NDArray[np.bool_]]:
    r"""Radii ``(n,)`` and whether they are limited by the largest epsilon of the grid.

    :math:`r = \max_j \max(0, \min(\epsilon_j, (gap - \omega(\epsilon_j)) / G))`: within
    :math:`\epsilon_j` no residual exceeds :math:`\omega(\epsilon_j)`, so omega between two points
    of the grid is replaced by its value at the upper one. With each image's own residuals
    :math:`\gamma^+(\epsilon_j, x)` in place of omega, this is the gamma-bound.

    Args:
        loss: margin losses ``(n,)``.
        gradient_norm: dual norms G of their gradients ``(n,)``.
        epsilons: ascending grid, pixel units.
        omegas: omega at each ``(m,)``, or one row per image ``(n, m)``; made non-decreasing, which
            independent fits need not be. NaN, for a missing one, is replaced by that of the next
            larger epsilon, which omega does not exceed, and counts as infinite if there is none.
            If all are missing there are no radii: NaN.
    """
    if omegas.ndim == 1 and np.isnan(omegas).all():
        return np.full_like(loss, np.nan), np.zeros(len(loss), dtype=bool)
    rising = _rising(omegas)
    remaining = np.maximum(-loss, 0.0)[:, None] - rising
    slope = np.asarray(gradient_norm, dtype=np.float64)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        linear = np.where(slope > 0, remaining / slope, np.where(remaining >= 0, np.inf, -np.inf))
    correct = (loss < 0)[:, None]
    radii = np.where(correct, np.clip(np.minimum(epsilons, linear), 0.0, None), 0.0).max(1)
    return radii, radii >= epsilons[-1]


def _rising(omegas: Array) -> Array:
    """``omegas (..., m)`` made non-decreasing, each missing one as large as the next known one."""
    known = ~np.isnan(omegas)
    rising = np.maximum.accumulate(np.where(known, omegas, -np.inf), axis=-1)
    later = np.where(known, rising, np.inf)[..., ::-1]
    return np.minimum.accumulate(later, axis=-1)[..., ::-1]


def curvature_bound(loss: Array, gradient_norm: Array, curvature: float) -> Array:
    r"""Radii :math:`(\sqrt{G^2 + 2 C\,gap} - G) / C`, ``(n,)``: the omega-bound of ½ C eps² in l2.

    0 where misclassified, and where both C and the gradient are 0, which does not mean that no
    image can change its class.

    Args:
        loss: margin losses ``(n,)``.
        gradient_norm: l2 norms G of their gradients ``(n,)``.
        curvature: largest eigenvalue C of the loss's Hessian anywhere, 0 where none is positive.
    """
    gap = np.maximum(-np.asarray(loss, dtype=np.float64), 0.0)
    slope = np.asarray(gradient_norm, dtype=np.float64)
    below = slope + np.sqrt(slope**2 + 2 * curvature * gap)  # this form of the root allows C = 0
    return np.divide(2 * gap, below, out=np.zeros_like(gap), where=below > 0)


def vanishing_share(gradient_norm: Array) -> float:
    """Share of images with a gradient norm below `VANISHING`: a sign of masked gradients."""
    return float((gradient_norm < VANISHING).mean())
