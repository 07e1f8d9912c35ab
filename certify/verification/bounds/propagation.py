r"""Linear bounds propagated backward (CROWN), with intervals before them.

In a linear function :math:`\langle\lambda, z_v\rangle` of an operation's output, an affine
operation is replaced by its arguments, a non-linear one by the line that bounds it on the side that
the sign of the coefficient asks for, until a linear function of the input is left; its minimum over
the region is a lower bound. Zhang et al. 2018 (arXiv:1811.00866), for general graphs Xu et al. 2020
(arXiv:2002.12920).

Bounds of the arguments of non-linear operations come first: by intervals, and by the same
propagation where these leave a sign open.

An operation's output may be off by its rounding error: the propagation subtracts, for coefficients
:math:`\lambda` of an output, :math:`\langle|\lambda|, e\rangle` with the largest error e. The
rounding of the coefficients themselves is allowed for in the same product.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..network import Activation, Affine, Combination, Input, Network, Node, Product, Relu, Select
from ..outcome import Method
from .lines import Pieces, PlanePieces, activation_pieces, product_pieces, relu_pieces, rounded_up
from .rounding import UNIT, propagation_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .region import Region
    from .rounding import Rounding

MEMORY = 2**22
"""Bytes of the largest tensor of coefficients; more rows are propagated in several parts."""

LOOSENING = 1e-9
"""Relative amount by which computed bounds are loosened before they are used, so that another
computation of them in float64, with other rounding, confirms them."""

SAFETY = 1.001
"""Covers the rounding of sums of positive numbers."""


class OutOfTimeError(Exception):
    """The budget was spent before the bounds were complete."""


class UnboundedError(Exception):
    """The bounds of an operation overflow."""


@dataclass(slots=True)
class Splits:
    """Assumptions about the signs of ReLU inputs, one set for each row.

    Attributes:
        signs: 1 for not negative, -1 for not positive, 0 for no assumption; ``(r, *shape)`` by
            position of the ReLU.
        multipliers: non-negative Lagrange multipliers of the assumptions, likewise (Wang et al.
            2021, arXiv:2103.06624).
    """

    signs: dict[int, Tensor] = field(default_factory=dict)
    multipliers: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chain:
    """Affine operations in a row, whose constants a runtime may multiply before it runs.

    Attributes:
        gain: product of each one's terms and of its largest coefficient if that is above 1.
        reach: largest absolute value that enters, at least 1.
    """

    gain: float
    reach: float


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
        nonnegative: whether no term of the sum is negative.
    """

    terms: int
    size: Tensor
    exact: bool
    inner: bool
    chain: Chain
    nonnegative: bool

    def error(self, rounding: Rounding) -> Tensor:
        """Largest error of a float32 evaluation."""
        folded = 0.0 if self.inner else rounding.folding(self.chain.gain, self.chain.reach)
        if self.exact:
            return torch.full_like(self.size, folded)
        return rounding.evaluation(self.terms, self.size) + folded


@dataclass(slots=True)
class Bounds:
    """Bounds of every operation over a region.

    Attributes:
        network: the operations.
        region: the inputs.
        rounding: what is allowed for.
        lower: lower bounds of each output, ``shape``, float64.
        upper: upper bounds.
        errors: largest rounding error of each output.
        sizes: sum of the absolute values of the terms of each output.
        runs: affine operations, each with those before it in the same sum.
        tightened: elements whose bounds are by linear bounds, by position of the operation.
        squares: sizes of squared differences whose sum a runtime may compute in another way.
    """

    network: Network
    region: Region
    rounding: Rounding
    lower: list[Tensor] = field(default_factory=list)
    upper: list[Tensor] = field(default_factory=list)
    errors: list[Tensor] = field(default_factory=list)
    sizes: list[Tensor] = field(default_factory=list)
    runs: dict[int, Run] = field(default_factory=dict)
    tightened: dict[int, Tensor] = field(default_factory=dict)
    squares: dict[int, Tensor] = field(default_factory=dict)
    _pieces: dict[tuple[int, torch.dtype], Pieces] = field(default_factory=dict)
    _slack: dict[tuple[int, torch.dtype], Tensor] = field(default_factory=dict)
    _underflow: dict[tuple[int, torch.dtype], float] = field(default_factory=dict)

    def pieces(self, at: int, dtype: torch.dtype) -> Pieces:
        """Linear bounds of the non-linear operation at ``at``, in ``dtype``."""
        key = (at, dtype)
        if key not in self._pieces:
            node = self.network.nodes[at]
            low = [self.lower[parent] for parent in node.parents]
            high = [self.upper[parent] for parent in node.parents]
            if isinstance(node, Relu):
                self._pieces[key] = relu_pieces(low[0], high[0], dtype)
            elif isinstance(node, Activation):
                self._pieces[key] = activation_pieces(node.relaxation, low[0], high[0], dtype)
            else:
                self._pieces[key] = product_pieces(low, high, dtype)
        return self._pieces[key]

    def slack(self, at: int, dtype: torch.dtype) -> Tensor:
        """Largest error that coefficients of an output are multiplied with.

        That of the output, and that of the coefficients themselves, which have ``dtype``.
        """
        key = (at, dtype)
        if key not in self._slack:
            node, consumers = self.network.nodes[at], self.network.n_consumers
            uses = node.uses if isinstance(node, Affine) else 2
            added = max((consumers[parent] for parent in node.parents), default=1)
            share = propagation_error(uses + added, dtype)
            size = self.sizes[at]
            if isinstance(node, Activation):  # steps have other lines on intervals of other type
                piece = self.pieces(at, dtype)
                ends = [self._reach(parent) for parent in node.parents]
                if isinstance(piece, PlanePieces):
                    size = torch.maximum(size, piece.magnitude(*ends) + self._reach(at))
            self._slack[key] = rounded_up((self.errors[at] + share * size) * SAFETY, dtype)
        return self._slack[key]

    def underflow(self, at: int, dtype: torch.dtype) -> float:
        """What coefficients of the arguments lose, at most, by products too small for ``dtype``."""
        key = (at, dtype)
        if key not in self._underflow:
            node = self.network.nodes[at]
            uses = node.uses if isinstance(node, Affine) else 2
            reach = sum(float(self._reach(parent).sum()) for parent in node.parents)
            products = 2 * (uses * reach + 4 * node.size)
            self._underflow[key] = torch.finfo(dtype).tiny * products
        return self._underflow[key]

    def _reach(self, at: int) -> Tensor:
        """Largest absolute value of each output."""
        return torch.maximum(self.lower[at].abs(), self.upper[at].abs())

    @property
    def relus(self) -> list[int]:
        """Positions of ReLUs with inputs of open sign."""
        return [
            at
            for at, node in enumerate(self.network.nodes)
            if isinstance(node, Relu) and bool(self.unstable(at).any())
        ]

    def unstable(self, at: int) -> Tensor:
        """Which inputs of the ReLU at ``at`` may have either sign."""
        (parent,) = self.network.nodes[at].parents
        return (self.lower[parent] < 0) & (self.upper[parent] > 0)

    def minimum(
        self,
        start: int,
        rows: Tensor,
        *,
        slopes: Mapping[int, Tensor] | None = None,
        splits: Splits | None = None,
        record: dict[int, Tensor] | None = None,
    ) -> Tensor:
        """Lower bounds ``(r,)`` of ``<rows, z>`` for the output z of an operation; float64.

        Differentiable in ``slopes`` and in the multipliers of ``splits``.

        Args:
            start: position of the operation.
            rows: coefficients ``(r, *shape)``.
            slopes: slopes in [0, 1] of the lower lines of ReLUs, ``(r, *shape)`` by position.
            splits: assumptions about signs.
            record: receives the coefficients of the outputs of ReLUs, and of the input at 0.
        """
        slopes, splits = slopes or {}, splits or Splits()
        waiting: dict[int, Tensor] = {start: rows}
        total = torch.zeros(len(rows), dtype=torch.float64)
        for at in range(start, -1, -1):
            coefficients = waiting.pop(at, None)
            if coefficients is None:
                continue
            node = self.network.nodes[at]
            total = total - _weighted(coefficients, self.slack(at, coefficients.dtype))
            total = total - self.underflow(at, coefficients.dtype)
            if isinstance(node, Input):
                if record is not None:
                    record[at] = coefficients.detach()
                total = total + self.region.minimum(coefficients)
                continue
            if isinstance(node, Affine):
                total = total + node.constant(coefficients)
                parts = node.transpose(coefficients)
            else:
                if record is not None and isinstance(node, Relu):
                    record[at] = coefficients.detach()
                parts, constant = self.pieces(at, coefficients.dtype).substituted(
                    coefficients, slopes.get(at), splits.signs.get(at)
                )
                total = total + constant
                if at in splits.multipliers:
                    signed = splits.multipliers[at] * splits.signs[at]
                    parts = (parts[0] - signed,)
                    total = total - self._of_multipliers(node, signed)
            for parent, part in zip(node.parents, parts, strict=True):
                waiting[parent] = waiting[parent] + part if parent in waiting else part
        return torch.where(total < torch.inf, total, -torch.inf)  # the signs of an overflow

    def _of_multipliers(self, node: Node, signed: Tensor) -> Tensor:
        """Rounding of the coefficients to which multipliers were added."""
        (parent,) = node.parents
        size = torch.maximum(self.lower[parent].abs(), self.upper[parent].abs())
        return 4 * UNIT[signed.dtype] * _weighted(signed, size)

    def minima(self, start: int, rows: Tensor, *, deadline: float = float("inf")) -> Tensor:
        """:meth:`minimum` of many rows, in parts that fit into memory, without gradients."""
        width = self.network.largest * rows.element_size()
        step = max(1, MEMORY // width)
        found = []
        with torch.no_grad():
            for part in torch.split(rows, step):
                if time.monotonic() > deadline:
                    raise OutOfTimeError
                found.append(self.minimum(start, part))
        return torch.cat(found)


def _weighted(coefficients: Tensor, error: Tensor) -> Tensor:
    """``sum(|coefficients| * error)`` of each row; no gradient: it is too small to steer by."""
    flat = coefficients.detach().flatten(1).abs()
    safety = 1 + 2 * (flat.shape[1] + 4) * UNIT[flat.dtype]  # a sum of positive numbers
    return (flat @ error.flatten().to(flat.dtype)).double() * safety


def propagate(
    network: Network,
    region: Region,
    rounding: Rounding,
    *,
    method: Method = Method.CROWN,
    deadline: float = float("inf"),
) -> Bounds:
    """Bounds of every operation.

    Args:
        network: the operations.
        region: the inputs.
        rounding: what is allowed for.
        method: ``INTERVAL`` for intervals only; any other for linear bounds where they help.
        deadline: ``time.monotonic()`` after which it stops.

    Raises:
        OutOfTimeError: the deadline passed.
    """
    bounds = Bounds(network, region, rounding)
    readers = _nonlinear_readers(network)
    for at, node in enumerate(network.nodes):
        lower, upper, magnitude, error = _interval(bounds, node)
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
        if at in readers and method is not Method.INTERVAL and not _exact(network, region, at):
            _tighten(bounds, at, readers[at], deadline)
        if time.monotonic() > deadline:
            raise OutOfTimeError
    return bounds


def _nonlinear_readers(network: Network) -> dict[int, bool]:
    """Operations that a non-linear one reads; True where the sign alone decides (ReLU)."""
    found: dict[int, bool] = {}
    for node in network.nodes:
        if not isinstance(node, Affine | Input):
            for parent in node.parents:
                found[parent] = found.get(parent, True) and isinstance(node, Relu)
    return found


def _exact(network: Network, region: Region, at: int) -> bool:
    """Whether intervals are exact: an affine chain of the input in linf."""
    from robcert.certify.core import Norm

    if region.norm is not Norm.LINF:
        return False
    reads, products = at, 0
    while isinstance(network.nodes[reads], Affine):
        parents = network.nodes[reads].parents
        if len(parents) != 1:
            return False
        products += type(network.nodes[reads]).__name__ in {"Dense", "Convolution"}
        (reads,) = parents
    return isinstance(network.nodes[reads], Input) and products <= 1


def _interval(bounds: Bounds, node: Node) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Interval of a node, the size of its terms, and its largest error, which it includes."""
    rounding, at = bounds.rounding, len(bounds.lower)
    low = [bounds.lower[parent] for parent in node.parents]
    high = [bounds.upper[parent] for parent in node.parents]
    if isinstance(node, Input):
        lower, upper = bounds.region.lower.view(node.shape), bounds.region.upper.view(node.shape)
        size = torch.maximum(lower.abs(), upper.abs())
        return lower, upper, size, torch.zeros_like(size)
    sizes = [torch.maximum(a.abs(), b.abs()) for a, b in zip(low, high, strict=True)]
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
        error = rounding.product(size)
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
        (bounds._reach(parent) if size is None else size)[None]
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
    chain = _chain(bounds, node, sizes)
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
    return Run(terms, node.magnitude(parts)[0], exact, node.inner, chain, nonnegative)


def _chain(bounds: Bounds, node: Affine, sizes: list[Tensor]) -> Chain:
    """The affine operations in a row that end with ``node``."""
    gain, reach = 1.0, 1.0
    for parent, size in zip(node.parents, sizes, strict=True):
        run = bounds.runs.get(parent)
        if run is None:
            reach = max(reach, float(size.max()))
        else:
            gain, reach = max(gain, run.chain.gain), max(reach, run.chain.reach)
    return Chain(gain * node.terms * max(1.0, node.largest_coefficient), reach)


def _affine_interval(
    bounds: Bounds, node: Affine, low: list[Tensor], high: list[Tensor], run: Run
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """:func:`_interval` of an affine operation, which is the last of its ``run`` so far."""
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
        loss = rounding.interval(node.terms, least)
        loss = loss if run.exact else loss + rounding.evaluation(run.terms, least)
        lower = torch.maximum(lower, least - loss)
    if isinstance(node, Combination) and node.maximum_of:
        first, second = node.maximum_of
        lower = torch.maximum(lower, torch.maximum(bounds.lower[first], bounds.lower[second]))
        upper = torch.minimum(upper, torch.maximum(bounds.upper[first], bounds.upper[second]))
    return lower, upper, run.size, error


def _tighten(bounds: Bounds, at: int, by_sign: bool, deadline: float) -> None:
    """Replace the interval of an operation by linear bounds where that may help."""
    lower, upper = bounds.lower[at], bounds.upper[at]
    open_units = (lower < 0) & (upper > 0) if by_sign else upper > lower
    units = open_units.flatten().nonzero().flatten()
    if not len(units):
        return
    low = _linear_minima(bounds, at, units, 1.0, deadline)
    flat_lower, flat_upper = lower.flatten().clone(), upper.flatten().clone()
    flat_lower[units] = torch.maximum(flat_lower[units], low - LOOSENING * (1 + low.abs()))
    # a sign that is known needs no upper bound
    units_above = units[flat_lower[units] < 0] if by_sign else units
    if len(units_above):
        high = -_linear_minima(bounds, at, units_above, -1.0, deadline)
        high = high + LOOSENING * (1 + high.abs())
        flat_upper[units_above] = torch.minimum(flat_upper[units_above], high)
    bounds.lower[at] = flat_lower.view_as(lower)
    bounds.upper[at] = flat_upper.view_as(upper)
    bounds.tightened[at] = units


def _linear_minima(bounds: Bounds, at: int, units: Tensor, sign: float, deadline: float) -> Tensor:
    """Lower bounds of ``sign`` times each of the elements ``units`` of an operation's output."""
    node, dtype = bounds.network.nodes[at], bounds.rounding.dtype
    step = max(1, MEMORY // (node.size * torch.finfo(dtype).bits // 8))
    found = []
    for part in torch.split(units, step):
        rows = torch.zeros(len(part), node.size, dtype=dtype)
        rows[torch.arange(len(part)), part] = sign
        found.append(bounds.minima(at, rows.view(len(part), *node.shape), deadline=deadline))
    return torch.cat(found)
