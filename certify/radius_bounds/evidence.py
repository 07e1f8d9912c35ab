"""What the file holds against L, omega, rho and each image's own residuals.

Adversarial images, and the samples of other bounds tables.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.numerics import Loss
from robcert.certify.store import evidence_about

from .radii import epsilon_grid, omega_bound
from .schema import BOUNDS_SAMPLE
from .settings import Margin

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from robcert.certify.store import Evidence, ResultStore

    from .fits import FitSummaries, FitSummary

Columns = dict[str, "NDArray[Any]"]

WITHIN = 1e-6
"""Relative rounding error of radii and gradient norms."""

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


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """What the searches of one bounds table or of its sample found at ``n`` images.

    Attributes:
        images: positions in the data set ``(n,)``.
        epsilons: radii of the searches ``(e,)``, pixel units.
        residual: largest residuals ``(n, e)``; NaN where there was no search.
        excess: largest excesses ``(n, e)``, likewise.
        slope: dual norms of the gradients ``(n,)``.
        curvature: largest eigenvalues of the Hessians ``(n,)``, likewise.
        floor: size below which residuals may be rounding ``(n,)``.
    """

    images: NDArray[np.int64]
    epsilons: NDArray[np.float64]
    residual: NDArray[np.float64]
    excess: NDArray[np.float64]
    slope: NDArray[np.float64]
    curvature: NDArray[np.float64]
    floor: NDArray[np.float64]

    def within(self, epsilon: float) -> NDArray[np.bool_]:
        """The searches within ``epsilon`` ``(e,)``."""
        return np.asarray(self.epsilons <= epsilon * (1 + WITHIN))


def searches(store: ResultStore, settings: dict[str, Any]) -> list[Searched]:
    """What the samples of all bounds tables of the same norm and margin as ``settings`` found.

    Rows of another sample are evidence as adversarial images are: a limit of all images holds at
    theirs too.
    """
    same = ("norm", "margin", "top_k")
    found = []
    for group in store.existing(BOUNDS_SAMPLE.name):
        if any(group.settings.get(name) != settings.get(name) for name in same):
            continue
        rows = group.indices
        rows = rows[group.computed(rows)]
        columns = {name: np.asarray(group.column(name, rows)) for name in group.columns}
        found.append(
            Searched(
                images=columns["index"],
                epsilons=np.array(
                    epsilon_grid(group.settings["epsilon"], group.settings["points"])
                ),
                residual=columns["residual"],
                excess=columns.get("excess", np.full(columns["residual"].shape, np.nan)),
                slope=columns["gradient_norm"],
                curvature=columns.get("curvature", np.full(len(rows), np.nan)),
                floor=columns["floor"],
            )
        )
    return found


def with_refutations(
    fits: FitSummaries,
    images: NDArray[np.int64],
    evidence: list[Evidence],
    searched: list[Searched],
) -> FitSummaries:
    """``fits`` with the numbers of images at which something in the file exceeds each of them.

    Args:
        fits: of a bounds table.
        images: of the file, in the order of ``evidence``.
        evidence: adversarial images.
        searched: samples of the file's bounds tables.
    """

    def above(limit: float, quantity: str, epsilon: float) -> int:
        """Images at which something within the radius shows more than the limit."""
        seen: set[int] = set()
        for one in evidence:
            over = getattr(one, quantity) > limit + one.floor
            seen.update(images[one.within(epsilon) & over].tolist())
        for sample in searched:
            found = getattr(sample, quantity)[:, sample.within(epsilon)]
            seen.update(sample.images[(found > limit + sample.floor[:, None]).any(1)].tolist())
        return len(seen)

    def steeper(limit: float) -> int:
        seen: set[int] = set()
        for one in evidence:
            seen.update(images[one.slope > limit + one.floor / one.distance].tolist())
        for sample in searched:
            seen.update(sample.images[sample.slope > limit * (1 + WITHIN)].tolist())
        return len(seen)

    def more_curved(limit: float) -> int:
        over = [one.images[one.curvature > limit * (1 + WITHIN)].tolist() for one in searched]
        return len(set().union(*over))

    def counted(fit: FitSummary, over: Callable[[float], int]) -> FitSummary:
        return replace(fit, refuted=over(fit.upper), refuted_point=over(fit.point))

    def at(quantity: str, epsilon: float) -> Callable[[float], int]:
        return partial(above, quantity=quantity, epsilon=epsilon)

    return replace(
        fits,
        lipschitz=fits.lipschitz and counted(fits.lipschitz, steeper),
        omega=tuple(replace(w, fit=counted(w.fit, at("residual", w.epsilon))) for w in fits.omega),
        rho=tuple(replace(r, fit=counted(r.fit, at("excess", r.epsilon))) for r in fits.rho),
        curvature=fits.curvature and counted(fits.curvature, more_curved),
    )
