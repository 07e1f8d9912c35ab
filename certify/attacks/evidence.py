r"""The loss at adversarial images, for the estimates that they may refute.

For the nearest adversarial image :math:`x + v` of each image: the change of the loss, its residual
:math:`\ell(x + v) - \ell(x) - \langle v, \nabla \ell(x) \rangle` and the slope
:math:`\|\nabla \ell(x)\|_*`, for each loss that estimates are about. Computed once, in the attack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from robcert.certify.numerics import Loss, largest_size, rounding_floor, sums, value_and_gradient
from robcert.certify.store import EVIDENCE_LOSSES

from .schema import EVIDENCE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.core import Batch, Norm
    from robcert.certify.model import Classifier
    from robcert.certify.session import Columns, Session
    from robcert.certify.store import AnalysisGroup


PREFIX = "evidence/"
"""Beginning of the names of evidence among the columns of an attack."""


class EvidenceTable:
    """The table beside a table of attacked distances; nothing is kept without gradients.

    Attributes:
        session: model, images and file.
        norm: norm of the distances.
    """

    def __init__(self, session: Session, norm: Norm, *, prefix: str, settings: object) -> None:
        self.session, self.norm = session, norm
        self._group: AnalysisGroup | None = None
        if session.classifier.differentiable:
            self._group = session.store.group(
                EVIDENCE,
                prefix=prefix,
                settings=settings,
                seed=session.seed,
                sizes={"loss": len(EVIDENCE_LOSSES)},
            )

    def columns(self, batch: Batch, x_adv: Tensor, distance: Tensor) -> Columns:
        """The columns of ``batch``, whose nearest adversarial images are ``x_adv``.

        Their names begin with ``PREFIX``, so that they can travel with those of the attack.

        Args:
            batch: the clean images.
            x_adv: adversarial images ``(b, c, h, w)``.
            distance: their distances ``(b,)``; 0 or infinite where there is none.
        """
        if self._group is None:
            return {}
        some = np.flatnonzero((distance.isfinite() & (distance > 0)).cpu().numpy())
        rows = blank_rows(len(batch))
        classifier, size = self.session.classifier, self.session.batch_size
        for part in np.split(some, range(size, len(some), size)):
            if len(part):
                points = (batch.part(part), x_adv[part], distance[part])
                found = loss_at(classifier, *points, self.norm)
                for name, values in found.items():
                    rows[name][part] = values
        return {PREFIX + name: values for name, values in rows.items()}

    def keep(self, indices: NDArray[np.int64], columns: Columns) -> Columns:
        """Write those of ``columns`` that are of this table; the others."""
        own = {name: values for name, values in columns.items() if name.startswith(PREFIX)}
        if own and self._group is not None:
            rows = {name.removeprefix(PREFIX): values for name, values in own.items()}
            self._group.append(indices, rows)
        return {name: values for name, values in columns.items() if name not in own}

    def add_saved(self, attack: AnalysisGroup) -> None:
        """Write the rows that are missing of images whose adversarial images ``attack`` has saved.

        Tables of earlier versions have no evidence beside them.
        """
        if self._group is None or "adversarial" not in attack.columns:
            return
        wanted = self.session.indices
        missing = wanted[attack.computed(wanted) & ~self._group.computed(wanted)]
        size = self.session.batch_size
        for part in np.split(missing, range(size, len(missing), size)):
            if len(part):
                batch = self.session.batch(part)
                x_adv = torch.from_numpy(attack.column("adversarial", part)).to(batch.x)
                distance = torch.from_numpy(attack.column("distance", part))
                self.keep(part, self.columns(batch, x_adv, distance))

    def finish(self, attack: AnalysisGroup) -> None:
        """Mark the table as complete for the images of ``attack``, if it has all their rows."""
        if self._group is None or not attack.complete:
            return
        if not len(self._group.missing(attack.indices)):
            self._group.finish(attack.indices)


def blank_rows(n: int) -> Columns:
    """Rows of ``n`` images without an adversarial image."""
    shape = (n, len(EVIDENCE_LOSSES))
    names = [column.name for column in EVIDENCE.columns if column.trailing]
    return {"distance": np.full(n, np.nan), **{name: np.full(shape, np.nan) for name in names}}


def loss_at(
    classifier: Classifier, batch: Batch, x_adv: Tensor, distance: Tensor, norm: Norm
) -> Columns:
    """Columns of an evidence table for the images ``batch`` with adversarial images ``x_adv``."""
    delta = x_adv - batch.x
    with torch.no_grad():
        there = classifier.twin_logits(x_adv)
    columns: dict[str, list[NDArray[np.float64]]] = {}
    for name in EVIDENCE_LOSSES:
        for column, values in _of_loss(classifier, batch, delta, there, Loss(name), norm).items():
            columns.setdefault(column, []).append(values.double().cpu().numpy())
    found: Columns = {name: np.stack(values, axis=1) for name, values in columns.items()}
    return {"distance": distance.double().cpu().numpy(), **found}


def _of_loss(
    classifier: Classifier, batch: Batch, delta: Tensor, there: Tensor, loss: Loss, norm: Norm
) -> dict[str, Tensor]:
    """What is known about ``loss`` at ``delta``, where the logits are ``there``, ``(b,)`` each."""

    def value(x: Tensor) -> Tensor:
        return loss.of(classifier.twin_logits(x), batch.y)

    before, gradient = value_and_gradient(value, batch.x)
    change = loss.of(there, batch.y) - before
    linear = sums(delta * gradient)
    slope = norm.dual.of(gradient)
    # terms of the size of the logits are subtracted, then the linear term or its largest value
    terms = largest_size(there) + linear.abs() + norm.of(delta) * slope
    return {
        "loss_change": change,
        "residual": change - linear,
        "gradient_norm": slope,
        "floor": rounding_floor(terms),
    }
