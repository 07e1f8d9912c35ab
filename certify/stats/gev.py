"""The generalised extreme-value law: quantiles, draws, L-moments, distance to a sample.

Many laws at once, one a row. Shape xi < 0 means a finite endpoint (scipy's ``genextreme`` has
c = -xi).

Sources: Coles 2001, An Introduction to Statistical Modeling of Extreme Values, chapter 3;
L-moments: Hosking, Wallis, Wood 1985, Technometrics 27(3), and Hosking 1990, JRSS B 52(1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

_SMALL = 1e-3  # below this |xi z|, series: the closed forms cancel
_TERMS = np.arange(7)
_FACTORIALS = special.factorial(_TERMS)


@dataclass(frozen=True, slots=True)
class Law:
    """GEV laws, one an entry; ``location``, ``scale``, ``shape`` have one shape ``(r,)``."""

    location: Array
    scale: Array
    shape: Array

    def quantile(self, exceedance: float) -> Array:
        """Values ``(r,)`` exceeded with probability ``exceedance``; 0 gives the endpoint."""
        return self.location + self.scale * standard_quantile(self.shape, log_level(exceedance))[0]

    def reduced(self, x: Array) -> Array:
        r""":math:`y = \log(1 + \xi z) / \xi` of ``x (r, n)``; the cdf is :math:`e^{-e^{-y}}`."""
        z = (x - self.location[:, None]) / self.scale[:, None]
        return reduced(z, self.shape[:, None])[0]

    def samples(self, n: int, generator: np.random.Generator) -> Array:
        """``(r, n)`` independent draws."""
        y = -np.log(generator.standard_exponential((len(self.shape), n)))
        xi = self.shape[:, None]
        small = np.abs(xi) < 1e-9
        z = np.where(small, y, np.expm1(xi * y) / np.where(small, 1.0, xi))
        return self.location[:, None] + self.scale[:, None] * z


def l_moments(x: Array) -> tuple[Array, Array, Array]:
    """First two sample L-moments and the L-skewness, each ``(r,)``, of samples ``x (r, n)``."""
    ordered = np.sort(x, axis=1)
    n = x.shape[1]
    rank = np.arange(n)
    b0 = ordered.mean(1)
    b1 = (ordered * (rank / (n - 1))).mean(1)
    b2 = (ordered * (rank * (rank - 1) / ((n - 1) * (n - 2)))).mean(1)
    l2 = 2 * b1 - b0
    with np.errstate(divide="ignore", invalid="ignore"):
        return b0, l2, (6 * b2 - 6 * b1 + b0) / l2


def l_moment_fit(x: Array) -> Law:
    """Laws whose first two L-moments and L-skewness are those of the samples ``x (r, n)``.

    Hosking's polynomial for the shape, polished by Newton steps on
    :math:`t_3 = 2 (1 - 3^{-k}) / (1 - 2^{-k}) - 3` with k = -xi.
    """
    l1, l2, t3 = l_moments(x)
    t3 = np.clip(t3, -0.95, 0.98)
    c = 2 / (3 + t3) - np.log(2) / np.log(3)
    k = 7.8590 * c + 2.9554 * c**2
    k = np.where(np.abs(k) < 1e-6, 1e-6, k)
    for _ in range(6):
        two, three = 1 - 2.0**-k, 1 - 3.0**-k
        slope = 2 * (np.log(3) * (1 - three) * two - np.log(2) * (1 - two) * three) / two**2
        k = np.clip(k - (2 * three / two - 3 - t3) / slope, -0.98, 20.0)
        k = np.where(np.abs(k) < 1e-6, 1e-6, k)
    gamma = special.gamma(1 + k)
    scale = l2 * k / ((1 - 2.0**-k) * gamma)
    return Law(l1 - scale * (1 - gamma) / k, scale, -k)


def anderson_darling(law: Law, x: Array) -> Array:
    r"""Statistics ``(r,)`` of the samples ``x (r, n)`` against ``law``.

    :math:`A^2 = -n - \frac1n \sum_i (2i - 1) [\log F_{(i)} + \log(1 - F_{(n + 1 - i)})]`
    """
    n = x.shape[1]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        t = np.exp(-law.reduced(np.sort(x, axis=1)))  # -log F
        t = np.where(np.isnan(t), 0.0, t)
        upper = np.log(-np.expm1(-np.maximum(t, 1e-300)))
    weight = 2 * np.arange(n) + 1
    return -n - (weight * (upper[:, ::-1] - t)).sum(1) / n


def log_level(exceedance: float) -> float:
    r""":math:`-\log(-\log(1 - p))`, the Gumbel quantile at exceedance p; infinite at p = 0."""
    return float("inf") if exceedance == 0 else -float(np.log(-np.log1p(-exceedance)))


def standard_quantile(xi: Array, level: float) -> tuple[Array, Array, Array]:
    r""":math:`(e^{c\xi} - 1) / \xi` at log level c and its first two derivatives in xi."""
    if level == 0:
        return np.zeros_like(xi), np.zeros_like(xi), np.zeros_like(xi)
    if np.isinf(level):
        return -1 / xi, xi**-2, -2 * xi**-3
    small = np.abs(level * xi) < _SMALL
    safe = np.where(small, 1.0, xi)
    power = np.exp(level * safe)
    g = (power - 1) / safe
    g1 = (level * power - g) / safe
    g2 = (level**2 * power - 2 * g1) / safe
    u = np.where(small, level * xi, 0.0)[..., None] ** _TERMS / _FACTORIALS
    k = _TERMS
    return (
        np.where(small, level * (u / (k + 1)).sum(-1), g),
        np.where(small, level**2 * (u / (k + 2)).sum(-1), g1),
        np.where(small, level**3 * (u / (k + 3)).sum(-1), g2),
    )


def reduced(z: Array, xi: Array) -> tuple[Array, Array, Array, Array]:
    r""":math:`y = \log(1 + \xi z) / \xi` and its derivatives in z, in xi, and twice in xi."""
    u = xi * z
    small = np.abs(u) < _SMALL
    safe = np.where(small, 1.0, xi + np.zeros_like(z))
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.log1p(np.where(small, 0.0, u)) / safe
        y_z = 1 / (1 + u)
        y_xi = (z * y_z - y) / safe
        y_xixi = -(z**2 * y_z**2 + 2 * y_xi) / safe
    if small.any():
        zs, us = z[small], u[small]
        powers = (-us[:, None]) ** _TERMS
        k = _TERMS
        y[small] = zs * (powers / (k + 1)).sum(1)
        y_xi[small] = -(zs**2) * (powers * (k + 1) / (k + 2)).sum(1)
        y_xixi[small] = zs**3 * (powers * (k + 1) * (k + 2) / (k + 3)).sum(1)
    return y, y_z, y_xi, y_xixi
