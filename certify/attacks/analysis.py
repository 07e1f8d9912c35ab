"""`robcert attack`: the smallest distance at which an adversarial example was found."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from robcert.certify.core import Norm
from robcert.certify.errors import require_positive

from . import suites
from .evidence import EvidenceTable
from .examples import save_examples
from .per_attack import merge, search_each
from .schema import ATTACK
from .search.state import SearchState, adversarial
from .settings import AttackSettings
from .suites import BUDGETS
from .summary import AttackSummary, RobustAccuracy, summarise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from robcert.certify.core import Batch
    from robcert.certify.session import Columns, Session
    from robcert.certify.store import AnalysisGroup

    from .search.budget import AttackBudget

__all__ = ["AttackSettings", "AttackSummary", "RobustAccuracy", "analyse", "summarise"]

HEADLINE = {Norm.LINF: 8 / 255, Norm.L2: 0.5, Norm.L1: 12.0}
"""Radius whose robust accuracy a summary states first, pixel units."""

GRID = (0.125, 0.25, 0.5, 1.0, 2.0)
"""Radii of a summary where none are given, in units of the headline radius."""

IMAGES_AT_ONCE = 2
"""Images per call of the search, in active batches: a finished image is replaced by the next."""


def analyse(session: Session, settings: AttackSettings, *, epsilons: Sequence[float] = ()) -> str:
    """Path of the table with each image's nearest adversarial image.

    Rows that already exist are kept. ``epsilons`` are radii of the summary, pixel units; the first
    is the headline's radius, without any it is the default of the norm. Attacks at a radius search
    within each of them first, so that the summary is never above what the same attacks give when
    held to that radius. Where no attack has a radius they change no row, and those of earlier runs
    are kept.

    Raises:
        InvalidParameterError: an attack does not exist, or does not fit the model or the norm.
    """
    for epsilon in epsilons:
        require_positive("epsilon", epsilon)
    classifier = session.classifier
    names = suites.attacks_of(
        settings.suite,
        settings.attacks,
        settings.norm,
        differentiable=classifier.differentiable,
    )
    if suites.without_radius(names) == names:
        settings = replace(settings, epsilons=(), reported=())  # they would change no row
    elif not settings.epsilons:
        given = {*epsilons, *settings.reported} or default_epsilons(settings.norm)
        settings = replace(settings, reported=tuple(sorted(given)))
    prefix = f"{settings.norm}-{'+'.join(settings.attacks[:4]) or settings.suite}"
    group = session.store.group(
        ATTACK,
        prefix=prefix,
        settings=settings,
        seed=session.seed,
        sizes=_sizes(classifier.image_shape, names, settings),
    )
    _note(group, names, settings, epsilons, differentiable=classifier.differentiable)
    evidence = EvidenceTable(session, settings.norm, prefix=prefix, settings=settings)
    active_batch_size, session.batch_size = session.batch_size, session.batch_size * IMAGES_AT_ONCE
    try:
        session.fill(
            group,
            "attack",
            lambda batch: _rows(session, batch, settings, names, active_batch_size, evidence),
            keep=evidence.keep,
        )
    finally:
        session.batch_size = active_batch_size
    evidence.add_saved(group)
    evidence.finish(group)
    if settings.save_images:
        save_examples(session, group)
    return group.path


def _sizes(
    shape: tuple[int, int, int], names: tuple[str, ...], settings: AttackSettings
) -> dict[str, int]:
    """Lengths of the axes of the columns that these settings ask for."""
    images = dict(zip(("channel", "height", "width"), shape, strict=True))
    each = {"attack": len(names)}
    return (images if settings.save_images else {}) | (each if settings.per_attack else {})


def default_epsilons(norm: Norm) -> tuple[float, ...]:
    """Radii of a summary where none are given, pixel units."""
    return tuple(HEADLINE[norm] * share for share in GRID)


def _note(
    group: AnalysisGroup,
    names: tuple[str, ...],
    settings: AttackSettings,
    epsilons: Sequence[float],
    *,
    differentiable: bool,
) -> None:
    """Store what a summary needs in addition to the rows."""
    wanted = tuple(epsilons) or settings.reported or default_epsilons(settings.norm)
    group.set_attributes(
        attacks=list(names),
        epsilons=sorted({*group.attribute("epsilons", []), *wanted}),
        headline_epsilon=epsilons[0] if epsilons else HEADLINE[settings.norm],
        gradient_free=not differentiable,
    )


def _budget(settings: AttackSettings) -> AttackBudget:
    budget = BUDGETS[settings.suite]
    return replace(
        budget,
        restarts=settings.restarts or budget.restarts,
        epsilons=settings.epsilons,
        early_stopping=settings.early_stopping,
        given_restarts=settings.restarts,
        near=math.inf if settings.attacks or settings.per_attack else budget.near,
    )


def _rows(
    session: Session,
    batch: Batch,
    settings: AttackSettings,
    names: tuple[str, ...],
    active_batch_size: int,
    evidence: EvidenceTable,
) -> Columns:
    def begin() -> SearchState:
        return SearchState(
            session.classifier, batch, settings.norm, session.seed, active_batch_size
        )

    budget, radii = _budget(settings), (*settings.epsilons, *settings.reported)
    own: Columns = {}
    if settings.per_attack:
        states = search_each(begin, names, budget, reported=settings.reported)
        found = [_distances(one, radii) for one in states]
        own["distance_per_attack"] = np.stack(found, axis=1)
        state = merge(states)
    else:
        state = begin()
        suites.run(state, names, budget, reported=settings.reported)
    rows: Columns = {
        **evidence.columns(batch, state.x_adv, state.distance),
        **own,
        "distance": _distances(state, radii),
        "success": state.distance.isfinite().cpu().numpy().astype(np.int8),
        "prediction": state.prediction.cpu().numpy().astype(np.int32),
        "attack": np.array([names.index(n) if n else -1 for n in state.attack_names], np.int16),
        "n_forward": state.n_forward.cpu().numpy(),
        "n_backward": state.n_backward.cpu().numpy(),
        "lost_in_runtime": state.n_lost.clamp_max(32767).cpu().numpy().astype(np.int16),
        "target_distance": state.target_distance.cpu().numpy(),
        "eight_bit": _after_rounding(state) if settings.round_8_bit else np.full(len(batch), -1),
    }
    if settings.save_images:
        rows["adversarial"] = state.x_adv.cpu().numpy()
    return rows


def _distances(state: SearchState, radii: tuple[float, ...]) -> NDArray[np.float64]:
    """Distances; one that exceeds a searched radius by rounding of pixels alone is that radius."""
    distance = state.distance.clone()
    for radius in radii:
        limit = torch.full_like(distance, radius)
        distance = torch.where(state.within(limit), distance.minimum(limit), distance)
    return distance.cpu().numpy()


def _after_rounding(state: SearchState) -> NDArray[np.int8]:
    """1 where the nearest image is still adversarial after rounding to 8 bits, else 0; -1: none."""
    survives = np.full(len(state.batch), -1, np.int8)
    found = state.correct[state.distance[state.correct].isfinite()]
    rounded = (state.x_adv * 255).round() / 255
    for row in found.tolist():
        logits = state.logits(found[found == row], rounded[row : row + 1])
        survives[row] = bool(adversarial(logits, state.y(found[found == row])))
    return survives
