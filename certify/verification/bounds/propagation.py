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

from ..network import (
    Activation,
    Affine,
    Combination,
    Input,
    Network,
    Node,
    Relu,
    Window,
    by_row,
    cut,
    joined,
    widened,
)
from .lines import Pieces, PlanePieces, activation_pieces, product_pieces, relu_pieces, rounded_up
from .rounding import UNIT, gamma, propagation_error
from .tiles import window_sizes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .folding import Chain
    from .intervals import Run
    from .region import Region
    from .rounding import Rounding

MEMORY = 2**22
"""Bytes of the largest tensor of coefficients; more rows are propagated in several parts."""

SAFETY = 1.001
"""Covers the rounding of sums of positive numbers."""


class OutOfTimeError(Exception):
    """The budget was spent before the bounds were complete.

    Attributes:
        at: position of the operation in work, -1 if it is not known.
    """

    def __init__(self, at: int = -1) -> None:
        super().__init__(at)
        self.at = at


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
        scales: single numbers that multiply an output, by its position.
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
    scales: dict[int, Chain] = field(default_factory=dict)
    _pieces: dict[tuple[int, torch.dtype], Pieces] = field(default_factory=dict)
    _slack: dict[tuple[int, torch.dtype], Tensor | None] = field(default_factory=dict)
    _exact: dict[int, bool] = field(default_factory=dict)
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

    def slack(self, at: int, dtype: torch.dtype) -> Tensor | None:
        """Largest error that coefficients of an output are multiplied with; None where all are 0.

        That of the output, that of the coefficients themselves, which have ``dtype``, and those
        of arguments that have the same coefficients: see :meth:`_is_only_added`.
        """
        key = (at, dtype)
        if key not in self._slack:
            total = None if self.rounds_nothing(at) else self._own_slack(at, dtype)
            for parent in self.network.nodes[at].parents:
                part = self.slack(parent, dtype) if self._is_only_added(parent) else None
                if part is not None:
                    total = part.double() if total is None else total + part.double()
            self._slack[key] = None if total is None else rounded_up(total * SAFETY, dtype)
        return self._slack[key]

    def _own_slack(self, at: int, dtype: torch.dtype) -> Tensor:
        """Error of an output and of the coefficients of its arguments."""
        node, consumers = self.network.nodes[at], self.network.n_consumers
        uses = node.uses if isinstance(node, Affine) else 2
        added = max((consumers[parent] for parent in node.parents), default=1)
        share = propagation_error(uses + added, dtype)
        if isinstance(node, Affine):  # constants that were computed, in float64
            share += gamma(node.terms, UNIT[torch.float64])
        size = self.sizes[at]
        if isinstance(node, Activation):  # steps have other lines on intervals of other type
            piece = self.pieces(at, dtype)
            ends = [self.reach(parent) for parent in node.parents]
            if isinstance(piece, PlanePieces):
                size = torch.maximum(size, piece.magnitude(*ends) + self.reach(at))
        return self.errors[at] + share * size

    def _is_only_added(self, at: int) -> bool:
        """Whether an output is read once, by a sum that adds or subtracts it as it is.

        It has the coefficients of that sum, whose slack includes its own.
        """
        readers = self.network.readers[at]
        if len(readers) != 1:
            return False
        reader = self.network.nodes[readers[0]]
        return isinstance(reader, Combination) and reader.only_adds

    def rounds_nothing(self, at: int) -> bool:
        """Whether neither the output nor the coefficients of its arguments are ever rounded."""
        if at not in self._exact:
            node, consumers = self.network.nodes[at], self.network.n_consumers
            self._exact[at] = (
                isinstance(node, Affine)
                and node.only_moves
                and all(consumers[parent] == 1 for parent in node.parents)
                and not bool(self.errors[at].any())
            )
        return self._exact[at]

    def underflow(self, at: int, dtype: torch.dtype) -> float:
        """What coefficients of the arguments lose, at most, by products too small for ``dtype``."""
        key = (at, dtype)
        if key not in self._underflow:
            node = self.network.nodes[at]
            uses = node.uses if isinstance(node, Affine) else 2
            reach = sum(float(self.reach(parent).sum()) for parent in node.parents)
            products = 2 * (uses * reach + 4 * node.size)
            self._underflow[key] = torch.finfo(dtype).tiny * products
        return self._underflow[key]

    def reach(self, at: int) -> Tensor:
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
        window: Window | None = None,
        *,
        slopes: Mapping[int, Tensor] | None = None,
        splits: Splits | None = None,
        record: dict[int, Tensor] | None = None,
    ) -> Tensor:
        """Lower bounds ``(r,)`` of ``<rows, z>`` for the output z of an operation; float64.

        Differentiable in ``slopes`` and in the multipliers of ``splits``.

        Args:
            start: position of the operation.
            rows: coefficients ``(r, *window)``.
            window: part of the output outside of which all coefficients are 0; None for all of
                it, which ``slopes``, ``splits`` and ``record`` ask for.
            slopes: slopes in [0, 1] of the lower lines of ReLUs, ``(r, *shape)`` by position.
            splits: assumptions about signs.
            record: receives the coefficients of the outputs of ReLUs, and of the input at 0.
        """
        slopes, splits = slopes or {}, splits or Splits()
        waiting = {start: (rows, window)}
        total = torch.zeros(len(rows), dtype=torch.float64)
        for at in range(start, -1, -1):
            if at not in waiting:
                continue
            coefficients, window = waiting.pop(at)
            node = self.network.nodes[at]
            counted = at != start and self._is_only_added(at)
            total = total - self._lost(at, coefficients, window, counted=counted)
            if isinstance(node, Input):
                coefficients = widened(coefficients, window, None, node.shape)
                if record is not None:
                    record[at] = coefficients.detach()
                total = total + self.region.minimum(coefficients)
                break  # the input is the first
            if record is not None and isinstance(node, Relu):
                record[at] = coefficients.detach()
            if isinstance(node, Affine):
                total = total + node.constant(coefficients, window)
                parts, windows = node.transpose(coefficients, window), node.reads(window)
            else:
                pieces = self.pieces(at, coefficients.dtype).within(window)
                assumed = splits.signs.get(at)
                parts, constant = pieces.substituted(coefficients, slopes.get(at), assumed)
                total = total + constant
                if assumed is not None and at in splits.multipliers:
                    signed = splits.multipliers[at] * assumed
                    parts = (parts[0] - signed,)
                    total = total - self._of_multipliers(node, signed)
                windows = (window,) * len(node.parents)
            self._pass_on(node, zip(parts, windows, strict=True), waiting)
        return torch.where(total < torch.inf, total, -torch.inf)  # the signs of an overflow

    def _lost(
        self, at: int, rows: Tensor, window: Window | None, *, counted: bool
    ) -> Tensor | float:
        """What rounding may take from the products of ``rows`` with an output.

        Args:
            at: position of the operation.
            rows: coefficients ``(r, *window)``.
            window: part of the output that they cover.
            counted: whether the slack of the reader held that of this output.
        """
        slack = None if counted else self.slack(at, rows.dtype)
        underflow = 0.0 if self.rounds_nothing(at) else self.underflow(at, rows.dtype)
        return underflow if slack is None else _weighted(rows, cut(slack, window)) + underflow

    def _pass_on(self, node: Node, parts: Iterable[Rows], waiting: dict[int, Rows]) -> None:
        """Add coefficients of a node's arguments to those that wait for them."""
        for parent, part in zip(node.parents, parts, strict=True):
            shape = self.network.nodes[parent].shape
            waiting[parent] = _added(waiting[parent], part, shape) if parent in waiting else part

    def _of_multipliers(self, node: Node, signed: Tensor) -> Tensor:
        """Rounding of the coefficients to which multipliers were added."""
        (parent,) = node.parents
        size = torch.maximum(self.lower[parent].abs(), self.upper[parent].abs())
        return 4 * UNIT[signed.dtype] * _weighted(signed, size)

    def minima(
        self,
        start: int,
        rows: Tensor,
        window: Window | None = None,
        *,
        deadline: float = float("inf"),
    ) -> Tensor:
        """:meth:`minimum` of many rows, in parts that fit into memory, without gradients."""
        widest = max(size for _, size in window_sizes(self.network, start, window))
        step = max(1, MEMORY // (widest * rows.element_size()))
        found = []
        with torch.no_grad():
            for part in torch.split(rows, step):
                if time.monotonic() > deadline:
                    raise OutOfTimeError(start)
                found.append(self.minimum(start, part, window))
        return torch.cat(found)


Rows = tuple[Tensor, "Window | None"]
"""Coefficients of an operation's output, and the window that they cover."""


def _added(first: Rows, second: Rows, shape: tuple[int, ...]) -> Rows:
    """The sum of two rows of coefficients of an output of ``shape``."""
    both = joined(first[1], second[1])
    return widened(*first, both, shape) + widened(*second, both, shape), both


def _weighted(coefficients: Tensor, error: Tensor) -> Tensor:
    """``sum(|coefficients| * error)`` of each row; no gradient: it is too small to steer by."""
    flat = by_row(coefficients.detach()).abs()
    safety = 1 + 2 * (flat.shape[1] + 4) * UNIT[flat.dtype]  # a sum of positive numbers
    return (flat @ error.flatten().to(flat.dtype)).double() * safety
