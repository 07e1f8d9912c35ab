"""Adversarial images of the file as evidence about L, omega, rho and each image's own residuals."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.numerics import Loss
from robcert.certify.store import evidence_about

from .radii import omega_bound
from .settings import Margin

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from robcert.certify.store import Evidence, ResultStore

    from .fits import FitSummaries, FitSummary

Columns = dict[str, "NDArray[Any]"]

OWN = {"gamma_bound": "gamma_upper", "rho_own_bound": "rho_own"}
"""Radii from an image's own search, and the column of what the search found."""


def known_evidence(
    store: ResultStore, settings: dict[str, Any], indices: NDArray[np.int64] | None = None
) -> list[Evidence]:
    """What adversarial images say about the bounded margin; nothing if it is a top-k margin."""
    if settings.get("top_k", 1) > 1:
        return []
    margins = {Margin.LOGIT: Loss.MARGIN, Margin.PROBABILITY: Loss.PROBABILITY_MARGIN}
    loss = margins[Margin(settings["margin"])]
    return list(evidence_about(store, norm=settings["norm"], loss=loss, indices=indices))


def lowered_radii(
    evidence: list[Evidence], columns: Columns, epsilons: list[float]
) -> dict[str, NDArray[np.float64]]:
    """The gamma-bound and the rho-bound of own rho, from the larger of search and evidence.

    Args:
        evidence: about the images of ``columns``.
        columns: a bounds table.
        epsilons: its grid.
    """
    lowered = {}
    for name, column in OWN.items():
        if name not in columns or column not in columns or not epsilons:
            continue
        own = np.asarray(columns[column], dtype=np.float64)
        for one in evidence:
            shown = one.residual if name == "gamma_bound" else one.excess
            inside = np.stack([one.within(epsilon) for epsilon in epsilons], axis=1)
            seen = np.where(inside, shown[:, None], -np.inf)
            own = np.where(np.isnan(own), own, np.fmax(own, seen))
        radii, _ = omega_bound(
            columns["loss"], columns["gradient_norm"], epsilons=tuple(epsilons), omegas=own
        )
        lowered[name] = np.minimum(columns[name], radii)
    return lowered


def with_refutations(fits: FitSummaries, evidence: list[Evidence]) -> FitSummaries:
    """``fits`` with the numbers of images at which an adversarial image exceeds each of them."""

    def above(limit: float, quantity: str, epsilon: float) -> int:
        """Images at which something within the radius shows more than the limit."""
        found = [
            one.within(epsilon) & (getattr(one, quantity) > limit + one.floor) for one in evidence
        ]
        return int(np.logical_or.reduce(found).sum()) if found else 0

    def steeper(limit: float) -> int:
        found = [one.slope > limit + one.floor / one.distance for one in evidence]
        return int(np.logical_or.reduce(found).sum()) if found else 0

    def counted(fit: FitSummary, over: Callable[[float], int]) -> FitSummary:
        return replace(fit, refuted=over(fit.upper), refuted_point=over(fit.point))

    def at(quantity: str, epsilon: float) -> Callable[[float], int]:
        return partial(above, quantity=quantity, epsilon=epsilon)

    first = fits.lipschitz
    return replace(
        fits,
        lipschitz=first and counted(first, steeper),
        omega=tuple(replace(w, fit=counted(w.fit, at("residual", w.epsilon))) for w in fits.omega),
        rho=tuple(replace(r, fit=counted(r.fit, at("excess", r.epsilon))) for r in fits.rho),
    )
