"""`robcert linearity`: largest deviation of the loss from its tangent within epsilon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.core import Norm
from robcert.certify.model import require_gradients
from robcert.certify.numerics import Loss

from .deviation import finite_tangent
from .schema import LINEARITY

if TYPE_CHECKING:
    from robcert.certify.core import Batch
    from robcert.certify.model import Classifier
    from robcert.certify.session import Columns, Session

    from .settings import LinearitySettings

STREAM = "linearity"


def analyse(session: Session, settings: LinearitySettings) -> str:
    """Path of the table with each image's local linearity; existing rows are kept.

    Raises:
        TwinUnavailableError: the model has no twin.
    """
    require_gradients(session.classifier)
    group = session.store.group(
        LINEARITY,
        prefix=f"{settings.norm}-{settings.epsilon:.4g}-{settings.loss}",
        settings=settings,
        seed=session.seed,
    )
    group.set_attributes(
        gradient_passes=settings.gradient_passes,
        straight_through=bool(session.classifier.info.straight_through),
    )
    session.fill(
        group,
        f"linearity at {settings.epsilon:.4g}",
        lambda batch: _rows(session.classifier, batch, settings, session.seed),
    )
    return group.path


def _rows(classifier: Classifier, batch: Batch, settings: LinearitySettings, seed: int) -> Columns:
    tangents = finite_tangent(classifier, batch.x, batch.y, Loss(settings.loss))
    found = settings.search.largest(
        tangents, batch, epsilon=settings.epsilon, seed=seed, stream=STREAM
    )
    linear = tangents.linear_term(found.delta)
    rows = {
        "gamma": found.value,
        "gamma_last": found.last,
        "linear_term": linear.abs(),
        "loss_change": tangents.change(found.delta).abs(),
        "loss": tangents.value,
        "gradient_dual_norm": Norm(settings.norm).dual.of(tangents.gradient),
        "best_restart": found.restart,
        "floor": tangents.floor(found.delta),
    }
    return {name: values.detach().cpu().numpy() for name, values in rows.items()}
