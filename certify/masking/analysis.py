"""`robcert masking-check`: whether the gradient-based numbers of a model are meaningful."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from .checklist import slope_mismatch
from .evidence import evidence
from .images import save_pictures
from .rounds import further_rounds
from .schema import MASKING
from .settings import MaskingSettings, axes
from .sources import Sources
from .views import as_checked, scores_inside

if TYPE_CHECKING:
    from robcert.certify.model import Classifier, ModelInfo
    from robcert.certify.session import Session
    from robcert.certify.store import AnalysisGroup

FIRST_BATCH = 16
"""Images in the first batch: where a model keeps searches busy, images take seconds each."""


def analyse(
    session: Session, settings: MaskingSettings, *, sources: tuple[Classifier, ...] | None = None
) -> str:
    """Path of the masking table, filled in for the session's images.

    Args:
        session: model, images, results file.
        settings: settings of the check; ``sources`` is set here.
        sources: source models of transfer attacks; None for the bundled ones that fit or, if none
            does, a surrogate trained here.

    Raises:
        DataError: a source model has another input shape or number of classes.
    """
    session = replace(session, classifier=as_checked(session.classifier))
    classifier, images = session.classifier, session.images
    chosen = (
        Sources.by_default(classifier, images, settings) if sources is None else Sources.of(sources)
    )
    settings = replace(settings, sources=chosen.names)
    group = _table(session, settings)

    @cache
    def models() -> tuple[Classifier, ...]:
        return chosen.ready(classifier, images, settings, seed=session.seed)

    session.fill(
        group,
        "masking check",
        lambda batch: evidence(
            classifier,
            batch,
            settings,
            seed=session.seed,
            sources=models(),
            progress=session.progress,
        ),
        first=FIRST_BATCH,
        before=models,
    )
    further_rounds(session, group, settings, models)
    save_pictures(session, group, settings, models)
    return group.path


def _table(session: Session, settings: MaskingSettings) -> AnalysisGroup:
    """The table of these settings, new or resumed, with the properties of the model."""
    group = session.store.group(
        MASKING,
        prefix=f"{settings.norm}-{settings.epsilon:.4g}",
        settings=settings,
        seed=session.seed,
        sizes=axes(settings),
    )
    info, twin = session.classifier.info, session.classifier.twin
    inside = None if twin is None else scores_inside(twin)
    group.set_attributes(
        inside_own_slopes=inside is not None and inside.own_slopes,
        hint_nodes=list(map(str, info.hint_nodes)),
        straight_through=list(map(str, info.straight_through)),
        disagreement=_disagreement(info),
        slope_mismatch=slope_mismatch(info),
    )
    return group


def _disagreement(info: ModelInfo) -> float | None:
    """Share of images with different classes in twin and runtime; None for a random model."""
    if info.parity is None or info.random:
        return None
    return 1 - info.parity.top1_agreement
