"""Projections of perturbations onto balls and onto the pixel box, one ball per image."""

from __future__ import annotations

import torch
from torch import Tensor

from robcert.certify.core import Norm

L2_ROUNDS = 20
"""Largest number of rounds of the l2 projection with a box; three or four are usual."""


def per_row(values: float | Tensor, like: Tensor) -> Tensor:
    """``values``, one number or ``(b,)``, in a shape that broadcasts to ``like (b, ...)``."""
    row = torch.as_tensor(values, dtype=like.dtype, device=like.device).expand(len(like))
    return row.view(-1, *[1] * (like.dim() - 1))


def project(
    delta: Tensor, norm: Norm, epsilon: float | Tensor, *, x: Tensor | None = None
) -> Tensor:
    r"""Perturbations ``(b, ...)`` projected onto the balls :math:`\|\delta\|_p \le \epsilon`.

    Without ``x``: the Euclidean projection onto the balls. With ``x``: that onto the intersection
    of the balls with the box, so that ``x + delta`` is also in [0, 1].

    Args:
        delta: perturbations.
        norm: norm of the balls.
        epsilon: radius in pixel units, one number or one per image ``(b,)``.
        x: images in [0, 1]; None for no box.
    """
    if norm is Norm.L1:
        return _project_l1(delta, epsilon, x)
    radius = per_row(epsilon, delta)
    if norm is Norm.LINF and x is not None:
        return delta.clamp((-x).clamp_(min=-radius), (1 - x).clamp_(max=radius))
    inside = delta if x is None else into_box(delta, x)
    if norm is Norm.LINF:
        return inside.clamp(-radius, radius)
    return _shrunk(inside, radius) if x is None else _project_l2(delta, inside, radius, x)


def into_box(delta: Tensor, x: Tensor) -> Tensor:
    """``delta`` with ``x + delta`` clipped to [0, 1]; no entry grows for x in [0, 1]."""
    return delta.clamp(-x, 1 - x)


def feasible(gradient: Tensor, x: Tensor) -> Tensor:
    """``gradient`` with 0 at the entries that lead out of the pixel box at ``x``."""
    blocked = ((x <= 0) & (gradient < 0)) | ((x >= 1) & (gradient > 0))
    return torch.where(blocked, 0.0, gradient)


def _shrunk(delta: Tensor, radius: Tensor) -> Tensor:
    """``delta`` scaled into the l2 balls; ``radius (b, 1, ...)``."""
    length = per_row(Norm.L2.of(delta), delta).clamp_min(torch.finfo(delta.dtype).tiny)
    return delta * (radius / length).clamp_max(1)


def _project_l2(delta: Tensor, inside: Tensor, radius: Tensor, x: Tensor) -> Tensor:
    r""":math:`|\delta_i| = \min(\mu |u_i|, c_i)` with the :math:`\mu \le 1` of length ``radius``.

    :math:`c_i` is the distance to the box along the entry. Entries that reach :math:`c_i` are fixed
    there and the others scaled to the length of the radius, until no further entry reaches it; the
    scale only grows on the way, so the result of every round lies in both sets. Clipping before
    scaling would change the direction of a step much longer than the box.
    """
    outside = per_row(Norm.L2.of(inside), inside) > radius
    if not outside.any():
        return inside
    size, cap = delta.abs(), torch.where(delta > 0, 1 - x, x)
    axes = tuple(range(1, delta.dim()))
    scale, held = torch.zeros_like(radius), torch.zeros_like(size, dtype=torch.bool)
    for _ in range(L2_ROUNDS):
        free = torch.where(held, 0.0, size).square().sum(axes, keepdim=True)
        taken = torch.where(held, cap, 0.0).square().sum(axes, keepdim=True)
        rest = (radius.square() - taken).clamp_min(0)
        scale = (rest / free.clamp_min(torch.finfo(size.dtype).tiny)).sqrt()
        now = size * scale >= cap
        if torch.equal(now, held):
            break
        held = now
    shrunk = torch.minimum(size * scale, cap) * delta.sign()
    return torch.where(outside, _shrunk(shrunk, radius), inside)


def _project_l1(delta: Tensor, epsilon: float | Tensor, x: Tensor | None) -> Tensor:
    r"""Soft threshold with caps: :math:`|\delta_i| = \min(\max(|u_i| - \lambda, 0), c_i)`.

    :math:`c_i` is the distance to the box in the direction of :math:`u_i`
    (Croce & Hein 2021, arXiv:2103.01208, Proposition 2.1; without the box Duchi et al. 2008).
    """
    inside = delta
    if x is not None:
        inside = into_box(delta, x)
    outside = Norm.L1.of(inside) > per_row(epsilon, inside.flatten(1)).flatten()
    if not outside.any():
        return inside
    cap = None if x is None else torch.where(delta > 0, 1 - x, x).flatten(1)
    size = delta.abs().double()  # for far points the radius is below float32's rounding
    threshold = _l1_threshold(size.flatten(1), cap, per_row(epsilon, delta).flatten())
    shrunk = (size - per_row(threshold, size)).clamp_min(0).to(delta.dtype)
    if cap is not None:
        shrunk = torch.minimum(shrunk, cap.view_as(shrunk))
    return torch.where(per_row(outside.float(), delta) > 0, shrunk * delta.sign(), inside)


def _l1_threshold(size: Tensor, cap: Tensor | None, radius: Tensor) -> Tensor:
    r"""The :math:`\lambda \ge 0` at which :math:`f(\lambda) = \sum_i |\delta_i|` is ``radius``.

    :math:`f(\lambda) = \sum_i (a_i - \lambda)_+ - (a_i - c_i - \lambda)_+` is piecewise linear;
    its knots are sorted and the equation is solved on the piece that contains the radius.
    """
    knots, weights = size, torch.ones_like(size)
    if cap is not None:
        knots = torch.cat([knots, knots - cap], dim=1)
        weights = torch.cat([weights, -weights], dim=1)
    knots, order = knots.sort(dim=1, descending=True)
    weights = weights.gather(1, order)
    slope, offset = weights.cumsum(1), (weights * knots).cumsum(1)
    # f does not decrease along the sorted knots: the piece starts at the last knot below the radius
    below = (offset - knots * slope <= radius.unsqueeze(1)) & (slope > 0.5)
    piece = below.long().mul(torch.arange(1, below.shape[1] + 1, device=size.device)).argmax(1)
    slope, offset = (values.gather(1, piece.unsqueeze(1)).squeeze(1) for values in (slope, offset))
    return ((offset - radius) / slope.clamp_min(1)).clamp_min(0)
