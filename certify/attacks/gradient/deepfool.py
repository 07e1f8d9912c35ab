"""DeepFool (Moosavi-Dezfooli, Fawzi, Frossard 2016, arXiv:1511.04599, Algorithm 2), l2 and linf."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Batch, Norm
from robcert.certify.numerics import normalised, per_row

from ..search.boundary_tangents import boundary_distances, margins_and_gradients
from ..search.state import Found, SearchState, adversarial

if TYPE_CHECKING:
    from robcert.certify.model import Classifier


def deepfool(
    classifier: Classifier, batch: Batch, *, norm: Norm, steps: int = 50, classes: int = 10
) -> Found:
    """Nearest adversarial images; each step goes to the nearest linearised class boundary.

    Args:
        classifier: the model.
        batch: images.
        norm: l2 or linf.
        steps: maximum number of steps per image.
        classes: number of other classes considered, those with the largest clean logits.
    """
    state = SearchState(classifier, batch, norm)
    run_deepfool(state, state.correct, steps=steps, classes=classes)
    return state.result()


def run_deepfool(state: SearchState, rows: Tensor, *, steps: int, classes: int = 10) -> None:
    r"""DeepFool on a search state.

    The boundary to class i is :math:`|z_i - z_y| / \|\nabla(z_i - z_y)\|_q` away. With margin m
    and its gradient w the step is :math:`|m| \operatorname{sign}(w) / \|w\|_1` in linf and
    :math:`|m| w / \|w\|_2^2` in l2. The sum of the steps is multiplied by 1.02, as in the paper,
    and shrunk afterwards.
    """
    if not len(rows):
        return
    ranked = state.ranked_classes(rows, classes)[rows]
    total = torch.zeros_like(state.x(rows))
    going = torch.arange(len(rows), device=rows.device)
    done = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    for _ in range(steps):
        point = (state.x(rows[going]) + 1.02 * total[going]).clamp(0, 1)
        outside = adversarial(state.twin_logits(rows[going], point), state.y(rows[going]))
        done[going[outside]] = True
        going, point = going[~outside], point[~outside]
        if not len(going):
            break
        margins, gradients = margins_and_gradients(state, rows[going], point, ranked[going])
        total[going] += _step(state, margins, gradients)
    point = (state.x(rows) + 1.02 * total).clamp(0, 1)
    last = adversarial(state.twin_logits(rows, point), state.y(rows)) | done
    state.shrink_and_verify(rows[last], point[last])


def _step(state: SearchState, margins: Tensor, gradients: Tensor) -> Tensor:
    """Step ``(r, c, h, w)`` to the nearest class boundary; 0 where every gradient is 0."""
    distance = boundary_distances(state, margins, gradients)
    row, nearest = torch.arange(len(margins), device=margins.device), distance.argmin(1)
    gradient, length = gradients[row, nearest], distance[row, nearest]
    unit = gradient.sign() if state.norm is Norm.LINF else normalised(gradient)
    # slightly beyond the boundary, or the steps converge to it without crossing
    return torch.where(per_row(length, unit).isfinite(), unit * per_row(length + 1e-4, unit), 0.0)
