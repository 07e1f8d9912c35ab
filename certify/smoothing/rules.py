"""Rules that test the class counts of one image at each interim analysis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from robcert.certify.stats import clopper_pearson_lower, clopper_pearson_upper, two_sided_p_value

from .certificate import (
    runner_up_limit,
    standard_radius,
    threshold,
    top_two,
    two_class_radius,
)
from .sequential import (
    FUTILITY,
    Boundaries,
    Decisions,
    Schedule,
    StopReason,
    decide,
    group_sequential_boundaries,
    open_boundaries,
    union_bound_boundaries,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class TestDecision:
    """Result of the draws of one image so far; valid at any analysis, for any reason to stop.

    Attributes:
        done: no further analysis is needed.
        certified: the class is certified (else: abstain).
        n_used: estimation draws seen.
        radius: certified l2 radius, in the unit of the rule's sigma.
        p_lower: lower limit of the probability of the class.
        p_upper: upper limit of every other class; NaN where the rule does not use it.
        reason: why sampling ended; undefined before.
    """

    done: bool
    certified: bool
    n_used: int
    radius: float
    p_lower: float
    p_upper: float
    reason: StopReason


class Rule(Protocol):
    """A test of the class counts of one image."""

    @property
    def schedule(self) -> Schedule:
        """The analyses and what they spend."""

    def judge(self, counts: Integers, selected: int) -> TestDecision:
        """Result for ``selected`` from ``counts (j, k)``, class counts at the first analyses."""


@dataclass(frozen=True)
class UnionBoundRule:
    """The best Clopper-Pearson limit over the analyses.

    Without radii it runs to the last analysis; with a single analysis that is Cohen's CERTIFY.

    Attributes:
        schedule: analyses and what they spend.
        radii: radii to decide, increasing.
        sigma: standard deviation of the noise, in the unit of the radii.
        open_ended: sampling may continue after the last analysis, which therefore makes no radius
            futile.
    """

    schedule: Schedule
    radii: tuple[float, ...] = ()
    sigma: float = 1.0
    open_ended: bool = False

    @cached_property
    def boundaries(self) -> Boundaries:
        """Counts at which radii are decided."""
        table = open_boundaries if self.open_ended else union_bound_boundaries
        return table(self.schedule, _thresholds(self.radii, self.sigma))

    def judge(self, counts: Integers, selected: int) -> TestDecision:
        """Decision from the limits of all analyses so far."""
        path = counts[:, selected]
        decisions = decide(self.boundaries, path[None])
        p_lower = float(self.limits(path).max())
        return TestDecision(
            done=bool(decisions.stopped[0]),
            certified=p_lower > 0.5,
            n_used=self.schedule.analyses[len(path) - 1],
            radius=self.sigma * standard_radius(p_lower),
            p_lower=p_lower,
            p_upper=NAN,
            reason=_reason(self.schedule, len(self.radii), decisions),
        )

    def limits(self, paths: Integers) -> NDArray[np.float64]:
        """Lower limit at each analysis, for counts ``(..., j)``."""
        seen = paths.shape[-1]
        analyses = np.array(self.schedule.analyses[:seen])
        return clopper_pearson_lower(paths, analyses, np.array(self.schedule.spending[:seen]))


@dataclass(frozen=True)
class GroupSequentialRule:
    """Exact group-sequential boundaries; certifies one of its radii or none.

    Attributes:
        schedule: analyses and what they spend.
        radii: radii to decide, increasing.
        sigma: standard deviation of the noise, in the unit of the radii.
    """

    schedule: Schedule
    radii: tuple[float, ...]
    sigma: float = 1.0

    @cached_property
    def boundaries(self) -> Boundaries:
        """Counts at which radii are decided."""
        return group_sequential_boundaries(self.schedule, _thresholds(self.radii, self.sigma))

    def judge(self, counts: Integers, selected: int) -> TestDecision:
        """Decision: the largest radius whose smaller ones are all certified too."""
        path = counts[:, selected]
        decisions = decide(self.boundaries, path[None])
        passed = int(decisions.passed[0])
        # The radius as given: sigma * (radius / sigma) may be smaller by rounding.
        radius = self.radii[passed - 1] if passed else 0.0
        return TestDecision(
            done=bool(decisions.stopped[0]),
            certified=passed > 0,
            n_used=self.schedule.analyses[len(path) - 1],
            radius=radius,
            p_lower=threshold(radius, sigma=self.sigma) if passed else 0.0,
            p_upper=NAN,
            reason=_reason(self.schedule, len(self.radii), decisions),
        )


@dataclass(frozen=True)
class RunnerUpRule:
    """Two-sided limits: each analysis spends half on the class, half on all others.

    Attributes:
        schedule: analyses and what they spend.
        radii: radii to decide, increasing.
        sigma: standard deviation of the noise, in the unit of the radii.
    """

    schedule: Schedule
    radii: tuple[float, ...] = ()
    sigma: float = 1.0

    def judge(self, counts: Integers, selected: int) -> TestDecision:
        """TestDecision: the best radius over the analyses so far."""
        spending = self.schedule.spending
        limits = [
            _two_limits(now, selected, alpha, n)
            for now, alpha, n in zip(counts, spending, self.schedule.analyses, strict=False)
        ]
        z, p_lower, p_upper = max((two_class_radius(*pair), *pair) for pair in limits)
        radius = self.sigma * z
        at_last = len(counts) == len(spending)
        n_used = self.schedule.analyses[len(counts) - 1]
        attainable = 0.0 if at_last else self._attainable(counts[-1], selected, n_used)
        open_radii = [r for r in self.radii if radius < r <= attainable]
        all_certified = bool(self.radii) and radius >= self.radii[-1]
        return TestDecision(
            done=at_last or (bool(self.radii) and not open_radii),
            certified=z > 0,
            n_used=n_used,
            radius=radius,
            p_lower=p_lower,
            p_upper=p_upper,
            reason=_named_reason(len(spending), at_last=at_last, all_certified=all_certified),
        )

    def _attainable(self, counts: Integers, selected: int, n: int) -> float:
        """Radius at the last analysis under optimistic final counts (a heuristic for futility)."""
        last = self.schedule.last
        other = int(np.delete(counts, selected).max())
        top = min(last, round(clopper_pearson_upper(int(counts[selected]), n, FUTILITY) * last))
        least = round(clopper_pearson_lower(other, n, FUTILITY) * last)
        even_share = max(least, -(-(last - top) // (len(counts) - 1)))  # the rest, equal parts
        alpha = self.schedule.spending[-1] / 2
        return self.sigma * two_class_radius(
            clopper_pearson_lower(top, last, alpha),
            clopper_pearson_upper(min(even_share, last), last, alpha / (len(counts) - 1)),
        )


@dataclass(frozen=True)
class PredictionRule:
    """Cohen's PREDICT at every analysis: two-sided test of the two largest counts.

    Attributes:
        schedule: analyses and what they spend.
    """

    schedule: Schedule

    def judge(self, counts: Integers, selected: int = -1) -> TestDecision:
        """Result at the last analysis given; tests the largest count and ignores ``selected``."""
        first, second = top_two(counts[-1])
        p_value = two_sided_p_value(int(counts[-1, first]), int(counts[-1, second]))
        seen = len(counts)
        certified = p_value <= self.schedule.spending[seen - 1]
        at_last = seen == len(self.schedule.analyses)
        return TestDecision(
            done=certified or at_last,
            certified=certified,
            n_used=self.schedule.analyses[seen - 1],
            radius=0.0,
            p_lower=NAN,
            p_upper=NAN,
            reason=_named_reason(
                len(self.schedule.analyses), at_last=at_last, all_certified=certified
            ),
        )


def _two_limits(counts: Integers, selected: int, alpha: float, n: int) -> tuple[float, float]:
    """Limits from ``n`` draws, of which some may have voted for no class."""
    p_lower = clopper_pearson_lower(int(counts[selected]), n, alpha / 2)
    other = runner_up_limit(counts, selected, alpha=alpha / 2, trials=n)
    return p_lower, min(1 - p_lower, other)


def _thresholds(radii: tuple[float, ...], sigma: float) -> tuple[float, ...]:
    return tuple(threshold(radius, sigma=sigma) for radius in radii)


def _reason(schedule: Schedule, thresholds: int, decisions: Decisions) -> StopReason:
    return _named_reason(
        len(schedule.analyses),
        at_last=int(decisions.analyses[0]) == len(schedule.analyses),
        all_certified=thresholds > 0 and int(decisions.passed[0]) == thresholds,
    )


def _named_reason(analyses: int, *, at_last: bool, all_certified: bool) -> StopReason:
    if analyses == 1:
        return StopReason.FIXED
    if all_certified:
        return StopReason.CERTIFIED
    return StopReason.CAP if at_last else StopReason.FUTILE
