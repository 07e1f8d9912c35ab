"""Outward rounding: bounds in float64 that hold in exact arithmetic.

The product of two numbers that fit into float32 is exact in float64, and so is every product with
0, 1 or -1: where a line over such a point has distance 0, the bound is 0 as well.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 2.0**-52
"""Distance from 1 to the next float64: twice the relative error of one operation."""

TINY = 1e-300
"""Absolute error that underflow may add to a function or a product in float64."""

SLOPE_LIMIT = 1e30  # larger slopes would overflow in float32 when multiplied


def exact_product(x: Tensor, y: Tensor) -> Tensor:
    """Whether the float64 product x y needs no rounding, by its factors."""
    single = x.to(torch.float32)
    short = (single == x) & (y.to(torch.float32) == y)
    return short | (x.abs() == 1) | (x == 0) | (y == 0)


def least_difference(value: Tensor, error: Tensor, slope: Tensor, point: Tensor) -> Tensor:
    r"""Lower bound of :math:`v - s p` where v lies within ``error`` of ``value``.

    Exact if neither product nor difference need rounding and ``error`` is 0. All float64.
    Not finite where something overflows: :func:`trivial_if_undefined` makes a bound of that.
    """
    product = slope * point
    result = value - product
    # Knuth's exact error of a sum (The Art of Computer Programming, volume 2, section 4.2.2).
    virtual = result - value
    rounding = (value - (result - virtual)) - (product + virtual)
    lost = torch.where(exact_product(slope, point), 0.0, EPSILON * product.abs() + TINY)
    doubt = 2 * rounding.abs() + lost + error
    return torch.where(doubt == 0, result, result - (doubt + 2 * EPSILON * (doubt + result.abs())))


def trivial_if_undefined(lower: Tensor) -> Tensor:
    """``lower`` bounds with NaN and infinities, all signs of overflow, replaced by -inf."""
    return torch.where(lower.isfinite(), lower, -torch.inf)


def round_down(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The largest number of ``dtype`` that is at most ``x`` (float64)."""
    nearest = x.to(dtype)
    below = torch.nextafter(nearest, torch.full_like(nearest, -torch.inf))
    return torch.where(nearest.to(torch.float64) > x, below, nearest)


def round_up(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The smallest number of ``dtype`` that is at least ``x`` (float64)."""
    return -round_down(-x, dtype)


def storable_slope(slope: Tensor, dtype: torch.dtype) -> Tensor:
    """``slope`` rounded to ``dtype``, finite and at most ``SLOPE_LIMIT``, in float64."""
    finite = torch.nan_to_num(slope, nan=0.0, posinf=SLOPE_LIMIT, neginf=-SLOPE_LIMIT)
    return finite.clamp(-SLOPE_LIMIT, SLOPE_LIMIT).to(dtype).to(torch.float64)
