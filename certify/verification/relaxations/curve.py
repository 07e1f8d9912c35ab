r"""Smooth functions with few inflection points: tangents and secants of the hull.

The lower line with the smallest area is the supporting line of the convex hull at the middle of
the interval. It touches the function on a convex piece between d1, the tangent point of the line
through (l, sigma(l)), and d2, that of the line through (u, sigma(u)); where d1 > d2, the secant
is the hull (S-shaped functions: Zhang et al. 2018, arXiv:1811.00866, section 3). d1 and d2 come
from bisection in float64, and every line is certified afterwards (``pieces.py``), so that their
accuracy decides tightness only.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .choice import Choice, attached, enclosure, extremes, where_finite
from .lines import Box, Lines, OutsideDomainError, Relaxation, as_share
from .pieces import Function, Segment, Span, bisected, lowest, negated, searched
from .rounding import EPSILON, storable_slope

if TYPE_CHECKING:
    from torch import Tensor

SEARCH_STEPS = 16
"""Bisections for a tangent point: it is found to a 10^-5 part of its piece."""

NARROW = 1e-9
"""On relatively narrower intervals a secant is cancellation noise and a derivative replaces it."""


@dataclass(frozen=True, slots=True)
class Domain:
    """Where a function is defined: between two ends, or everywhere except at 0."""

    start: float = -math.inf
    stop: float = math.inf
    open_start: bool = False
    without_zero: bool = False

    def check(self, name: str, lower: Tensor, upper: Tensor) -> None:
        """Raise OutsideDomainError unless the function is defined on [lower, upper]."""
        outside = lower <= self.start if self.open_start else lower < self.start
        outside = outside | (upper > self.stop)
        if self.without_zero:
            outside = outside | ((lower <= 0) & (upper >= 0))
        if bool(outside.any()):
            first = int(outside.flatten().nonzero()[0, 0])
            ends = (float(lower.flatten()[first]), float(upper.flatten()[first]))
            message = f"{name} is not defined on all of [{ends[0]:g}, {ends[1]:g}]"
            hint = "tighter bounds of its input may help"
            raise OutsideDomainError(message, hint=hint)


@dataclass(frozen=True, slots=True, eq=False)
class Curve(Relaxation):
    """A continuous function of a few pieces without change of curvature.

    Attributes:
        name: name of the function.
        pieces: pieces from left to right; together they cover the domain.
        turns: points between which the function is monotone, correct to 1e-15.
        limits: known lower and upper bounds of all values.
        domain: where the function is defined.
    """

    name: str
    pieces: tuple[Segment, ...]
    turns: tuple[float, ...] = ()
    limits: tuple[float, float] = (-math.inf, math.inf)
    domain: Domain = Domain()

    def value(self, x: Tensor) -> Tensor:
        """The function, computed in float64 and returned in the type of ``x``."""
        return _value(self.pieces, x.to(torch.float64)).to(x.dtype)

    def range(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Ends of an interval that contains all values on [lower, upper], rounded outward."""
        self.domain.check(self.name, lower, upper)
        box = self._box(lower, upper)
        return enclosure(box, self._extremes(box), self.limits)

    def lines(
        self,
        lower: Tensor,
        upper: Tensor,
        tangent: Tensor | None = None,
        *,
        upper_tangent: Tensor | None = None,
    ) -> Lines:
        """Supporting lines of the hulls at the middle, or at the shares that tangents give."""
        self.domain.check(self.name, lower, upper)
        box = self._box(lower, upper)
        with torch.no_grad():
            pieces = self._pieces_on(box)
            low, high = self._extremes(box)
            low, high = low.clamp_min(self.limits[0]), high.clamp_max(self.limits[1])
            below = where_finite(box, _chosen(pieces, box, low, tangent), low)
            above = where_finite(box, _chosen(negated(pieces), box, -high, upper_tangent), -high)
        return attached(box, (below, tangent), (above, upper_tangent))

    def _box(self, lower: Tensor, upper: Tensor) -> Box:
        return Box.of(lower, upper)

    def _pieces_on(self, box: Box) -> tuple[Segment, ...]:
        """Pieces that cover the intervals; one curvature per interval where that is needed."""
        return self.pieces

    def _extremes(self, box: Box) -> tuple[Tensor, Tensor]:
        """Smallest and largest value, widened by the evaluation error."""
        turns = [torch.full_like(box.lower, turn).clamp(*box.ends) for turn in self.turns]
        values = [(point, _value(self.pieces, point)) for point in (*box.ends, *turns)]
        return extremes([(value, _error(self.pieces, point, value)) for point, value in values])


def _select(pieces: tuple[Segment, ...], x: Tensor, functions: list[Function]) -> Tensor:
    """One function per piece, evaluated on the piece that contains x."""
    result = functions[0](x)
    for index, piece in enumerate(pieces[1:], start=1):
        if functions[index] is not functions[index - 1]:
            result = torch.where(x > piece.start, functions[index](x), result)
    return result


def _value(pieces: tuple[Segment, ...], x: Tensor) -> Tensor:
    return _select(pieces, x, [piece.value for piece in pieces])


def _error(pieces: tuple[Segment, ...], x: Tensor, value: Tensor) -> Tensor:
    """Evaluation error of the piece that contains x."""
    result = pieces[0].value_error(x, value)
    for before, piece in itertools.pairwise(pieces):
        if piece.value_error is not before.value_error:
            result = torch.where(x > piece.start, piece.value_error(x, value), result)
    return result


def _chosen(pieces: tuple[Segment, ...], box: Box, least: Tensor, tangent: Tensor | None) -> Choice:
    """The lower line that is highest at the middle, of one candidate per piece.

    Args:
        pieces: the function.
        box: the intervals.
        least: lower bounds of the function: offsets of the constant line.
        tangent: which line of a piece; None for the one that touches at the middle.
    """
    share = as_share(tangent)
    ends = _Ends(box, _value(pieces, box.lower), _value(pieces, box.upper))
    zero = torch.zeros_like(least)
    best = Choice(zero, torch.full_like(least, -math.inf), box.middle, zero)
    for index, piece in enumerate(pieces):
        span = piece.within(box)
        if not _may_be_convex(piece) or not bool(span.active.any()):
            continue
        place = (index == 0, index == len(pieces) - 1)
        line = _supporting(piece, span, ends, place, share)
        slope = storable_slope(line.slope, box.dtype)
        found = lowest(pieces, box, slope, line.contact)
        offset = torch.where(span.active, found.bound, -math.inf)
        best = _higher(best, Choice(slope, offset, found.contact, line.rate), box.middle)
    untouched = best.offset == -math.inf
    if bool(untouched.any()):
        secant = torch.where(untouched, _secant(pieces, ends), best.slope)
        secant = storable_slope(secant, box.dtype)
        found = lowest(pieces, box, secant, best.contact)
        best = _where(untouched, Choice(secant, found.bound, found.contact, zero), best)
    constant = Choice(zero, least, box.middle, zero)
    if share is None:
        return _higher(best, constant, box.middle)
    return _where(best.offset == -math.inf, constant, best)


def _may_be_convex(piece: Segment) -> bool:
    return not isinstance(piece.curvature, float | int) or piece.curvature >= 0


def _higher(first: Choice, second: Choice, middle: Tensor) -> Choice:
    """The line that is higher at the middle; the first where they are equal."""
    heights = (first.slope * middle + first.offset, second.slope * middle + second.offset)
    return _where(heights[1] > heights[0], second, first)


def _where(condition: Tensor, yes: Choice, no: Choice) -> Choice:
    return Choice(
        torch.where(condition, yes.slope, no.slope),
        torch.where(condition, yes.offset, no.offset),
        torch.where(condition, yes.contact, no.contact),
        torch.where(condition, yes.rate, no.rate),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Ends:
    """The intervals and the function at their ends."""

    box: Box
    low_value: Tensor
    high_value: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """A line that is to be certified: slope, where it should touch, change with the tangent."""

    slope: Tensor
    contact: Tensor
    rate: Tensor


def _secant(pieces: tuple[Segment, ...], ends: _Ends) -> Tensor:
    """Slope of the line through both ends; the derivative at the middle on narrow intervals."""
    box = ends.box
    width = box.upper - box.lower
    narrow = width <= NARROW * (box.lower.abs() + box.upper.abs())
    slope = _select(pieces, box.middle, [piece.slope for piece in pieces])
    return torch.where(narrow, slope, (ends.high_value - ends.low_value) / width)


def _supporting(
    piece: Segment, span: Span, ends: _Ends, place: tuple[bool, bool], share: Tensor | None
) -> _Line:
    """The line that touches a convex piece, or the secant where the hull has no such line.

    Args:
        piece: the piece.
        span: its part of the intervals.
        ends: the function at the ends of the intervals.
        place: whether it is the first and whether it is the last piece.
        share: where to touch between d1 (0) and d2 (1); None for the middle.
    """
    box = ends.box

    def over_left(d: Tensor) -> Tensor:  # positive where the tangent at d passes above (l, .)
        return piece.value(d) - ends.low_value - piece.slope(d) * (d - box.lower)

    def over_right(d: Tensor) -> Tensor:  # negative where the tangent at d passes above (u, .)
        return ends.high_value - piece.value(d) - piece.slope(d) * (box.upper - d)

    first = span.left if place[0] else _tangent_point(piece, span, (box.lower, ends.low_value))
    last = span.right if place[1] else _tangent_point(piece, span, (box.upper, ends.high_value))
    contact = box.middle if share is None else first + share * (last - first)
    contact = torch.minimum(torch.maximum(contact, first), last)
    slope = piece.slope(contact)
    if share is None:
        slope = _facet(ends, (first, last), piece.value(contact), slope)
    noise = 8 * EPSILON * (ends.low_value.abs() + ends.high_value.abs())
    touches = (over_left(contact) <= noise) & (over_right(contact) >= -noise)
    rate = _rate(piece, (first, last), contact) if share is not None else torch.zeros_like(slope)
    secant = _secant((piece,), ends)
    return _Line(torch.where(touches, slope, secant), contact, torch.where(touches, rate, 0.0))


def _tangent_point(piece: Segment, span: Span, end: tuple[Tensor, Tensor]) -> Tensor:
    """Where a line from an end of the interval, outside the span, touches the piece.

    Args:
        piece: a convex piece.
        span: its part of the intervals.
        end: left or right ends of the intervals and the function there.

    Returns:
        The point on the side of the bracket where the tangent passes below the end; the nearest
        end of the span where the interval ends in it.
    """
    x, y = end
    from_left = x <= span.left
    point = torch.where(from_left, span.left, span.right)
    needed = span.active & (x != point)
    if not bool(needed.any()):
        return point
    part = Span(span.left[needed], span.right[needed], span.active[needed])
    x, y, is_left = x[needed], y[needed], from_left[needed]

    def short_of_it(d: Tensor) -> Tensor:
        above = piece.value(d) + piece.slope(d) * (x - d) > y
        return torch.where(is_left, above, ~above)

    low, high = bisected(short_of_it, *searched(piece, part), SEARCH_STEPS)
    point[needed] = torch.where(is_left, high, low)
    return point


def _facet(ends: _Ends, touching: tuple[Tensor, Tensor], value: Tensor, slope: Tensor) -> Tensor:
    """Slope of the hull at the middle: ``slope``, or that of the line from an end of the interval.

    Where the line from an end meets a kink, no tangent has its slope.

    Args:
        ends: the function at the ends of the intervals.
        touching: d1 and d2, first and last point where the hull touches the piece.
        value: the function at the one of them that is next to the middle.
        slope: derivative at the middle or at that point.
    """
    box = ends.box
    left, right = touching[0] - box.lower, box.upper - touching[1]
    narrow = NARROW * (box.lower.abs() + box.upper.abs())
    from_left = (box.middle < touching[0]) & (left > narrow)
    from_right = (box.middle > touching[1]) & (right > narrow)
    slope = torch.where(from_left, (value - ends.low_value) / left, slope)
    return torch.where(from_right, (ends.high_value - value) / right, slope)


def _rate(piece: Segment, ends: tuple[Tensor, Tensor], contact: Tensor) -> Tensor:
    """Derivative of the slope with respect to the share, from a difference quotient."""
    first, last = ends
    step = 1e-3 * (last - first)
    before, after = torch.maximum(contact - step, first), torch.minimum(contact + step, last)
    change = (piece.slope(after) - piece.slope(before)) / (after - before) * (last - first)
    return change.nan_to_num(0, 0, 0)
