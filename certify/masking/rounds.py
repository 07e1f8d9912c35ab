"""Rounds of further attacks on selected images, while images keep falling.

The robust accuracy under all attacks is an upper limit: where the gradient is hidden, the next
search often breaks another image. If outputs differ between calls, an image falls by the share of
fresh draws that are wrong. Each round has a table of its own, whose rows depend on settings,
number of the round, seed and image; which images it has depends on the rounds before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.store import OF_MODEL

from .attacks import AttackPlan
from .checklist import ATTACKS, WITHOUT_GRADIENT
from .further import further
from .indicators import GRADIENT_FREE_SHARE
from .schema import BY_GRADIENT, ROUND, UNKNOWN
from .shares import excess, misclassified, settled, with_rounds
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

LEAST_GAIN = 1 - 1e-9
"""Images that the last round but one gains at least; of random models, the sum of their shares."""


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
    """Attack the selected images again until a round gains less than one image.

    Nothing happens for a model without gradients, or if the table is not finished.

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
    chosen = needs_rounds(columns)
    left, columns = rows[chosen], {name: values[chosen] for name, values in columns.items()}
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
            return further(plan, number)

        one_round = replace(session, indices=left)
        one_round.fill(table, f"masking check, round {number}", attacked, first=FIRST_BATCH)
        before = misclassified(columns, _ran(columns))
        columns = _after(columns, table, left)
        if (misclassified(columns, _ran(columns)) - before).sum() < LEAST_GAIN:
            return
        stays = ~settled(columns, _ran(columns))
        left, columns = left[stays], {name: values[stays] for name, values in columns.items()}


def needs_rounds(columns: Columns) -> NDArray[np.bool_]:
    """Mask of the images that survive every attack although one that is left may succeed.

    They had the long search; or some image of the table fell to an attack that does not follow the
    model's own gradient but to none that does, so that the gradient is not to be trusted anywhere.
    If outputs differ between calls, images survive on which the best attack leaves more than a
    tenth of the draws right.
    """
    correct = columns["correct"] == 1
    survives = ~settled(columns, _ran(columns))
    misled = excess(columns, (*WITHOUT_GRADIENT, "inner"), BY_GRADIENT)
    nowhere = misled[correct].mean() > GRADIENT_FREE_SHARE if correct.any() else False
    return np.asarray(survives & ((columns["long_search"] != UNKNOWN) | nowhere))


def found_later(
    store: ResultStore, group: AnalysisGroup, rows: NDArray[np.bool_]
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """What the rounds found on ``rows (n,)``.

    The first is 1 where an attack of a round succeeded, 0 where none did, -1 without a round
    ``(n,)``. The second are the shares of fresh draws in two halves, of every round ``(n, r, 2)``;
    NaN where outputs do not differ between calls.
    """
    found = np.full(len(store.indices), UNKNOWN, np.int8)
    shares = []
    check = {name: value for name, value in group.settings.items() if name not in OF_MODEL}
    for table in store.existing(ROUND.name):
        if table.settings["check"] == check and table.seed == group.seed:
            found = np.maximum(found, np.asarray(table.column("broken"), np.int8))
            shares.append(_shares(table)[rows])
    judged = np.stack(shares, 1) if shares else np.empty((int(rows.sum()), 0, 2))
    return found[rows], judged


def _after(columns: Columns, table: AnalysisGroup, left: NDArray[np.int64]) -> Columns:
    """The columns of the images ``left`` after one more round."""
    broken = np.asarray(table.column("broken", left), np.int8)
    before = columns.get("rounds", broken)
    return with_rounds(columns, np.maximum(before, broken), _shares(table, left)[:, None])


def _shares(table: AnalysisGroup, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Shares of wrong draws in a round ``(n, 2)``; rounds of deterministic models may lack them."""
    if "wrong_share" in table.columns:
        return np.asarray(table.column("wrong_share", rows), np.float64)
    return np.full((len(table.column("broken", rows)), 2), np.nan)


def _ran(columns: Columns) -> tuple[str, ...]:
    """The attacks of which there is a column."""
    return tuple(name for name in ATTACKS if name in columns)


def _table(session: Session, settings: MaskingSettings, number: int) -> AnalysisGroup:
    return session.store.group(
        ROUND,
        prefix=f"{settings.norm}-{settings.epsilon:.4g}-round-{number}",
        settings=RoundSettings(settings, number),
        seed=session.seed,
        sizes={"half": 2},
    )
