r"""The largest eigenvalue of a loss's Hessian at each image, for the curvature bound in l2.

Lanczos' method on exact Hessian-vector products, separately for every image (Lanczos 1950; as in
the public code of Finlay & Oberman 2019, arXiv:1905.11468). It gives lower estimates. The Hessian
does not see kinks: that of the logit margin of a ReLU network is zero almost everywhere. So
`kinked_share` tests whether the curvature can explain the residuals that the search found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from robcert.certify.core import Norm
from robcert.certify.numerics import generator, sums

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.core import Batch
    from robcert.certify.local_linearity import Tangent

STREAM = "bounds/curvature"

Product = Callable[["Tensor"], "Tensor"]
"""Function from vectors ``(b, d)`` to the Hessians' products with them ``(b, d)``."""

BREAKDOWN = 1e-6
"""A remainder this small relative to the largest product counts as rounding."""

MOST_KINKED = 0.1
"""The fit is invalid if curvature does not explain the residuals of more images than this."""


def largest_curvature(tangents: Tangent, batch: Batch, *, steps: int, seed: int) -> Tensor:
    r""":math:`\max(\lambda_{max}(\nabla^2 \ell(x)), 0)`, ``(b,)``, a lower estimate.

    Costs ``steps`` products per image, each about as much as two gradients.
    """
    starts = [
        torch.randn(tangents.x[0].numel(), generator=generator(seed, STREAM, int(index)))
        for index in batch.index
    ]
    if not starts:
        return torch.zeros_like(tangents.value)
    with torch.enable_grad():
        point = tangents.x.detach().requires_grad_()
        loss = tangents.loss.of(tangents.classifier.twin_logits(point), tangents.y)
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

    start = torch.stack(starts).to(tangents.x)
    return largest_eigenvalue(product, start, steps=steps).clamp_min(0).to(tangents.value.dtype)


def largest_eigenvalue(product: Product, start: Tensor, *, steps: int) -> Tensor:
    """Largest Ritz values ``(b,)`` in the Krylov spaces of ``start (b, d)``, one matrix per row.

    Every new vector is orthogonalised twice against all previous ones. A row whose Krylov space is
    exhausted continues with zero vectors, which add eigenvalues 0.
    """
    vector = start / Norm.L2.of(start)[:, None]
    basis, diagonal, off_diagonal = [vector], [], []
    largest = torch.zeros_like(start[:, 0])
    for _ in range(min(steps, start.shape[1])):
        image = product(basis[-1])
        diagonal.append(sums(image * basis[-1]))
        largest = torch.maximum(largest, Norm.L2.of(image))
        known = torch.stack(basis, 1)
        for _ in range(2):
            image = image - (known * (known @ image.unsqueeze(2))).sum(1)
        remainder = Norm.L2.of(image)
        remainder = torch.where(remainder > BREAKDOWN * largest, remainder, 0.0)
        off_diagonal.append(remainder)
        if not remainder.any():
            break
        tiny = torch.finfo(remainder.dtype).tiny
        scale = torch.where(remainder > 0, 1 / remainder.clamp_min(tiny), 0.0)
        basis.append(image * scale[:, None])
    return _largest_of_tridiagonal(diagonal, off_diagonal[: len(diagonal) - 1])


def _largest_of_tridiagonal(diagonal: list[Tensor], off_diagonal: list[Tensor]) -> Tensor:
    """Largest eigenvalues ``(b,)`` of symmetric tridiagonal matrices, given by their entries."""
    matrices = torch.diag_embed(torch.stack(diagonal, 1).double())
    if off_diagonal:
        entries = torch.stack(off_diagonal, 1).double()
        matrices += torch.diag_embed(entries, 1) + torch.diag_embed(entries, -1)
    return torch.linalg.eigvalsh(matrices)[:, -1].to(diagonal[0].dtype)


def kinked_share(
    curvature: NDArray[np.float64],
    residual: NDArray[np.float64],
    floor: NDArray[np.float64],
    *,
    epsilon: float,
) -> float:
    r"""Share of images whose residual within a small ``epsilon`` is not explained by curvature.

    A twice differentiable loss has :math:`\gamma^+ \approx \tfrac12 \lambda \epsilon^2`; an image
    counts if its residual is more than twice that and exceeds rounding. The cause are kinks of
    ReLU and max-pooling within the ball.

    Args:
        curvature: largest eigenvalues at the images ``(n,)``.
        residual: largest one-sided residuals within ``epsilon`` ``(n,)``.
        floor: size below which residuals may be rounding ``(n,)``.
        epsilon: radius, pixel units in l2.
    """
    clear = residual > 10 * floor
    return float((clear & (residual > curvature * epsilon**2)).mean())
