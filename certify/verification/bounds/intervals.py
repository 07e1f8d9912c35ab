"""Intervals of the outputs of operations, with the errors of their evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..network import Activation, Affine, Combination, Input, Node, Product, Relu, Select
from .folding import affine_chain, scale_chain
from .lines import PlanePieces

if TYPE_CHECKING:
    from .folding import Chain
    from .propagation import Bounds
    from .rounding import Rounding


class UnboundedError(Exception):
    """The bounds of an operation overflow."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Affine operations that a runtime may compute as one sum, in any order.

    A bias, a batch normalisation or a residual that follows a convolution may enter its sum first
    and then passes all of its roundings.

    Attributes:
        terms: numbers that are added up.
        size: sum of their absolute values, ``shape``.
        exact: whether the rounding error is stated elsewhere.
        inner: whether it is a part of an operation that rounds nothing.
        chain: all affine operations since the last other one.
        scale: numbers that scale the output, also from before a product of two; None for none.
        nonnegative: whether no term of the sum is negative.
    """

    terms: int
    size: Tensor
    exact: bool
    inner: bool
    chain: Chain
    scale: Chain | None
    nonnegative: bool

    def folded(self, rounding: Rounding) -> float:
        """Largest error by constants that a runtime multiplies before it runs."""
        return 0.0 if self.inner else rounding.folding(self.chain, self.scale)

    def error(self, rounding: Rounding) -> Tensor:
        """Largest error of a float32 evaluation."""
        folded = self.folded(rounding)
        if self.exact:
            return torch.full_like(self.size, folded)
        return rounding.evaluation(self.terms, self.size) + folded


def extend(bounds: Bounds) -> None:
    """Append the interval of the first operation that has none.

    Raises:
        UnboundedError: it may overflow.
    """
    node, rounding, at = bounds.network.nodes[len(bounds.lower)], bounds.rounding, len(bounds.lower)
    lower, upper, magnitude, error = interval(bounds, node)
    bounds.lower.append(lower)
    bounds.upper.append(upper)
    bounds.errors.append(error)
    bounds.sizes.append(magnitude)
    reach = torch.maximum(lower.abs(), upper.abs())
    reach = torch.maximum(reach, bounds.runs[at].size) if at in bounds.runs else reach
    if isinstance(node, Affine | Product) and not rounding.resolves(reach):
        raise UnboundedError(node.label)
    if not bool(torch.isfinite(magnitude + error).all()) or not (
        node.inner or rounding.holds(reach)
    ):
        raise UnboundedError(node.label)


def interval(bounds: Bounds, node: Node) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Interval of a node, the size of its terms, and its largest error, which it includes."""
    rounding, at = bounds.rounding, len(bounds.lower)
    low = [bounds.lower[parent] for parent in node.parents]
    high = [bounds.upper[parent] for parent in node.parents]
    if isinstance(node, Input):
        lower, upper = bounds.region.lower.view(node.shape), bounds.region.upper.view(node.shape)
        size = torch.maximum(lower.abs(), upper.abs())
        return lower, upper, size, torch.zeros_like(size)
    sizes = [torch.maximum(a.abs(), b.abs()) for a, b in zip(low, high, strict=True)]
    scale = scale_chain(bounds, node, sizes)
    if scale is not None:
        bounds.scales[at] = scale
    if isinstance(node, Affine):
        run = _run(bounds, node, sizes)
        bounds.runs[at] = run
        if isinstance(node, Select) and any(parent in bounds.squares for parent in node.parents):
            bounds.squares[at] = run.size
        return _affine_interval(bounds, node, low, high, run)
    if isinstance(node, Relu):
        lower, upper = low[0].clamp(min=0), high[0].clamp(min=0)
        return lower, upper, torch.where(high[0] > 0, 2 * sizes[0], 0.0), torch.zeros_like(lower)
    if isinstance(node, Product):
        corners = torch.stack([a * b for a in (low[0], high[0]) for b in (low[1], high[1])])
        size = sizes[0] * sizes[1]
        error = rounding.product(size) + rounding.folding(scale)
        off = rounding.interval(1, size) + error
        return corners.amin(0) - off, corners.amax(0) + off, 4 * size, error
    if isinstance(node, Activation):
        name = node.relaxation.name
        _note_square(bounds, node)
        piece = bounds.pieces(at, torch.float64)
        lower, upper = node.relaxation.range(low[0], high[0])
        value = torch.maximum(lower.abs(), upper.abs())
        size = piece.magnitude(sizes[0]) + value if isinstance(piece, PlanePieces) else value
        if node.inner:
            return lower, upper, size, torch.zeros_like(value)
        below, above = (rounding.function(name, end, node.error) for end in (lower, upper))
        return lower - below, upper + above, size, rounding.function(name, value, node.error)
    raise TypeError(type(node).__name__)


def _note_square(bounds: Bounds, node: Activation) -> None:
    """Note the size of a squared difference; see :meth:`Rounding.square_of_difference`."""
    size = _difference(bounds, node.parents[0]) if node.relaxation.name == "square" else None
    size = None if size is None else bounds.rounding.square_of_difference(size)
    if size is not None:
        bounds.squares[len(bounds.lower)] = size


def _difference(bounds: Bounds, at: int) -> Tensor | None:
    """Size of the terms of a sum or difference, whose elements may have been moved; else None."""
    node = bounds.network.nodes[at]
    if isinstance(node, Combination) and len(node.parents) > 1:
        return bounds.runs[at].size
    if not isinstance(node, Select):
        return None
    found = [_difference(bounds, parent) for parent in node.parents]
    if all(size is None for size in found):
        return None
    sizes = [
        (bounds.reach(parent) if size is None else size)[None]
        for parent, size in zip(node.parents, found, strict=True)
    ]
    return node.magnitude(sizes)[0]


def _run(bounds: Bounds, node: Affine, sizes: list[Tensor]) -> Run:
    """The sum that ends with ``node``; ``sizes`` bound the absolute values of its arguments."""
    terms, parts = node.terms, []
    fused = bounds.network.fused
    for parent, size in zip(node.parents, sizes, strict=True):
        run = bounds.runs.get(parent)
        if run is not None and fused[parent]:
            terms += run.terms
            parts.append(run.size[None])
        else:
            parts.append(bounds.squares.get(parent, size)[None])
    at = len(bounds.lower)
    exact = node.inner or fused[at] or isinstance(node, Select)
    chain, scale = affine_chain(bounds, node, sizes), bounds.scales.get(at)
    squared = any(parent in bounds.squares for parent in node.parents)
    nonnegative = (
        not squared
        and node.nonnegative
        and all(
            bounds.runs[parent].nonnegative
            if fused[parent]
            else bool((bounds.lower[parent] >= 0).all())
            for parent in node.parents
        )
    )
    return Run(terms, node.magnitude(parts)[0], exact, node.inner, chain, scale, nonnegative)


def _affine_interval(
    bounds: Bounds, node: Affine, low: list[Tensor], high: list[Tensor], run: Run
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """:func:`interval` of an affine operation, which is the last of its ``run`` so far."""
    rounding = bounds.rounding
    middle = [((a + b) / 2)[None] for a, b in zip(low, high, strict=True)]
    half = [((b - a) / 2)[None] for a, b in zip(low, high, strict=True)]
    centre = node.apply(middle)[0]
    reach = node.magnitude(half, constant=False)[0]
    error = run.error(rounding)
    off = rounding.interval(run.terms, run.size) + error
    lower, upper = centre - reach - off, centre + reach + off
    if run.nonnegative:
        # the relative error of a sum of numbers that are not negative is small at its lower end too
        least = node.apply([part[None] for part in low])[0]
        loss = rounding.interval(node.terms, least) + run.folded(rounding)
        loss = loss if run.exact else loss + rounding.evaluation(run.terms, least)
        lower = torch.maximum(lower, least - loss)
    if isinstance(node, Combination) and node.maximum_of:
        first, second = node.maximum_of
        lower = torch.maximum(lower, torch.maximum(bounds.lower[first], bounds.lower[second]))
        upper = torch.minimum(upper, torch.maximum(bounds.upper[first], bounds.upper[second]))
    return lower, upper, run.size, error
