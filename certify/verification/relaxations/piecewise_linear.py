"""Piecewise linear functions, with jumps or without: the lines of their exact hull.

An unstable ReLU (l < 0 < u) gets the upper line through (l, 0) and (u, u) and a lower line of slope
alpha in [0, 1] through 0 (Zhang et al. 2018, arXiv:1811.00866; Xu et al. 2021, arXiv:2011.13824).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robcert.certify.errors import InvalidParameterError

from .choice import Choice, attached, enclosure, extremes, where_finite
from .lines import Box, Lines, Relaxation, as_share
from .pieces import Lowest, Segment, no_error, relative_error
from .rounding import least_difference, storable_slope, trivial_if_undefined


@dataclass(frozen=True, slots=True, eq=False)
class PiecewiseLinear(Relaxation):
    """Linear pieces in the order of their ends.

    Attributes:
        name: name of the function.
        pieces: the pieces; together they cover the line.
        least: greatest known lower bound of all values.
        greatest: least known upper bound of all values.
        jumps: whether the function is discontinuous.
        knot_error: distance between the stored and the true ends of pieces; without jumps.
    """

    name: str
    pieces: tuple[Segment, ...]
    least: float = -torch.inf
    greatest: float = torch.inf
    jumps: bool = False
    knot_error: float = 0.0

    def value(self, x: Tensor) -> Tensor:
        """The function; at a jump, the value of the piece that contains the point."""
        return self._value(x.to(torch.float64)).to(x.dtype)

    def range(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Ends of an interval that contains all values on [lower, upper], rounded outward."""
        box = Box.of(lower, upper)
        return enclosure(box, self._extremes(box), (self.least, self.greatest))

    def lines(
        self,
        lower: Tensor,
        upper: Tensor,
        tangent: Tensor | None = None,
        *,
        upper_tangent: Tensor | None = None,
    ) -> Lines:
        """Facets of the hull at the middle, or slopes between those of its first and last facet."""
        box = Box.of(lower, upper)
        with torch.no_grad():
            corners = self._corners(box)
            low, high = self._extremes(box)
            below = where_finite(box, _chosen(corners, box, tangent), low)
            above = where_finite(box, _chosen(_mirrored(corners), box, upper_tangent), -high)
        return attached(box, (below, tangent), (above, upper_tangent))

    def _extremes(self, box: Box) -> tuple[Tensor, Tensor]:
        """Smallest and largest value; also of infinite intervals."""
        corners = self._corners(replace(box, lower=box.ends[0], upper=box.ends[1]))
        first = _first(corners)
        existing = [_where_exists(corner, first) for corner in corners]
        low, high = extremes([(corner.y, corner.error) for corner in existing])
        return low.clamp_min(self.least), high.clamp_max(self.greatest)

    def _value(self, x: Tensor) -> Tensor:
        result = self.pieces[0].value(x)
        for before, piece in itertools.pairwise(self.pieces):
            later = x >= piece.start if before.open_stop else x > piece.start
            result = torch.where(later, piece.value(x), result)
        return result

    def _error(self, x: Tensor, value: Tensor) -> Tensor:
        """Error of the piece that contains x."""
        result = self.pieces[0].value_error(x, value)
        for before, piece in itertools.pairwise(self.pieces):
            if piece.value_error is not before.value_error:
                result = torch.where(x > piece.start, piece.value_error(x, value), result)
        return result

    def _corners(self, box: Box) -> list[_Corner]:
        """Points of the graph between which it is straight, from left to right."""
        if self.jumps:
            return _ends_of_pieces(self.pieces, box)
        knots = [piece.start for piece in self.pieces[1:]]
        inner = [(torch.zeros_like(box.lower) + knot).clamp(box.lower, box.upper) for knot in knots]
        exists = torch.ones_like(box.finite)
        # A point closer to a knot than its error may have been given to the wrong piece.
        doubt = 4 * self.knot_error
        shift = doubt * max(piece.lipschitz for piece in self.pieces)
        values = [(x, self._value(x)) for x in (box.lower, *inner, box.upper)]
        return [_Corner(x, y, self._error(x, y) + shift, exists, doubt) for x, y in values]


def _chosen(corners: list[_Corner], box: Box, tangent: Tensor | None) -> Choice:
    """The lower line over ``corners``."""
    share = as_share(tangent)
    if share is None:
        slope, rate = _middle_slope(corners, box.middle), torch.zeros_like(box.middle)
    else:
        first, last = _extreme_slopes(corners)
        slope, rate = first + share * (last - first), last - first
    slope = storable_slope(slope, box.dtype)
    found = _lowest(corners, slope)
    return Choice(slope, found.bound, found.contact, rate)


@dataclass(frozen=True, slots=True, eq=False)
class _Corner:
    """A point of the graph, one per interval.

    Attributes:
        x: place.
        y: value of the function.
        error: bound of the error of ``y``.
        exists: whether the interval contains it.
        doubt: bound of the error of ``x``.
    """

    x: Tensor
    y: Tensor
    error: Tensor
    exists: Tensor
    doubt: float = 0.0


def _ends_of_pieces(pieces: tuple[Segment, ...], box: Box) -> list[_Corner]:
    """Both ends of every piece: limits from the left and from the right at a jump."""
    spans = [(piece, piece.within(box)) for piece in pieces]
    ends = [
        (piece, x, piece.value(x), span.active)
        for piece, span in spans
        for x in (span.left, span.right)
    ]
    return [_Corner(x, y, piece.value_error(x, y), active) for piece, x, y, active in ends]


def _mirrored(corners: list[_Corner]) -> list[_Corner]:
    """The corners of the negated function."""
    return [replace(corner, y=-corner.y) for corner in corners]


def _lowest(corners: list[_Corner], slope: Tensor) -> Lowest:
    """Certified lower bound of the corners over the line of ``slope`` through 0."""
    bound = torch.full_like(slope, torch.inf)
    contact = torch.zeros_like(slope)
    for corner in corners:
        error = corner.error + corner.doubt * slope.abs() if corner.doubt else corner.error
        height = least_difference(corner.y, error, slope, corner.x)
        # A height that is NaN must win: it bounds nothing.
        better = corner.exists & ~(height >= bound)
        bound = torch.where(better, height, bound)
        contact = torch.where(better, corner.x, contact)
    return Lowest(trivial_if_undefined(bound), contact)


def _middle_slope(corners: list[_Corner], middle: Tensor) -> Tensor:
    """Slope of the facet of the convex hull that lies over or ends at the middle."""
    height = torch.full_like(middle, torch.inf)
    slope = torch.zeros_like(middle)
    for first, second in itertools.combinations(corners, 2):
        width = second.x - first.x
        rise = (second.y - first.y) / width
        at_middle = first.y + rise * (middle - first.x)
        spans = (first.x <= middle) & (middle <= second.x) & (width > 0)
        better = first.exists & second.exists & spans & (at_middle < height)
        height, slope = torch.where(better, at_middle, height), torch.where(better, rise, slope)
    return slope


def _extreme_slopes(corners: list[_Corner]) -> tuple[Tensor, Tensor]:
    """Slopes of the first and of the last facet of the convex hull; 0 for a single point."""
    left, right = _first(corners), _first(corners[::-1])
    first = torch.full_like(left.x, torch.inf)
    last = torch.full_like(left.x, -torch.inf)
    for corner in corners:
        after = corner.exists & (corner.x > left.x)
        before = corner.exists & (corner.x < right.x)
        from_left = (corner.y - left.y) / (corner.x - left.x)
        to_right = (right.y - corner.y) / (right.x - corner.x)
        first = torch.where(after, torch.minimum(first, from_left), first)
        last = torch.where(before, torch.maximum(last, to_right), last)
    return first.nan_to_num(0, 0, 0), last.nan_to_num(0, 0, 0)


def _first(corners: list[_Corner]) -> _Corner:
    """The first corner that exists in each interval."""
    found = corners[-1]
    for corner in corners[-2::-1]:
        found = _where_exists(corner, found)
    return found


def _where_exists(new: _Corner, old: _Corner) -> _Corner:
    """``new`` where the interval contains it, else ``old``."""
    if new is old:
        return new
    pairs = ((new.x, old.x), (new.y, old.y), (new.error, old.error))
    x, y, error = (torch.where(new.exists, first, second) for first, second in pairs)
    return _Corner(x, y, error, new.exists | old.exists, max(new.doubt, old.doubt))


def linear_piece(
    start: float,
    stop: float,
    slope: float,
    intercept: float = 0.0,
    *,
    open_ends: tuple[bool, bool] = (False, False),
) -> Segment:
    """The line ``slope x + intercept`` on [start, stop]; exact where it needs no rounding."""
    exact = slope == 0 or (abs(slope) == 1 and intercept == 0)

    def value(x: Tensor) -> Tensor:
        return slope * x + intercept if slope else torch.full_like(x, intercept)

    return Segment(
        start,
        stop,
        0,
        value=value,
        slope=lambda x: torch.full_like(x, slope),
        value_error=no_error
        if exact
        else lambda x, _: relative_error(abs(slope) * x.abs() + abs(intercept)),
        slope_error=no_error,
        lipschitz=abs(slope),
        open_start=open_ends[0],
        open_stop=open_ends[1],
    )


def relu() -> PiecewiseLinear:
    """max(x, 0)."""
    return leaky_relu(0.0, name="relu")


def leaky_relu(slope: float = 0.01, *, name: str = "leaky_relu") -> PiecewiseLinear:
    """``x``, or slope x where negative; any finite slope."""
    _require_finite("slope", slope)
    pieces = (linear_piece(-math.inf, 0, slope), linear_piece(0, math.inf, 1))
    least = 0.0 if slope <= 0 else -math.inf
    return PiecewiseLinear(name, pieces, least=least)


def absolute() -> PiecewiseLinear:
    """|x|."""
    return leaky_relu(-1.0, name="abs")


def clip(low: float | None = None, high: float | None = None) -> PiecewiseLinear:
    """``x`` between ``low`` and ``high``; None for no limit. ``high`` wins where low > high."""
    least = -math.inf if low is None else low
    greatest = math.inf if high is None else high
    _require_number("low", least)
    _require_number("high", greatest)
    least = min(least, greatest)
    pieces = [linear_piece(least, greatest, 1)]
    if math.isfinite(least):
        pieces.insert(0, linear_piece(-math.inf, least, 0, least))
    if math.isfinite(greatest):
        pieces.append(linear_piece(greatest, math.inf, 0, greatest))
    return PiecewiseLinear("clip", tuple(pieces), least=least, greatest=greatest)


def hardtanh(low: float = -1.0, high: float = 1.0) -> PiecewiseLinear:
    """``x`` between -1 and 1, or other limits."""
    return replace(clip(low, high), name="hardtanh")


def hardsigmoid(alpha: float = 0.2, beta: float = 0.5) -> PiecewiseLinear:
    """``alpha x + beta`` between 0 and 1; alpha above 0."""
    _require_finite("beta", beta)
    _require_finite("alpha", alpha)
    if not alpha > 0:
        message = f"alpha must be above 0, got {alpha}"
        raise InvalidParameterError(message)
    first, last = -beta / alpha, (1 - beta) / alpha
    error = 1e-15 * (1 + abs(beta)) / alpha
    pieces = (
        linear_piece(-math.inf, first, 0, 0.0),
        linear_piece(first, last, alpha, beta),
        linear_piece(last, math.inf, 0, 1.0),
    )
    return PiecewiseLinear("hardsigmoid", pieces, least=0.0, greatest=1.0, knot_error=error)


def interpolation(
    knots: tuple[float, ...], values: tuple[float, ...], slopes: tuple[float, float] = (0.0, 0.0)
) -> PiecewiseLinear:
    """The continuous function through (knots, values) that ends with ``slopes`` on either side."""
    rising = all(first < second for first, second in itertools.pairwise(knots))
    if not knots or len(knots) != len(values) or not rising:
        message = "knots must rise strictly and have one value each"
        raise InvalidParameterError(message)
    for number in (*knots, *values, *slopes):
        _require_finite("every knot, value and slope", number)
    points = list(zip(knots, values, strict=True))
    pieces = [_through(-math.inf, knots[0], points[0], slopes[0])]
    for (left, low), (right, high) in itertools.pairwise(points):
        pieces.append(_through(left, right, (left, low), (high - low) / (right - left)))
    pieces.append(_through(knots[-1], math.inf, points[-1], slopes[1]))
    return PiecewiseLinear("interpolation", tuple(pieces))


def _through(start: float, stop: float, point: tuple[float, float], slope: float) -> Segment:
    """The line through ``point`` on [start, stop], with the rounding of its slope as error."""
    knot, height = point

    def error(x: Tensor, computed: Tensor) -> Tensor:
        size = 1.0 if math.isinf(start) or math.isinf(stop) else 1 + abs(height) / (stop - start)
        return relative_error((abs(slope) + size) * (x - knot).abs() + abs(height))

    return Segment(
        start,
        stop,
        0,
        value=lambda x: height + slope * (x - knot),
        slope=lambda x: torch.full_like(x, slope),
        value_error=error,
        slope_error=no_error,
    )


def greater(threshold: float = 0.0) -> PiecewiseLinear:
    """1 where x > threshold, else 0."""
    _require_finite("threshold", threshold)
    pieces = (
        linear_piece(-math.inf, threshold, 0, 0.0),
        linear_piece(threshold, math.inf, 0, 1.0, open_ends=(True, False)),
    )
    return PiecewiseLinear("greater", pieces, least=0.0, greatest=1.0, jumps=True)


def greater_or_equal(threshold: float = 0.0) -> PiecewiseLinear:
    """1 where x >= threshold, else 0."""
    _require_finite("threshold", threshold)
    pieces = (
        linear_piece(-math.inf, threshold, 0, 0.0, open_ends=(False, True)),
        linear_piece(threshold, math.inf, 0, 1.0),
    )
    return PiecewiseLinear("greater_or_equal", pieces, least=0.0, greatest=1.0, jumps=True)


def sign() -> PiecewiseLinear:
    """-1, 0 or 1."""
    pieces = (
        linear_piece(-math.inf, 0, 0, -1.0, open_ends=(False, True)),
        linear_piece(0, 0, 0, 0.0),
        linear_piece(0, math.inf, 0, 1.0, open_ends=(True, False)),
    )
    return PiecewiseLinear("sign", pieces, least=-1.0, greatest=1.0, jumps=True)


def thresholded_relu(threshold: float = 1.0) -> PiecewiseLinear:
    """``x`` where above the threshold, else 0."""
    _require_finite("threshold", threshold)
    pieces = (
        linear_piece(-math.inf, threshold, 0, 0.0),
        linear_piece(threshold, math.inf, 1, open_ends=(True, False)),
    )
    return PiecewiseLinear("thresholded_relu", pieces, least=min(0.0, threshold), jumps=True)


def shrink(bias: float = 0.0, threshold: float = 0.5) -> PiecewiseLinear:
    """0 where |x| <= threshold, else x moved towards zero by ``bias``; threshold at least 0."""
    _require_finite("bias", bias)
    _require_finite("threshold", threshold)
    if threshold < 0:
        message = f"threshold must be at least 0, got {threshold}"
        raise InvalidParameterError(message)
    pieces = (
        linear_piece(-math.inf, -threshold, 1, bias, open_ends=(False, True)),
        linear_piece(-threshold, threshold, 0, 0.0),
        linear_piece(threshold, math.inf, 1, -bias, open_ends=(True, False)),
    )
    return PiecewiseLinear("shrink", pieces, jumps=True)


def _require_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        message = f"{name} must be finite, got {value}"
        raise InvalidParameterError(message)


def _require_number(name: str, value: float) -> None:
    if math.isnan(value):
        message = f"{name} must be a number, got {value}"
        raise InvalidParameterError(message)
