"""Settings of randomized smoothing, their statistical design, and the guarantee in words."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from robcert.certify.errors import (
    InvalidParameterError,
    require_at_least,
    require_open_unit,
    require_positive,
)
from robcert.certify.numerics import NOISE_BLOCK
from robcert.certify.stats import clopper_pearson_lower, clopper_pearson_upper

from .certificate import largest_radius, standard_radius
from .precision import Precision
from .rules import GroupSequentialRule, PredictionRule, Rule, RunnerUpRule, UnionBoundRule
from .sequential import (
    FUTILITY,
    Schedule,
    equal_spending,
    geometric_analyses,
    half_spending,
    open_ended_analyses,
    open_spending,
)
from .undefined import RULE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robcert.certify.core import Profile


DEFAULT_RADII = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
TWO_STAGE_RATIO = 1.1
UNIT_OF_RADII = "unit_of_radii"
"""Entry of the stored settings of exact designs, see `SmoothingSettings.stored`."""

_DESIGNS = (
    "the designs of --design are sequential (mode grid), group-sequential (and exact), runner-up "
    "(and runner_up), open-ended (and open_ended), two-stage (mode radius), cohen (mode cohen) and "
    "cohen-runner-up (and runner_up)"
)


class Mode(StrEnum):
    """How the number of draws per image is chosen."""

    GRID = "grid"  # until each radius of the grid is decided
    RADIUS = "radius"  # a pilot chooses it, for a radius near that of all n draws
    COHEN = "cohen"  # all n, as in the paper


@dataclass(frozen=True, slots=True)
class SmoothingSettings:
    """Everything that changes a certificate.

    Attributes:
        sigma: standard deviation of the noise, in pixel units of [0, 1]; never clipped.
        n0: draws that choose the class.
        n: most draws that certify it.
        alpha: probability that a certificate is wrong, for each image separately.
        mode: how the number of draws per image is chosen; with ``exact``, ``runner_up`` and
            ``open_ended`` it is what `--design` names.
        radii: l2 radii that sequential designs decide, in pixel units.
        exact: exact group-sequential boundaries; radii of the grid only, fewer draws.
        runner_up: limits on both sides, so that p_B may be less than 1 - p_A.
        label_mode: test the label itself; certified accuracy only.
        open_ended: spend alpha so that runs with larger n may follow; n is rounded up to the next
            interim analysis of one infinite sequence, which all of them share.
        tolerance: relative loss of radius that the two-stage design accepts on average.
        pilot: draws of its first stage, which also select the class.
        family: images that share alpha; 1 for a statement about each image separately.
        precision: number format of the model; each precision is a different function.
        undefined: what a draw without a class (NaN scores) counts for.
    """

    sigma: float = 0.25
    n0: int = 100
    n: int = 100_000
    alpha: float = 0.001
    mode: Mode = Mode.GRID
    radii: tuple[float, ...] = DEFAULT_RADII
    exact: bool = False
    runner_up: bool = False
    label_mode: bool = False
    open_ended: bool = False
    tolerance: float = 0.01
    pilot: int = 1000
    family: int = 1
    precision: Precision = Precision.FLOAT32
    undefined: str = RULE

    @classmethod
    def of_profile(cls, profile: Profile) -> Self:
        """Settings of a profile; fields that it does not change keep their defaults."""
        changed = {
            "quick": cls(n=2000, radii=(0.25, 0.5)),
        }
        return changed.get(profile, cls())

    def __post_init__(self) -> None:
        require_positive("sigma", self.sigma)
        require_open_unit("alpha", self.alpha)
        require_open_unit("tolerance", self.tolerance)
        for name in ("n0", "n", "pilot", "family"):
            require_at_least(name, getattr(self, name), 1)
        if self.mode is not Mode.GRID and (self.exact or self.label_mode or self.open_ended):
            message = (
                "group-sequential and open-ended designs and the label mode decide a grid of "
                f"radii: exact, open_ended and label_mode need mode grid, got {self.mode}"
            )
            raise InvalidParameterError(message, hint=_DESIGNS)
        if self.exact and (self.runner_up or self.open_ended):
            message = (
                "a group-sequential design tests one class and has a fixed last interim analysis: "
                "exact excludes runner_up and open_ended"
            )
            raise InvalidParameterError(message, hint=_DESIGNS)
        if self.runner_up and (self.open_ended or self.mode is Mode.RADIUS):
            message = (
                "the limit of the runner-up needs a sequential or cohen design with a fixed last "
                "interim analysis: runner_up excludes open_ended and mode radius"
            )
            raise InvalidParameterError(message, hint=_DESIGNS)
        if not all(a < b for a, b in zip((-1.0, *self.radii), self.radii, strict=False)):
            message = f"radii must be at least 0 and increase, got {self.radii}"
            raise InvalidParameterError(message)
        if not self.radii or not self.radii[0] >= 0:
            message = f"radii must hold at least one radius of at least 0, got {self.radii}"
            raise InvalidParameterError(message)

    def stored(self) -> dict[str, object]:
        """The settings as results files hold them.

        Exact designs hold one more entry, so that no new row joins those of earlier versions,
        whose radii of the grid may be too small by rounding.
        """
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**values, UNIT_OF_RADII: "pixel"} if self.exact else values

    @property
    def image_alpha(self) -> float:
        """Error probability of one image."""
        return self.alpha / self.family


def schedule(settings: SmoothingSettings) -> Schedule:
    """Interim analyses (whole noise blocks) and spending; a single one unless sequential."""
    alpha = settings.image_alpha
    if settings.mode is not Mode.GRID:
        return Schedule((settings.n,), (alpha,))
    if settings.open_ended:
        return open_spending(open_ended_analyses(settings.n, block=NOISE_BLOCK), alpha)
    return half_spending(geometric_analyses(settings.n, block=NOISE_BLOCK), alpha)


def attainable_radii(settings: SmoothingSettings) -> tuple[float, ...]:
    """Radii of the grid that n unanimous draws would certify."""
    plan = schedule(settings)
    side = 2 if settings.runner_up else 1
    limit = largest_radius(plan.last, sigma=settings.sigma, alpha=plan.spending[-1] / side)
    if settings.exact:
        table = GroupSequentialRule(plan, settings.radii, settings.sigma).boundaries.accept
        return tuple(
            r for r, row in zip(settings.radii, table, strict=True) if row[-1] <= plan.last
        )
    return tuple(radius for radius in settings.radii if radius <= limit)


def certification_rule(
    settings: SmoothingSettings,
) -> UnionBoundRule | GroupSequentialRule | RunnerUpRule:
    """The rule of the sequential designs and of cohen.

    A grid without an attainable radius is replaced by the radius 0, which tests the class itself.
    """
    plan, sigma = schedule(settings), settings.sigma
    radii = () if settings.mode is Mode.COHEN else attainable_radii(settings) or (0.0,)
    if settings.exact:
        return GroupSequentialRule(plan, radii, sigma)
    if settings.runner_up:
        return RunnerUpRule(plan, radii, sigma)
    return UnionBoundRule(plan, radii, sigma, open_ended=settings.open_ended)


def two_stage_rule(settings: SmoothingSettings, pilot: NDArray[np.int64]) -> Rule:
    """Rule with one analysis, at the smallest n whose expected radius is near that of all draws.

    n depends on the pilot alone, so the fresh draws may spend all of alpha at once
    (after Chen et al. 2022, Input-specific robustness certification).

    Args:
        settings: of the run.
        pilot: class counts of the pilot ``(k,)``.
    """
    alpha, last = settings.image_alpha, settings.n
    top, n0 = int(pilot.max()), settings.pilot  # draws without a class count as draws

    def expected(n: int) -> float:
        return standard_radius(clopper_pearson_lower(top * n // n0, n, alpha))

    goal = (1 - settings.tolerance) * expected(last)
    n = min(n0, last)
    if goal > 0:
        while n < last and expected(n) < goal:
            n = min(last, max(n + 1, int(n * TWO_STAGE_RATIO)))
    elif clopper_pearson_upper(top, n0, FUTILITY) > 0.5:  # the class may still have a majority
        n = last
    return UnionBoundRule(Schedule((n,), (alpha,)), sigma=settings.sigma)


def prediction_rule(*, n: int, alpha: float) -> PredictionRule:
    """Sequential PREDICT with equal spending, which suits it best."""
    return PredictionRule(equal_spending(geometric_analyses(n, block=NOISE_BLOCK), alpha))


def guarantee(settings: SmoothingSettings) -> str:
    """The guarantee of the certificates, in one sentence."""
    scope = "For each image separately"
    if settings.family > 1:
        scope = f"For all {settings.family} images together"
    analyses = schedule(settings).analyses
    stop = (
        f", at whichever of the {len(analyses)} planned interim analyses sampling stopped"
        if len(analyses) > 1
        else ""
    )
    model, itself = "the model", "the model itself"
    if settings.precision is not Precision.FLOAT32:
        model = f"the model computed in {settings.precision}, which is a different function"
        itself = f"the model itself, nor for the model in {Precision.FLOAT32}"
    return (
        f"{scope}, with probability at least {1 - settings.alpha:g} over the noise that robcert "
        "drew, the given class is the one that the smoothed classifier returns at every input "
        f"closer to the image than the given l2 radius{stop}. The smoothed classifier is {model} "
        f"under unclipped Gaussian noise of σ = {settings.sigma:g} in pixel units. The guarantee "
        f"holds in real arithmetic, for the smoothed classifier and not for {itself}."
    )
