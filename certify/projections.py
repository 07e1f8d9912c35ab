"""Projections of perturbations onto balls and onto the pixel box, one ball an image."""

from __future__ import annotations

import torch
from torch import Tensor

from .core import Norm


def per_row(values: float | Tensor, like: Tensor) -> Tensor:
    """``values``, one number or ``(b,)``, shaped to multiply ``like (b, ...)``."""
    row = torch.as_tensor(values, dtype=like.dtype, device=like.device).expand(len(like))
    return row.view(-1, *[1] * (like.dim() - 1))


def project(
    delta: Tensor, norm: Norm, epsilon: float | Tensor, *, x: Tensor | None = None
) -> Tensor:
    r"""Perturbations ``(b, ...)`` in the balls :math:`\|\delta\|_p \le \epsilon`.

    Without ``x`` this is the Euclidean projection. With ``x``, ``x + delta`` is also in [0, 1]:
    exact for linf and l1; for l2 the box is applied first and the rest scaled, which stays in both
    sets (0 is in the box) but is not the nearest point of their intersection. The other order is
    as valid and far worse: where many pixels are black or white, what the clipping takes away is
    lost from the radius.

    Args:
        delta: perturbations.
        norm: norm of the balls.
        epsilon: radius in pixel units, one number or one an image ``(b,)``.
        x: images in [0, 1]; None for no box.
    """
    if norm is Norm.L1:
        return _project_l1(delta, epsilon, x)
    inside, radius = delta if x is None else into_box(delta, x), per_row(epsilon, delta)
    if norm is Norm.LINF:
        return torch.minimum(torch.maximum(inside, -radius), radius)
    length = per_row(Norm.L2.of(inside), inside).clamp_min(torch.finfo(delta.dtype).tiny)
    return inside * (radius / length).clamp_max(1)


def into_box(delta: Tensor, x: Tensor) -> Tensor:
    """``delta`` with ``x + delta`` clipped to [0, 1]; no entry grows for x in [0, 1]."""
    return torch.minimum(torch.maximum(delta, -x), 1 - x)


def feasible(gradient: Tensor, x: Tensor) -> Tensor:
    """``gradient`` without the entries that lead out of the pixel box at ``x``."""
    blocked = ((x <= 0) & (gradient < 0)) | ((x >= 1) & (gradient > 0))
    return torch.where(blocked, 0.0, gradient)


def _project_l1(delta: Tensor, epsilon: float | Tensor, x: Tensor | None) -> Tensor:
    r"""Soft threshold with caps: :math:`|\delta_i| = \min(\max(|u_i| - \lambda, 0), c_i)`.

    :math:`c_i` is the room that the box leaves in the direction of :math:`u_i`
    (Croce & Hein 2021, arXiv:2103.01208, Proposition 2.1; without the box Duchi et al. 2008).
    """
    inside = delta
    if x is not None:
        inside = into_box(delta, x)
    outside = Norm.L1.of(inside) > per_row(epsilon, inside.flatten(1)).flatten()
    if not outside.any():
        return inside
    cap = None if x is None else torch.where(delta > 0, 1 - x, x).flatten(1)
    size = delta.abs().double()  # far points lose the radius to rounding in float32
    threshold = _l1_threshold(size.flatten(1), cap, per_row(epsilon, delta).flatten())
    shrunk = (size - per_row(threshold, size)).clamp_min(0).to(delta.dtype)
    if cap is not None:
        shrunk = torch.minimum(shrunk, cap.view_as(shrunk))
    return torch.where(per_row(outside.float(), delta) > 0, shrunk * delta.sign(), inside)


def _l1_threshold(size: Tensor, cap: Tensor | None, radius: Tensor) -> Tensor:
    r"""The :math:`\lambda \ge 0` at which :math:`f(\lambda) = \sum_i |\delta_i|` is ``radius``.

    :math:`f(\lambda) = \sum_i (a_i - \lambda)_+ - (a_i - c_i - \lambda)_+` is piecewise linear;
    its knots are sorted and the piece that holds the radius is solved.
    """
    knots, weights = size, torch.ones_like(size)
    if cap is not None:
        knots = torch.cat([knots, knots - cap], dim=1)
        weights = torch.cat([weights, -weights], dim=1)
    knots, order = knots.sort(dim=1, descending=True)
    weights = weights.gather(1, order)
    slope, offset = weights.cumsum(1), (weights * knots).cumsum(1)
    # f at each knot does not decrease along the row: the piece starts at the last knot below.
    below = (offset - knots * slope <= radius.unsqueeze(1)) & (slope > 0.5)
    piece = below.long().mul(torch.arange(1, below.shape[1] + 1, device=size.device)).argmax(1)
    slope, offset = (values.gather(1, piece.unsqueeze(1)).squeeze(1) for values in (slope, offset))
    return ((offset - radius) / slope.clamp_min(1)).clamp_min(0)
