"""Upper limits of a supremum from block maxima: a statistical estimate, never a certificate.

The largest values of disjoint random blocks follow, for large blocks, a generalised extreme-value
law (Fisher-Tippett-Gnedenko). The quantity of interest is its upper quantile, reported with a
one-sided profile-likelihood limit; the point estimate alone is below the truth about half the
time. CLEVER (Weng et al. 2018, arXiv:1801.10578) takes the endpoint of a reverse Weibull law
instead; Finlay & Oberman 2019 (arXiv:1905.11468) the quantile exceeded with probability 0.001.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.errors import InvalidParameterError, require_open_unit

from .gev import Array, l_moments
from .gev_fit import SHAPE_BOX, Likelihood, maximum_likelihood, minimise, start_values
from .gev_limits import goodness_of_fit, quantile_limit, shape_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_BLOCKS = 30
"""Fewer block maxima are not fitted."""

SMALL_BLOCK = 50
"""Below this block size the law of maxima is far from its limit, and more blocks do not help."""

_NAN = float("nan")
_TIE = 1e-6  # relative: maxima nearer than this are one value
_PENALISED = Likelihood()
_REVERSE_WEIBULL = Likelihood(penalty_sd=float("inf"), box=(SHAPE_BOX[0], -0.02))


class Method(StrEnum):
    """How a supremum is read off block maxima."""

    GEV = "gev"
    REVERSE_WEIBULL = "reverse-weibull"
    MAX = "max"


class Status(StrEnum):
    """What became of a fit."""

    OK = "ok"
    DEGENERATE = "degenerate"  # most block maxima are the largest one: the value itself
    ATOM = "atom"  # many equal maxima: no continuous law fits
    INSUFFICIENT = "insufficient"  # too few blocks
    FAILED = "failed"  # no maximum of the likelihood, or a limit below the sample's largest value
    MAX = "max"  # the plain maximum was requested
    INVALID = "invalid"  # gradients vanish: the numbers are meaningless

    @property
    def estimates(self) -> bool:
        """Whether there is a point estimate of the supremum; else only a largest value seen."""
        return self not in (Status.ATOM, Status.INSUFFICIENT, Status.FAILED)

    @property
    def limits(self) -> bool:
        """Whether there is an upper limit of the supremum."""
        return self.estimates and self is not Status.MAX


@dataclass(frozen=True, slots=True)
class SupremumEstimator:
    """How a supremum is estimated from block maxima.

    Attributes:
        method: law that is fitted, or the plain maximum.
        exceedance: probability that a *block* maximum exceeds the quantile.
        level: confidence level of the upper limit.
    """

    method: Method = Method.GEV
    exceedance: float = 0.001
    level: float = 0.95

    def __post_init__(self) -> None:
        require_open_unit("exceedance", self.exceedance)
        require_open_unit("level", self.level)


DEFAULT_ESTIMATOR = SupremumEstimator()


@dataclass(frozen=True, slots=True)
class ExtremeValueFit:
    """What block maxima say about the supremum.

    Attributes:
        point: the quantile exceeded by a block maximum with probability ``exceedance`` (GEV) or
            the endpoint (reverse Weibull), never below ``max``; ``max`` if that was requested; NaN
            where nothing could be fitted.
        upper: its one-sided upper limit at ``level``, never below ``max``; NaN where nothing was
            fitted, because a largest value seen is no limit, and where the law's limit is below
            ``max``: then the sample refutes the law.
        max: largest value seen.
        shape: xi, NaN where nothing was fitted; likewise scale and location.
        shape_lower: profile limit of xi at ``level``, one-sided; likewise ``shape_upper``.
        endpoint: location - scale / shape if xi < 0, else infinite.
        gof_p: parametric-bootstrap Anderson-Darling p-value.
        wilks: at ``level`` confidence at most this share of inputs exceeds ``max``; needs no law.
        blocks: number of blocks; ``block_size`` inputs each.
        ties: share of the blocks whose maximum equals the largest.
        half_points: quantiles from the first and from the second half of the blocks.
        found_by: "newton", "simplex", "l-moments" or "max".
    """

    point: float
    upper: float
    max: float
    status: Status
    method: Method
    blocks: int
    block_size: int
    exceedance: float
    level: float
    wilks: float
    shape: float = _NAN
    shape_lower: float = _NAN
    shape_upper: float = _NAN
    scale: float = _NAN
    location: float = _NAN
    endpoint: float = _NAN
    gof_p: float = _NAN
    ties: float = _NAN
    half_points: tuple[float, float] = (_NAN, _NAN)
    found_by: str = "max"
    flags: tuple[str, ...] = ()


def wilks_share(n: int, level: float) -> float:
    """Share of inputs that may exceed the largest of ``n`` independent ones, with confidence.

    With probability ``level`` at most :math:`1 - (1 - level)^{1/n}` (Wilks 1941).

    >>> round(1e4 * wilks_share(10_000, 0.95), 3)
    2.995
    """
    return -float(np.expm1(np.log1p(-level) / n))


def fit_extremes(
    maxima: NDArray[np.floating],
    estimator: SupremumEstimator = DEFAULT_ESTIMATOR,
    *,
    block_size: int,
    seed: int = 0,
    resolution: float = 0.0,
    bootstrap: int = 199,
) -> ExtremeValueFit:
    """Estimate of the supremum from block maxima ``(n,)`` of disjoint independent blocks.

    Args:
        maxima: largest value of each block.
        estimator: how.
        block_size: inputs per block.
        seed: seed of the goodness-of-fit bootstrap.
        resolution: values nearer than this are equal (rounding floor of whoever computed them).
        bootstrap: samples of the goodness-of-fit test; 0 for none.
    """
    values = np.asarray(maxima, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        message = "block maxima must be a non-empty list of finite numbers"
        raise InvalidParameterError(message)
    plain = _plain(values, block_size, estimator)
    status = _obstacle(values, estimator.method, resolution)
    fit = (
        _without_law(plain, status)
        if status is not None
        else _fitted(plain, values, seed=seed, bootstrap=bootstrap)
    )
    return replace(fit, flags=_flags(fit))


def blocks_advice(blocks: int, block_size: int) -> str:
    """How many inputs a fit takes; empty if there are enough blocks for one."""
    if blocks >= LEAST_BLOCKS:
        return ""
    needed = LEAST_BLOCKS * block_size
    return f"a fit takes {LEAST_BLOCKS} blocks, {needed} images in blocks of {block_size}"


def _without_law(plain: ExtremeValueFit, status: Status) -> ExtremeValueFit:
    """``plain`` where no law is fitted: without the estimates that ``status`` excludes."""
    point = plain.point if status.estimates else _NAN
    upper = plain.upper if status.limits else _NAN
    return replace(plain, status=status, point=point, upper=upper)


def _plain(values: Array, block_size: int, estimator: SupremumEstimator) -> ExtremeValueFit:
    """The largest value and the Wilks statement, which need no law."""
    largest = float(values.max())
    ties = float((values >= largest - _TIE * abs(largest)).mean())
    wilks = wilks_share(len(values) * block_size, estimator.level)
    return ExtremeValueFit(
        point=largest,
        upper=largest,
        max=largest,
        status=Status.OK,
        method=estimator.method,
        blocks=len(values),
        block_size=block_size,
        exceedance=estimator.exceedance,
        level=estimator.level,
        wilks=wilks,
        ties=ties,
    )


def _obstacle(values: Array, method: Method, resolution: float) -> Status | None:
    """Why no law can be fitted, or None."""
    if method is Method.MAX:
        return Status.MAX
    largest = float(values.max())
    width = max(_TIE * abs(largest), resolution)
    if len(values) < LEAST_BLOCKS:
        return Status.INSUFFICIENT
    if (values >= largest - width).mean() > 0.5:
        return Status.DEGENERATE
    many_ties = (values >= largest - _TIE * abs(largest)).mean() > 0.05
    steps = np.diff(np.sort(values))
    few_values = 1 + (steps > resolution).sum() < 0.5 * len(values)
    return Status.ATOM if many_ties or few_values else None


def _fitted(plain: ExtremeValueFit, values: Array, *, seed: int, bootstrap: int) -> ExtremeValueFit:
    """``plain`` with the law fitted to ``values``, its quantile, limit and diagnostics."""
    reverse = plain.method is Method.REVERSE_WEIBULL
    likelihood = _REVERSE_WEIBULL if reverse else _PENALISED
    exceedance = 0.0 if reverse else plain.exceedance
    centre, unit = float(np.median(values)), float(l_moments(values[None])[1][0])
    u = ((values - centre) / unit)[None]
    found, found_by = maximum_likelihood(likelihood, u)
    if not np.isfinite(found.value[0]):
        return _without_law(plain, Status.FAILED)
    law, level = found.law, plain.level
    point = centre + unit * float(law.quantile(exceedance)[0])
    limit = centre + unit * quantile_limit(likelihood, u, found, exceedance=exceedance, level=level)
    if limit < plain.max - _TIE * abs(plain.max):
        return _without_law(plain, Status.FAILED)
    shape, scale = float(law.shape[0]), unit * float(law.scale[0])
    location = centre + unit * float(law.location[0])
    lower, upper = shape_limits(likelihood, u, found, level=level)
    first, second = centre + unit * _half_quantiles(likelihood, u, exceedance)
    return replace(
        plain,
        point=max(point, plain.max),
        upper=max(limit, point, plain.max),
        shape=shape,
        shape_lower=lower,
        shape_upper=upper,
        scale=scale,
        location=location,
        endpoint=location - scale / shape if shape < 0 else float("inf"),
        gof_p=goodness_of_fit(likelihood, law, u, seed=seed, samples=bootstrap),
        half_points=(float(first), float(second)),
        found_by=found_by,
    )


def _half_quantiles(likelihood: Likelihood, u: Array, exceedance: float) -> Array:
    """Quantiles ``(2,)`` fitted to the first and to the second half of ``u (1, n)``."""
    n = u.shape[1] // 2
    halves = np.stack([u[0, :n], u[0, -n:]])
    return minimise(likelihood, halves, start_values(halves, likelihood.box)).law.quantile(
        exceedance
    )


def _flags(fit: ExtremeValueFit) -> tuple[str, ...]:
    """What a reader must know before using the fit."""
    fitted = fit.status is Status.OK
    box = _REVERSE_WEIBULL.box if fit.method is Method.REVERSE_WEIBULL else SHAPE_BOX
    at_bound = min(abs(fit.shape - end) for end in box) < 1e-6
    first, second = fit.half_points
    rules = {
        "small blocks": fit.block_size < SMALL_BLOCK,
        "poor fit": fitted and fit.gof_p < 0.01,
        "heavy tail: the supremum may not exist": fitted and fit.shape > 0.1,
        "too few blocks": fitted and fit.upper > 2 * fit.point,
        "shape at the bound": fitted and at_bound,
        "halves disagree": fitted and max(first, second) > 2 * min(first, second),
    }
    return tuple(flag for flag, raised in rules.items() if raised)
