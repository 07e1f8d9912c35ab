"""`robcert masking-check`: are the gradient-based numbers of this model meaningful?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .checklist import slope_mismatch
from .evidence import evidence
from .images import save_pictures
from .schema import MASKING
from .settings import MaskingSettings, axes
from .sources import Sources
from .views import as_checked

if TYPE_CHECKING:
    from robcert.certify.model import Classifier, ModelInfo
    from robcert.certify.session import Session


def analyse(
    session: Session, settings: MaskingSettings, *, sources: tuple[Classifier, ...] | None = None
) -> str:
    """Fill the masking table for the session's images; return its path in the file.

    Args:
        session: model, images, results file.
        settings: of the check; its ``sources`` are filled in here.
        sources: models whose adversarial images are tried; None for bundled ones that fit, else a
            surrogate that is distilled here.

    Raises:
        DataError: a source takes other images or has other classes.
    """
    session = replace(session, classifier=as_checked(session.classifier))
    classifier, images = session.classifier, session.images
    chosen = (
        Sources.by_default(classifier, images, settings) if sources is None else Sources.of(sources)
    )
    settings = replace(settings, sources=chosen.names)
    group = session.store.group(
        MASKING,
        prefix=f"{settings.norm}-{settings.epsilon:.4g}",
        settings=settings,
        seed=session.seed,
        sizes=axes(settings),
    )
    info = classifier.info
    group.set_attributes(
        hint_nodes=list(info.hint_nodes),
        straight_through=list(info.straight_through),
        disagreement=_disagreement(info),
        slope_mismatch=slope_mismatch(info),
    )
    models: tuple[Classifier, ...] = ()
    if len(group.missing(session.indices)) and not session.out_of_time:
        models = chosen.ready(classifier, images, settings, seed=session.seed)
    session.fill(
        group,
        "masking check",
        lambda batch: evidence(classifier, batch, settings, seed=session.seed, sources=models),
    )
    save_pictures(session, group, settings, sources=models)
    return group.path


def _disagreement(info: ModelInfo) -> float | None:
    """Share of images that twin and runtime see differently; None where each draws for itself."""
    if info.parity is None or info.random:
        return None
    return 1 - info.parity.top1_agreement
