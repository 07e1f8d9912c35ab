"""DeepFool (Moosavi-Dezfooli, Fawzi, Frossard 2016, arXiv:1511.04599, Algorithm 2), l2 and linf."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Batch, Norm
from robcert.certify.projections import per_row

from .hunt import Found, Hunt, adversarial

if TYPE_CHECKING:
    from robcert.certify.classifier import Classifier


def deepfool(
    classifier: Classifier, batch: Batch, *, norm: Norm, steps: int = 50, classes: int = 10
) -> Found:
    """Nearest adversarial images, each step onto the nearest face of the linearised boundary.

    Args:
        classifier: the model.
        batch: images.
        norm: l2 or linf.
        steps: most steps an image takes.
        classes: other classes looked at, those with the largest clean logits.
    """
    hunt = Hunt(classifier, batch, norm)
    run_deepfool(hunt, hunt.correct, steps=steps, classes=classes)
    return hunt.result()


def run_deepfool(hunt: Hunt, rows: Tensor, *, steps: int, classes: int = 10) -> None:
    r"""DeepFool within a hunt.

    The face of class i is :math:`|z_i - z_y| / \|\nabla(z_i - z_y)\|_q` away; the step is
    :math:`|m| \operatorname{sign}(w) / \|w\|_1` in linf and :math:`|m| w / \|w\|_2^2` in l2. The
    sum of the steps is taken 1.02 times, as in the paper, and shrunk afterwards.
    """
    if not len(rows):
        return
    ranked = hunt.ranked_classes(rows, classes)[rows]
    total = torch.zeros_like(hunt.x(rows))
    going = torch.arange(len(rows), device=rows.device)
    done = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    for _ in range(steps):
        point = (hunt.x(rows[going]) + 1.02 * total[going]).clamp(0, 1)
        outside = adversarial(hunt.twin_logits(rows[going], point), hunt.y(rows[going]))
        done[going[outside]] = True
        going, point = going[~outside], point[~outside]
        if not len(going):
            break
        margins, gradients = _faces(hunt, rows[going], point, ranked[going])
        total[going] += _step(hunt.norm, margins, gradients)
    point = (hunt.x(rows) + 1.02 * total).clamp(0, 1)
    last = adversarial(hunt.twin_logits(rows, point), hunt.y(rows)) | done
    hunt.settle(rows[last], point[last])


def nearest_face(hunt: Hunt, rows: Tensor, classes: int) -> Tensor:
    """Class ``(r,)`` whose boundary is nearest in the tangent at the clean image.

    Of the ``classes`` with the largest clean logits; the one with the largest logit need not be
    the one whose boundary is nearest.
    """
    ranked = hunt.ranked_classes(rows, classes)[rows]
    margins, gradients = _faces(hunt, rows, hunt.x(rows), ranked)
    slopes = hunt.norm.dual.of(gradients.flatten(0, 1)).view_as(margins)
    distance = torch.where(slopes > 0, margins.abs() / slopes, torch.inf)
    return ranked.gather(1, distance.argmin(1, keepdim=True)).squeeze(1)


def _faces(hunt: Hunt, rows: Tensor, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Margins ``(r, t)`` of the target classes over y, and their gradients ``(r, t, c, h, w)``."""
    margins, gradients = [], []
    for target in targets.unbind(1):
        others = torch.zeros(len(hunt.batch), dtype=torch.int64, device=x.device)
        others[rows] = target

        def margin(logits: Tensor, at: Tensor, others: Tensor = others) -> Tensor:
            both = torch.stack([others[at], hunt.y(at)], dim=1)
            pair = logits.gather(1, both)
            return pair[:, 0] - pair[:, 1]

        logits, gradient = hunt.gradient(rows, x, margin)
        pair = logits.gather(1, torch.stack([target, hunt.y(rows)], dim=1))
        margins.append(pair[:, 0] - pair[:, 1])
        gradients.append(gradient)
    return torch.stack(margins, dim=1), torch.stack(gradients, dim=1)


def _step(norm: Norm, margins: Tensor, gradients: Tensor) -> Tensor:
    """Step ``(r, c, h, w)`` onto the nearest face; 0 where no gradient leads anywhere."""
    slopes = norm.dual.of(gradients.flatten(0, 1)).view_as(margins)
    distance = torch.where(slopes > 0, margins.abs() / slopes, torch.inf)
    nearest = distance.argmin(1)
    row = torch.arange(len(margins), device=margins.device)
    gradient, length = gradients[row, nearest], distance[row, nearest]
    slope = per_row(slopes[row, nearest], gradient).clamp_min(1e-30)
    unit = gradient.sign() if norm is Norm.LINF else gradient / slope
    # a little more than onto the face, or the last steps creep for ever
    return torch.where(per_row(length, unit).isfinite(), unit * per_row(length + 1e-4, unit), 0.0)
