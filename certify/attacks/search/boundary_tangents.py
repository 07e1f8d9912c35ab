"""Distances of the decision boundaries to other classes, by tangents."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.numerics import largest_other, targeted_margin

from .state import Boundaries

if TYPE_CHECKING:
    from .state import SearchState


def nearest_class_boundary(state: SearchState, rows: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Class of the nearest boundary by the tangents at the clean image, and its distance ``(b,)``.

    Among the ``classes`` with the largest clean logits; the class with the largest logit need not
    be the one whose boundary is nearest. Where every gradient is 0 the distance is inf and the
    class is arbitrary. Only ``rows`` are filled in; the state keeps what was computed.
    """
    found = state.boundaries.setdefault(classes, _unknown(state))
    new = rows[~found.known[rows]]
    if len(new):
        ranked = state.ranked_classes(new, classes)[new]
        margins, gradients = margins_and_gradients(state, new, state.x(new), ranked)
        lengths = boundary_distances(state, margins, gradients)
        at = lengths.argmin(1, keepdim=True)
        found.nearest[new] = ranked.gather(1, at).squeeze(1)
        found.distance[new] = lengths.gather(1, at).squeeze(1).double()
        found.known[new] = True
    return found.nearest, found.distance


def _unknown(state: SearchState) -> Boundaries:
    return Boundaries(
        torch.zeros_like(state.prediction),
        torch.full_like(state.distance, torch.inf),
        torch.zeros_like(state.prediction, dtype=torch.bool),
    )


def margins_and_gradients(
    state: SearchState, rows: Tensor, x: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Margins ``(r, t)`` of the target classes over y, and their gradients ``(r, t, c, h, w)``.

    At the points ``x (r, c, h, w)``; ``targets (r, t)``.
    """
    margins, gradients = [], []
    for target in targets.unbind(1):
        score = partial(target_margin, state, target=scatter_rows(state, rows, target))
        logits, gradient = state.gradient(rows, x, score)
        margins.append(score(logits, rows))
        gradients.append(gradient)
    return torch.stack(margins, dim=1), torch.stack(gradients, dim=1)


def boundary_distances(state: SearchState, margins: Tensor, gradients: Tensor) -> Tensor:
    r""":math:`|z_i - z_y| / \|\nabla(z_i - z_y)\|_q` ``(r, t)``; inf where the gradient is 0."""
    slopes = state.norm.dual.of(gradients.flatten(0, 1)).view_as(margins)
    return torch.where(slopes > 0, margins.abs() / slopes, torch.inf).nan_to_num(nan=torch.inf)


def target_margin(
    state: SearchState, logits: Tensor, rows: Tensor, target: Tensor | None
) -> Tensor:
    """Margin ``(r,)`` of the classes ``target (b,)`` over y; None: of the largest other class."""
    y = state.y(rows)
    if target is not None:
        return targeted_margin(logits, y, target[rows])
    return largest_other(logits, y) - logits.gather(1, y[:, None]).squeeze(1)


def scatter_rows(state: SearchState, rows: Tensor, values: Tensor) -> Tensor:
    """``values (r,)`` at their rows of the whole batch ``(b,)``, 0 elsewhere."""
    whole = torch.zeros(len(state.batch), dtype=values.dtype, device=values.device)
    whole[rows] = values
    return whole
