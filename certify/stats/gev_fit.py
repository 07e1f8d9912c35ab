"""Penalised maximum likelihood for the generalised extreme-value law, many samples at once.

Parameters of a sample are (location, log scale, shape xi). Samples of one length are fitted in
one call, so a bootstrap is one call. A damped Newton method: scipy's simplex stops early on data
of small scale, and gives no batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize

from .gev import Array, Law, l_moment_fit, l_moments, reduced, standard_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE_BOX = (-0.95, 1.0)
"""The likelihood is unbounded for xi < -1, and the mean does not exist for xi >= 1."""

_MAX_STEPS = 100
_TOLERANCE = 1e-12  # of the Newton decrement per observation
_STEP_LIMIT = np.array([2.0, 1.0, 0.3])  # in scales, log scales, shapes


@dataclass(frozen=True, slots=True)
class Likelihood:
    r"""Penalised negative log-likelihood and how it is minimised.

    Attributes:
        penalty_sd: :math:`\tfrac12 (\xi / sd)^2` is added; infinity for none.
        box: allowed shapes.
        log_level: the location parameter is the quantile with :math:`-\log(-\log F)` of this
            value; 0 makes it the ordinary location.
        free: which of (location, log scale, shape) may move.
    """

    penalty_sd: float = 0.3
    box: tuple[float, float] = SHAPE_BOX
    log_level: float = 0.0
    free: tuple[bool, bool, bool] = (True, True, True)

    def value(self, x: Array, theta: Array) -> Array:
        """Values ``(r,)`` at ``theta (r, 3)`` for samples ``x (r, n)``; inf outside the support."""
        g = standard_quantile(theta[:, 2], self.log_level)[0]
        z = (x - theta[:, :1]) * np.exp(-theta[:, 1:2]) + g[:, None]
        xi = theta[:, 2:]
        with np.errstate(over="ignore", invalid="ignore"):
            y = reduced(z, xi)[0]
            total = (theta[:, 1:2] + (1 + xi) * y + np.exp(-y)).sum(1)
        total += 0.5 * (theta[:, 2] / self.penalty_sd) ** 2
        return np.where((1 + xi * z > 0).all(1) & np.isfinite(total), total, np.inf)

    def derivatives(self, x: Array, theta: Array) -> tuple[Array, Array]:
        """Gradients ``(r, 3)`` and Hessians ``(r, 3, 3)`` inside the support."""
        xi = theta[:, 2:]
        inverse_scale = np.exp(-theta[:, 1:2])
        w = (x - theta[:, :1]) * inverse_scale
        g, g1, g2 = (term[:, None] for term in standard_quantile(theta[:, 2], self.log_level))
        y, y_z, y_xi, y_xixi = reduced(w + g, xi)
        t = np.exp(-y)
        a = 1 + xi - t  # derivative of the loss in y
        f_z = a * y_z
        f_zz = (t - a * xi) * y_z**2
        f_zxi = (t * y_xi + 1) * y_z - a * (w + g) * y_z**2
        f_xi = a * y_xi + y
        f_xixi = t * y_xi**2 + a * y_xixi + 2 * y_xi
        first = (-inverse_scale, -w, g1)  # z by location, log scale, shape
        second = {(0, 1): inverse_scale, (1, 1): w, (2, 2): g2}
        n = x.shape[1]
        gradient = np.stack([(f_z * d).sum(1) for d in first], 1)
        gradient[:, 1] += n
        gradient[:, 2] += f_xi.sum(1) + theta[:, 2] / self.penalty_sd**2
        hessian = np.empty((len(x), 3, 3))
        for i in range(3):
            for j in range(i, 3):
                entry = f_zz * first[i] * first[j]
                if (i, j) in second:
                    entry = entry + f_z * second[i, j]
                if j == 2:
                    entry = entry + f_zxi * first[i] * (2 if i == 2 else 1)
                hessian[:, i, j] = hessian[:, j, i] = entry.sum(1)
        hessian[:, 2, 2] += f_xixi.sum(1) + 1 / self.penalty_sd**2
        return gradient, hessian


@dataclass(frozen=True, slots=True)
class Minimum:
    """Where :func:`minimise` ended: ``theta (r, 3)``, ``value (r,)``, ``converged (r,)``."""

    theta: Array
    value: Array
    converged: NDArray[np.bool_]
    law: Law = field(init=False)

    def __post_init__(self) -> None:
        location, log_scale, shape = self.theta.T
        object.__setattr__(self, "law", Law(location, np.exp(log_scale), shape))


def minimise(likelihood: Likelihood, x: Array, start: Array) -> Minimum:
    """Damped Newton from ``start (r, 3)`` for samples ``x (r, n)``, shapes kept in the box.

    Curvature is made positive by taking absolute eigenvalues; a step is halved until the value
    falls. A sample is done when its gradient, per observation and in the free parameters, is
    below 1e-9 or no step lowers the value any more (the rounding floor).
    """
    theta = start.copy()
    value = likelihood.value(x, theta)
    converged = np.zeros(len(x), dtype=bool)
    active = np.flatnonzero(np.isfinite(value))
    for _ in range(_MAX_STEPS):
        if not len(active):
            break
        part, current = x[active], theta[active]
        gradient, hessian = likelihood.derivatives(part, current)
        step = _newton_step(likelihood, current, gradient, hessian)
        decrement = -(gradient * step).sum(1)
        moved, found = _line_search(likelihood, part, current, value[active], step)
        small = decrement < _TOLERANCE * part.shape[1] * 1e-3
        stuck = ~(found < value[active])
        theta[active] = np.where(stuck[:, None], current, moved)
        value[active] = np.minimum(found, value[active])
        converged[active[small | (stuck & (decrement < 1e-6 * part.shape[1]))]] = True
        active = active[~(small | stuck)]
    return Minimum(theta, value, converged)


def start_values(x: Array, box: tuple[float, float] = SHAPE_BOX) -> Array:
    """Feasible ``theta (r, 3)``: the L-moment fit, or Gumbel's where that has data outside."""
    fit = l_moment_fit(x)
    inside = (fit.shape > box[0] + 0.02) & (fit.shape < box[1] - 0.02)
    z = (x - fit.location[:, None]) / fit.scale[:, None]
    inside &= (1 + fit.shape[:, None] * z > 1e-6).all(1)
    l1, l2, _ = l_moments(x)
    gumbel_scale = l2 / np.log(2)
    shape = np.where(inside, fit.shape, 0.0)
    scale = np.where(inside, fit.scale, gumbel_scale)
    location = np.where(inside, fit.location, l1 - np.euler_gamma * gumbel_scale)
    theta = np.stack([location, np.log(scale), np.clip(shape, *box)], 1)
    return feasible(Likelihood(box=box), x, theta)


def feasible(likelihood: Likelihood, x: Array, theta: Array) -> Array:
    """``theta (r, 3)`` with scales widened until every point of ``x (r, n)`` is in the support."""
    theta = theta.copy()
    for _ in range(60):
        outside = ~np.isfinite(likelihood.value(x, theta))
        if not outside.any():
            break
        theta[outside, 1] += 0.5
    return theta


def maximum_likelihood(likelihood: Likelihood, x: Array) -> tuple[Minimum, str]:
    """Fit of one sample ``(1, n)`` and who found it: newton, simplex, or l-moments (its start)."""
    start = start_values(x, likelihood.box)
    best = minimise(likelihood, x, start)
    if best.converged[0]:
        return best, "newton"
    found_by = "l-moments"
    for shape in (-0.4, -0.1, 0.1):
        first = start.copy()
        first[0, 2] = np.clip(shape, *likelihood.box)
        simplex = optimize.minimize(
            lambda theta: min(float(likelihood.value(x, theta[None])[0]), 1e300),
            feasible(likelihood, x, first)[0],
            method="Nelder-Mead",
            bounds=[(None, None), (None, None), likelihood.box],
            options={"xatol": 1e-9, "fatol": 1e-9, "maxiter": 4000},
        )
        if simplex.fun < best.value[0]:
            best = Minimum(simplex.x[None], np.array([simplex.fun]), np.array([simplex.success]))
            found_by = "simplex"
    return best, found_by


def _newton_step(likelihood: Likelihood, theta: Array, gradient: Array, hessian: Array) -> Array:
    """Descent directions ``(r, 3)``; a shape at an end of the box does not move outwards."""
    free = np.broadcast_to(np.array(likelihood.free), theta.shape)
    step = _solve(gradient, hessian, free)
    low, high = likelihood.box
    shape = theta[:, 2]
    outward = ((shape <= low) & (step[:, 2] < 0)) | ((shape >= high) & (step[:, 2] > 0))
    if outward.any():
        free = free & ~(outward[:, None] & np.array([False, False, True]))
        step = _solve(gradient, hessian, free)
    limit = _STEP_LIMIT * np.stack([np.exp(theta[:, 1]), *np.ones((2, len(theta)))], 1)
    room = np.where(step[:, 2] > 0, high - shape, shape - low)
    limit[:, 2] = np.where(free[:, 2], np.minimum(limit[:, 2], room), np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.nanmin(np.where(step == 0, np.inf, limit / np.abs(step)), axis=1)
    return step * np.minimum(factor, 1.0)[:, None]


def _solve(gradient: Array, hessian: Array, free: NDArray[np.bool_]) -> Array:
    """Newton steps in the free parameters, with the eigenvalues' absolute values."""
    both = free[:, :, None] & free[:, None, :]
    values, vectors = np.linalg.eigh(np.where(both, hessian, np.eye(3)))
    values = np.abs(values)
    values = np.maximum(values, 1e-9 * values.max(1, keepdims=True))
    rotated = np.einsum("rji,rj->ri", vectors, np.where(free, gradient, 0.0))
    return np.where(free, -np.einsum("rij,rj->ri", vectors, rotated / values), 0.0)


def _line_search(
    likelihood: Likelihood, x: Array, theta: Array, value: Array, step: Array
) -> tuple[Array, Array]:
    """Points ``(r, 3)`` along ``step``, halved until the value falls, and the values there."""
    moved, found = theta + step, np.full(len(x), np.inf)
    length = 1.0
    remaining = np.arange(len(x))
    for _ in range(40):
        moved[remaining] = theta[remaining] + length * step[remaining]
        moved[remaining, 2] = np.clip(moved[remaining, 2], *likelihood.box)
        found[remaining] = likelihood.value(x[remaining], moved[remaining])
        remaining = remaining[~(found[remaining] < value[remaining])]
        if not len(remaining):
            break
        length /= 2
    return moved, found
