r"""Planes below and above the product of two variables (McCormick 1976).

For x in [a, b] and y in [c, d], with :math:`t \in [0, 1]`:

.. math::
    x y &\ge (1 - t)(c x + a y - a c) + t (d x + b y - b d) \\
    x y &\le (1 - t)(c x + b y - b c) + t (d x + a y - a d)

All of these have the same height at the centre of the box; :math:`t = 1/2`, the default, has the
smallest largest distance. The difference between a product and any plane is least and greatest in
corners of the box, which is how offsets are certified after the slopes were rounded.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from .lines import Box, as_share
from .rounding import (
    EPSILON,
    TINY,
    exact_product,
    round_down,
    storable_slope,
    trivial_if_undefined,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ProductLines:
    """Planes ``lower_x x + lower_y y + lower_offset <= x y``, and the same above.

    All tensors have the shape of the intervals. A plane that does not exist is trivial: slopes 0,
    offset -inf (lower) or +inf (upper).
    """

    lower_x: Tensor
    lower_y: Tensor
    lower_offset: Tensor
    upper_x: Tensor
    upper_y: Tensor
    upper_offset: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Plane:
    """A certified lower plane in float64, slopes stored exactly, and the change with t."""

    x: Tensor
    y: Tensor
    offset: Tensor
    corner: tuple[Tensor, Tensor]
    rate: tuple[Tensor, Tensor]


def product_lines(
    x_lower: Tensor,
    x_upper: Tensor,
    y_lower: Tensor,
    y_upper: Tensor,
    tangent: Tensor | None = None,
    *,
    upper_tangent: Tensor | None = None,
) -> ProductLines:
    """Planes that enclose x y on boxes.

    Args:
        x_lower: left ends of x, float32 or float64.
        x_upper: right ends of x.
        y_lower: left ends of y, of the same type; all broadcast to one shape.
        y_upper: right ends of y.
        tangent: t of the lower planes in [0, 1]; the planes carry its gradient. None: 1/2.
        upper_tangent: the same for the upper planes.
    """
    with torch.no_grad():
        shape = (x_lower + x_upper + y_lower + y_upper).shape
        first = Box.of(x_lower.expand(shape), x_upper.expand(shape))
        second = Box.of(y_lower.expand(shape), y_upper.expand(shape))
        below = _lowest_plane(first, second, tangent)
        # x y <= plane(x, y) if and only if (-x) y >= -plane(-(-x), y): mirror x.
        above = _lowest_plane(_mirrored(first), second, upper_tangent)
    lower = _stored(below, first.dtype, tangent)
    upper = _stored(above, first.dtype, upper_tangent)
    return ProductLines(
        lower.x, lower.y, lower.offset, 0.0 + upper.x, 0.0 - upper.y, 0.0 - upper.offset
    )


def _mirrored(box: Box) -> Box:
    """The intervals of -x."""
    ends = -box.ends[1], -box.ends[0]
    return replace(box, lower=-box.upper, upper=-box.lower, middle=-box.middle, ends=ends)


def _lowest_plane(x: Box, y: Box, tangent: Tensor | None) -> _Plane:
    """The lower plane with weight t on the facet of the upper corner; 1/2 without t."""
    share = as_share(tangent)
    share = torch.full_like(x.lower, 0.5) if share is None else share
    rates = (y.upper - y.lower, x.upper - x.lower)
    finite = x.finite & y.finite
    slopes = [
        torch.where(finite, storable_slope(low + share * rate, x.dtype), 0.0)
        for low, rate in zip((y.lower, x.lower), rates, strict=True)
    ]
    offset = torch.full_like(slopes[0], torch.inf)
    corner = (x.lower, y.lower)
    for point in itertools.product((x.lower, x.upper), (y.lower, y.upper)):
        height = _height(point, (slopes[0], slopes[1]))
        lower = ~(height >= offset)
        offset = torch.where(lower, height, offset)
        corner = (torch.where(lower, point[0], corner[0]), torch.where(lower, point[1], corner[1]))
    offset = torch.where(finite, offset, -torch.inf)
    return _Plane(slopes[0], slopes[1], offset, corner, rates)


def _height(point: tuple[Tensor, Tensor], slopes: tuple[Tensor, Tensor]) -> Tensor:
    """Lower bound of x y - s x - t y at one point; -inf where it cannot be computed."""
    x, y = point
    factors = ((x, y), (-slopes[0], x), (-slopes[1], y))
    terms = [(first * second, exact_product(first, second)) for first, second in factors]
    size = torch.zeros_like(x)
    for product, exact in terms:
        size = size + product.abs() + torch.where(exact, 0.0, TINY / EPSILON)
    result = (terms[0][0] + terms[1][0]) + terms[2][0]
    # Three products, two sums and the last subtraction: each is wrong by at most half of EPSILON.
    bound = result - 4 * EPSILON * size
    return trivial_if_undefined(bound)


def _stored(plane: _Plane, dtype: torch.dtype, tangent: Tensor | None) -> _Plane:
    """The plane in the type of the result, rounded outward, with the gradient of the tangent."""
    x, y, offset = plane.x.to(dtype), plane.y.to(dtype), round_down(plane.offset, dtype)
    if tangent is not None and tangent.requires_grad:
        zero = (tangent - tangent.detach()).to(dtype)
        changes = [rate.to(dtype) * zero for rate in plane.rate]
        x, y = x + changes[0], y + changes[1]
        moved = plane.corner[0].to(dtype) * changes[0] + plane.corner[1].to(dtype) * changes[1]
        offset = torch.where(offset.isfinite(), offset - moved, offset)
    return _Plane(x, y, offset, plane.corner, plane.rate)
