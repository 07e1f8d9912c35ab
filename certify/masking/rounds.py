"""Rounds of further attacks on selected images, while images keep falling.

The robust accuracy under all attacks is an upper limit: where the gradient is hidden, the next
search often breaks another image. Each round has a table of its own, whose rows depend on settings,
number of the round, seed and image; which images it has depends on the rounds before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.store import OF_MODEL

from .attacks import AttackPlan
from .checklist import ATTACKS, WITHOUT_GRADIENT
from .indicators import GRADIENT_FREE_SHARE
from .schema import BY_GRADIENT, ROUND
from .shares import broken_by
from .stage_sources import stage_sources

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from robcert.certify.core import Batch
    from robcert.certify.model import Classifier
    from robcert.certify.session import Columns, Session
    from robcert.certify.store import AnalysisGroup, ResultStore

    from .settings import MaskingSettings

FIRST_BATCH = 16
"""Images in the first batch of a round."""


@dataclass(frozen=True, slots=True)
class RoundSettings:
    """What the rows of a round depend on.

    Attributes:
        check: settings of the check.
        number: number of the round, from 1.
    """

    check: MaskingSettings
    number: int


def further_rounds(
    session: Session,
    group: AnalysisGroup,
    settings: MaskingSettings,
    sources: Callable[[], tuple[Classifier, ...]],
) -> None:
    """Attack the selected images again until a round breaks none of them.

    Nothing happens for a model without gradients or with random outputs, or if the table is not
    finished.

    Args:
        session: model, images, results file.
        group: finished table of the check.
        settings: its settings.
        sources: makes the source models of transfer attacks.
    """
    classifier, rows = session.classifier, group.indices
    if not (group.complete and classifier.differentiable) or not settings.rounds:
        return
    columns = {name: group.column(name, rows) for name in group.columns}
    if (columns["answers_differ"] == 1).any() or classifier.info.random:
        return
    left = rows[needs_rounds(columns)]
    models: tuple[Classifier, ...] = ()
    for number in range(1, settings.rounds + 1):
        if not len(left) or session.out_of_time:
            return
        table = _table(session, settings, number)
        if len(table.missing(left)) and not models:
            models = (*stage_sources(classifier, session.images), *sources())

        def attacked(
            batch: Batch, number: int = number, models: tuple[Classifier, ...] = models
        ) -> Columns:
            plan = AttackPlan.on(classifier, batch, settings, session.seed, models)
            return {"broken": plan.further(number).found.to("cpu").numpy().astype(np.int8)}

        one_round = replace(session, indices=left)
        one_round.fill(table, f"masking check, round {number}", attacked, first=FIRST_BATCH)
        fell = np.asarray(table.column("broken", left)) == 1
        if not fell.any():
            return
        left = left[~fell]


def needs_rounds(columns: Columns) -> NDArray[np.bool_]:
    """Mask of the images that survive every attack although one that is left may succeed.

    They had the long search; or some image of the table fell to an attack that does not follow the
    model's own gradient but to none that does, so that the gradient is not to be trusted anywhere.
    """
    correct = columns["correct"] == 1
    survives = correct & ~broken_by(columns, tuple(name for name in ATTACKS if name in columns))
    misled = broken_by(columns, (*WITHOUT_GRADIENT, "inner")) & ~broken_by(columns, BY_GRADIENT)
    nowhere = misled[correct].mean() > GRADIENT_FREE_SHARE if correct.any() else False
    return np.asarray(survives & ((columns["long_search"] == 0) | nowhere))


def broken_later(
    store: ResultStore, group: AnalysisGroup, rows: NDArray[np.bool_]
) -> NDArray[np.int8]:
    """1 where an attack of a round succeeded, 0 where none did, -1 without a round ``(n,)``."""
    found = np.full(len(store.indices), -1, np.int8)
    check = {name: value for name, value in group.settings.items() if name not in OF_MODEL}
    for table in store.existing(ROUND.name):
        if table.settings["check"] == check and table.seed == group.seed:
            found = np.maximum(found, np.asarray(table.column("broken"), np.int8))
    return found[rows]


def _table(session: Session, settings: MaskingSettings, number: int) -> AnalysisGroup:
    return session.store.group(
        ROUND,
        prefix=f"{settings.norm}-{settings.epsilon:.4g}-round-{number}",
        settings=RoundSettings(settings, number),
        seed=session.seed,
    )
