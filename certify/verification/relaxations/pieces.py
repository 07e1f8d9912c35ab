r"""Certified offsets: the lowest point of a function over a line, piece by piece.

A function is cut at its inflection points and kinks into pieces that are convex, linear or concave.
For *any* slope s, the offset of a lower line is a lower bound of
:math:`\min_{x \in [l, u]} \sigma(x) - s x`:

* on a concave or linear piece [a, b] the minimum is at a or b;
* on a convex piece, for any :math:`t_1 \le t_2` in [a, b], the tangents at both bound the function:

  .. math::
      x \le t_1:&\ \sigma(x) - s x \ge \sigma(t_1) - s t_1 - (\sigma'(t_1) - s)^+ (t_1 - a) \\
      x \ge t_2:&\ \sigma(x) - s x \ge \sigma(t_2) - s t_2 - (s - \sigma'(t_2))^+ (b - t_2)

  and the better of the two tangents bounds it between. Bisection brings t1 and t2 to the lowest
  point; an inexact bisection costs tightness, never soundness.

Upper lines are lower lines of the negated function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .rounding import EPSILON, TINY, least_difference, trivial_if_undefined

if TYPE_CHECKING:
    from .lines import Box

Function = Callable[[Tensor], Tensor]
Error = Callable[[Tensor, Tensor], Tensor]  # of the point and of what a function computed there

STEPS = 16
"""Bisections for the lowest point of a convex piece; the loss falls fourfold with each."""

SETTLED = 2.0**-23
"""Relative error of a slope that was rounded to float32: nothing is gained by bisection there."""

EVALUATION_ERROR = 16 * EPSILON
"""Relative error of a formula of a few operations and elementary functions of torch in float64,
each correct within 2 units in the last place (tests/certify/verification/relaxations checks)."""


def relative_error(size: Tensor) -> Tensor:
    """Error of a computed number whose intermediate results are at most ``size``."""
    return EVALUATION_ERROR * size.abs() + TINY


def small_error(x: Tensor, computed: Tensor) -> Tensor:
    """Error of a formula whose intermediate results are not larger than the last one."""
    return relative_error(computed)


def no_error(x: Tensor, computed: Tensor) -> Tensor:
    """Error of a formula without rounding."""
    return torch.zeros_like(x)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A function on [start, stop], where it does not change its curvature.

    Attributes:
        start: left end of the piece, -inf if there is none; a number or one per element.
        stop: right end.
        curvature: 1 convex, 0 linear, -1 concave; a number or one per element.
        value: the function in float64; also defined outside the piece if continued.
        slope: its derivative from within the piece, in float64.
        value_error: bound of the absolute error of ``value``.
        slope_error: bound of the absolute error of ``slope``.
        edge_error: distance between the stored ends of the piece and the true ones.
        lipschitz: bound of the derivative next to the ends; used where ``edge_error`` is not 0.
        core: the lowest points are sought within [-core, core].
        open_start: the piece does not contain ``start``; for functions that jump there.
        open_stop: the piece does not contain ``stop``.
    """

    start: float | Tensor
    stop: float | Tensor
    curvature: float | Tensor
    value: Function
    slope: Function
    value_error: Error = small_error
    slope_error: Error = small_error
    edge_error: float | Tensor = 0.0
    lipschitz: float = 1.0
    core: float = torch.inf
    open_start: bool = False
    open_stop: bool = False

    def within(self, box: Box) -> Span:
        """The part of the piece in each interval."""
        start, stop = (
            torch.as_tensor(end, dtype=torch.float64, device=box.lower.device)
            for end in (self.start, self.stop)
        )
        margin = self.edge_error
        first, last = start - margin, stop + margin
        active = (first < box.upper) if self.open_start else (first <= box.upper)
        active &= (last > box.lower) if self.open_stop else (last >= box.lower)
        left = torch.minimum(torch.maximum(start, box.lower), box.upper)
        right = torch.maximum(torch.minimum(stop, box.upper), box.lower)
        return Span(left, torch.maximum(left, right), active)

    def height(self, point: Tensor, slope: Tensor) -> Tensor:
        """Lower bound of the function at ``point`` over the line of ``slope`` through 0."""
        value = self.value(point)
        return least_difference(value, self.value_error(point, value), slope, point)


def negated(pieces: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """The pieces of the negated function; pieces that share a formula still do."""
    opposite: dict[Function, Function] = {}
    for piece in pieces:
        for function in (piece.value, piece.slope):
            opposite.setdefault(function, _negation(function))
    return tuple(
        replace(
            piece,
            curvature=-piece.curvature,
            value=opposite[piece.value],
            slope=opposite[piece.slope],
        )
        for piece in pieces
    )


def _negation(function: Function) -> Function:
    return lambda x: -function(x)


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """The points [left, right] of a piece in an interval; ``active`` is False if there are none."""

    left: Tensor
    right: Tensor
    active: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Lowest:
    """A certified lower bound of a function over a line, and about where it is attained."""

    bound: Tensor
    contact: Tensor


def lowest(pieces: tuple[Segment, ...], box: Box, slope: Tensor, hint: Tensor) -> Lowest:
    r"""Certified lower bound of :math:`\sigma(x) - s x` over the intervals.

    Args:
        pieces: the function; together they cover the intervals.
        box: the intervals.
        slope: s, any numbers; float64.
        hint: points where the line was meant to touch; any numbers.
    """
    bound = torch.full_like(slope, torch.inf)
    contact = box.middle
    for piece in pieces:
        span = piece.within(box)
        found = _lowest_of_piece(piece, span, slope, hint)
        better = span.active & ~(found.bound >= bound)
        contact = torch.where(better, found.contact, contact)
        bound = torch.where(better, found.bound, bound)
    return Lowest(trivial_if_undefined(bound), contact)


def _lowest_of_piece(piece: Segment, span: Span, slope: Tensor, hint: Tensor) -> Lowest:
    """Lower bound over one piece, with the uncertainty of its ends."""
    curvature = piece.curvature
    if isinstance(curvature, Tensor):
        convex, other = _over_tangents(piece, span, slope, hint), _at_ends(piece, span, slope)
        bound = torch.where(curvature > 0, convex.bound, other.bound)
        found = Lowest(bound, torch.where(curvature > 0, convex.contact, other.contact))
    elif curvature > 0:
        found = _over_tangents(piece, span, slope, hint)
    else:
        found = _at_ends(piece, span, slope)
    if isinstance(piece.edge_error, float) and piece.edge_error == 0:
        return Lowest(trivial_if_undefined(found.bound), found.contact)
    slack = 4 * piece.edge_error * (piece.lipschitz + slope.abs())
    return Lowest(trivial_if_undefined(_subtract(found.bound, slack)), found.contact)


def _at_ends(piece: Segment, span: Span, slope: Tensor) -> Lowest:
    """Lower bound over a concave or linear piece."""
    left, right = piece.height(span.left, slope), piece.height(span.right, slope)
    # A minimum that keeps NaN: an end that could not be computed bounds nothing.
    return Lowest(torch.minimum(left, right), torch.where(left <= right, span.left, span.right))


def _over_tangents(piece: Segment, span: Span, slope: Tensor, hint: Tensor) -> Lowest:
    """Lower bound over a convex piece."""
    touching = torch.minimum(torch.maximum(hint, span.left), span.right)
    rises, falls = piece.slope(span.left) >= slope, piece.slope(span.right) <= slope
    touching = torch.where(rises, span.left, torch.where(falls, span.right, touching))
    excess = piece.slope(touching) - slope
    from_hint = trivial_if_undefined(_between(piece, span, slope, (touching, touching)))
    settled = rises | falls | (excess.abs() <= SETTLED * slope.abs())
    loose = span.active & ~settled
    if not bool(loose.any()):
        return Lowest(from_hint, touching)
    part = Span(span.left[loose], span.right[loose], span.active[loose])
    from_bracket, low = _over_bracket(piece, part, slope[loose], touching[loose])
    bound, contact = from_hint.clone(), touching.clone()
    better = from_bracket > bound[loose]
    bound[loose] = torch.where(better, from_bracket, bound[loose])
    contact[loose] = torch.where(better, low, contact[loose])
    return Lowest(bound, contact)


def _over_bracket(piece: Segment, span: Span, slope: Tensor, hint: Tensor) -> tuple[Tensor, Tensor]:
    """Lower bound over a convex piece by bisection, and the left end of the last bracket."""
    low, high = searched(piece, span)
    low, high = bisected(lambda t: piece.slope(t) < slope, low, high, STEPS)
    # The hint is close to the lowest point, so it often shortens the bracket to almost nothing.
    inside = (low < hint) & (hint < high)
    before = piece.slope(hint) < slope
    low = torch.where(inside & before, hint, low)
    high = torch.where(inside & ~before, hint, high)
    return trivial_if_undefined(_between(piece, span, slope, (low, high))), low


def _between(piece: Segment, span: Span, slope: Tensor, bracket: tuple[Tensor, Tensor]) -> Tensor:
    """Lower bound over a convex piece from its tangents at both ends of a bracket."""
    low, high = bracket
    height_low, height_high = piece.height(low, slope), piece.height(high, slope)
    steep_low, steep_high = piece.slope(low), piece.slope(high)
    error_low = piece.slope_error(low, steep_low)
    error_high = piece.slope_error(high, steep_high)
    left = _subtract(height_low, _rise(steep_low - slope, error_low, low - span.left))
    right = _subtract(height_high, _rise(slope - steep_high, error_high, span.right - high))
    width = high - low
    from_low = _subtract(height_low, _rise(slope - steep_low, error_low, width))
    from_high = _subtract(height_high, _rise(steep_high - slope, error_high, width))
    middle = torch.maximum(trivial_if_undefined(from_low), trivial_if_undefined(from_high))
    return torch.minimum(torch.minimum(left, right), middle)


def _rise(excess: Tensor, error: Tensor, width: Tensor) -> Tensor:
    """Upper bound of (excess + error)+ width, with room for the rounding of all operands."""
    slope = (excess + (error + 2 * EPSILON * excess.abs())).clamp_min(0)
    product = slope * width * (1 + 8 * EPSILON)
    return torch.where((slope == 0) | (width == 0), 0.0, product + TINY)


def _subtract(bound: Tensor, loss: Tensor) -> Tensor:
    """Lower bound of bound - loss; exact where the loss is 0."""
    difference = bound - loss
    return torch.where(loss == 0, bound, difference - EPSILON * difference.abs() - TINY)


def searched(piece: Segment, span: Span) -> tuple[Tensor, Tensor]:
    """The part of a span that bisection searches: where the function is not yet saturated."""
    left = torch.minimum(span.right, span.left.clamp_min(-piece.core))
    right = torch.maximum(span.left, span.right.clamp_max(piece.core))
    return left, torch.maximum(left, right)


def bisected(
    is_left: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """A bracket of the point where ``is_left`` turns from True to False."""
    for _ in range(steps):
        middle = low / 2 + high / 2
        left = is_left(middle)
        low, high = torch.where(left, middle, low), torch.where(left, high, middle)
    return low, high
