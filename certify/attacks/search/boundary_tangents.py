"""Targets of the decision boundary, one for each other class, and the tangents to them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.numerics import largest_other, targeted_margin

if TYPE_CHECKING:
    from .state import SearchState


def nearest_class_boundary(state: SearchState, rows: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Class whose face is nearest in the tangent at the clean image, and how far that is ``(b,)``.

    Of the ``classes`` with the largest clean logits; the one with the largest logit need not be
    the one whose boundary is nearest. Some class and inf where no tangent leads to a face; only
    ``rows`` are filled in.
    """
    nearest = torch.zeros(len(state.batch), dtype=torch.int64, device=rows.device)
    distance = torch.full_like(state.distance, torch.inf)
    if len(rows):
        ranked = state.ranked_classes(rows, classes)[rows]
        lengths = boundary_distances(state, *faces(state, rows, state.x(rows), ranked))
        at = lengths.argmin(1, keepdim=True)
        nearest[rows] = ranked.gather(1, at).squeeze(1)
        distance[rows] = lengths.gather(1, at).squeeze(1).double()
    return nearest, distance


def faces(state: SearchState, rows: Tensor, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Margins ``(r, t)`` of the target classes over y, and their gradients ``(r, t, c, h, w)``."""
    margins, gradients = [], []
    for target in targets.unbind(1):
        rivals = scatter_rows(state, rows, target)
        score = partial(target_margin, state, rivals=rivals)
        logits, gradient = state.gradient(rows, x, score)
        margins.append(score(logits, rows))
        gradients.append(gradient)
    return torch.stack(margins, dim=1), torch.stack(gradients, dim=1)


def boundary_distances(state: SearchState, margins: Tensor, gradients: Tensor) -> Tensor:
    r""":math:`|z_i - z_y| / \|\nabla(z_i - z_y)\|_q` ``(r, t)``; inf where the gradient is 0."""
    slopes = state.norm.dual.of(gradients.flatten(0, 1)).view_as(margins)
    return torch.where(slopes > 0, margins.abs() / slopes, torch.inf).nan_to_num(nan=torch.inf)


def target_margin(
    state: SearchState, logits: Tensor, rows: Tensor, rivals: Tensor | None
) -> Tensor:
    """Margin over y of the rivals ``(b,)``, or of the largest other class: ``(r,)``."""
    y = state.y(rows)
    if rivals is not None:
        return targeted_margin(logits, y, rivals[rows])
    return largest_other(logits, y) - logits.gather(1, y[:, None]).squeeze(1)


def scatter_rows(state: SearchState, rows: Tensor, values: Tensor) -> Tensor:
    """``values (r,)`` at their rows of the whole batch ``(b,)``."""
    whole = torch.zeros(len(state.batch), dtype=values.dtype, device=values.device)
    whole[rows] = values
    return whole
