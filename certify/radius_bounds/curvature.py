r"""The largest eigenvalue of a loss's Hessian at each image, for the curvature bound in l2.

Lanczos' method on exact Hessian-vector products, every image by itself (Lanczos 1950; as in the
public code of Finlay & Oberman 2019, arXiv:1905.11468). What it finds lies below the eigenvalue.
The Hessian at a point says nothing of kinks: a network of ReLU with a margin of logits has none,
so `kinked_share` asks whether the residuals that search found can be of such a curvature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from robcert.certify.numerics import generator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.core import Batch
    from robcert.certify.local_linearity import Tangent

STREAM = "bounds/curvature"

Product = Callable[["Tensor"], "Tensor"]
"""Vectors ``(b, d)`` to the Hessians' products with them ``(b, d)``."""

BREAKDOWN = 1e-6
"""A rest this small beside the largest product seen is rounding: the space is exhausted."""

KINKED = 0.1
"""Share of images with a residual that curvature does not explain, above which no radius counts."""


def largest_curvature(plane: Tangent, batch: Batch, *, steps: int, seed: int) -> Tensor:
    r""":math:`\max(\lambda_{max}(\nabla^2 \ell(x)), 0)`, ``(b,)``, as far as it is found.

    Costs ``steps`` products an image, about two gradients each.
    """
    starts = [
        torch.randn(plane.x[0].numel(), generator=generator(seed, STREAM, int(index)))
        for index in batch.index
    ]
    if not starts:
        return torch.zeros_like(plane.value)
    with torch.enable_grad():
        point = plane.x.detach().requires_grad_()
        loss = plane.loss.of(plane.classifier.twin_logits(point), plane.y)
        (gradient,) = torch.autograd.grad(
            loss.sum(), point, create_graph=True, allow_unused=True, materialize_grads=True
        )

    def product(vectors: Tensor) -> Tensor:
        if not gradient.requires_grad:  # a loss that is linear in its input
            return torch.zeros_like(vectors)
        (found,) = torch.autograd.grad(
            gradient,
            point,
            vectors.view_as(point),
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return found.flatten(1).nan_to_num(0.0, 0.0, 0.0)

    start = torch.stack(starts).to(plane.x)
    return largest_eigenvalue(product, start, steps=steps).clamp_min(0).to(plane.value.dtype)


def largest_eigenvalue(product: Product, start: Tensor, *, steps: int) -> Tensor:
    """Largest Ritz values ``(b,)`` in the Krylov spaces of ``start (b, d)``, one matrix a row.

    Every new vector is orthogonalised twice against all before it. A row whose space is exhausted
    goes on with zeros, which adds eigenvalues 0.
    """
    vector = start / start.norm(dim=1, keepdim=True)
    basis, diagonal, beside = [vector], [], []
    largest = torch.zeros_like(start[:, 0])
    for _ in range(min(steps, start.shape[1])):
        image = product(basis[-1])
        diagonal.append((image * basis[-1]).sum(1))
        largest = torch.maximum(largest, image.norm(dim=1))
        known = torch.stack(basis, 1)
        for _ in range(2):
            image = image - (known * (known @ image.unsqueeze(2))).sum(1)
        rest = image.norm(dim=1)
        rest = torch.where(rest > BREAKDOWN * largest, rest, 0.0)
        beside.append(rest)
        if not rest.any():
            break
        scale = torch.where(rest > 0, 1 / rest.clamp_min(torch.finfo(rest.dtype).tiny), 0.0)
        basis.append(image * scale[:, None])
    return _largest_of_tridiagonal(diagonal, beside[: len(diagonal) - 1])


def _largest_of_tridiagonal(diagonal: list[Tensor], beside: list[Tensor]) -> Tensor:
    """Largest eigenvalues ``(b,)`` of symmetric tridiagonal matrices, given by their entries."""
    matrices = torch.diag_embed(torch.stack(diagonal, 1).double())
    if beside:
        entries = torch.stack(beside, 1).double()
        matrices += torch.diag_embed(entries, 1) + torch.diag_embed(entries, -1)
    return torch.linalg.eigvalsh(matrices)[:, -1].to(diagonal[0].dtype)


def kinked_share(
    curvature: NDArray[np.float64],
    residual: NDArray[np.float64],
    floor: NDArray[np.float64],
    *,
    epsilon: float,
) -> float:
    r"""Share of images whose residual within a small ``epsilon`` is no work of their curvature.

    A loss with two derivatives has :math:`\gamma^+ \approx \tfrac12 \lambda \epsilon^2`; here more
    than twice that counts, where the residual is clear of rounding. Bends of ReLU and of max-pool
    within the ball do this.

    Args:
        curvature: largest eigenvalues at the images ``(n,)``.
        residual: largest one-sided residuals within ``epsilon`` ``(n,)``.
        floor: size below which they may be rounding ``(n,)``.
        epsilon: radius, pixel units in l2.
    """
    clear = residual > 10 * floor
    return float((clear & (residual > curvature * epsilon**2)).mean())
