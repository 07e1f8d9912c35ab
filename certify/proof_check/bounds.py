r"""Bounds of every node over a region: intervals, and linear functions propagated backward.

A linear function of a node's output becomes one of its arguments: exactly for affine nodes, by a
line for a ReLU with input z in [l, u]: above it :math:`u (z - l) / (u - l)`, below it
:math:`\alpha z` with any :math:`\alpha \in [0, 1]`. At the pixels its minimum over the region is
known (Zhang et al. 2018, arXiv:1811.00866). Under assumed signs of ReLU inputs,
:math:`s z \ge 0`, any :math:`\beta \ge 0` gives :math:`f \ge f - \beta s z`, and the ReLU is z or 0
(Wang et al. 2021, arXiv:2103.06624). Rounding: see the module ``rounding``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .errors import UncheckableModelError
from .maps import Choice, Convolution, Factors, LinearMap, Matrix, Sum
from .network import Kind, Network, Node
from .rounding import INFLATION, LARGEST, UNDERFLOW, UNIT64, float32_error, gamma

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .region import Region

    Array = NDArray[np.float64]

SMALLEST = 2.0**-120
"""Products of constants below it may underflow in float32."""

SMALLEST_REAL = 2.0**-900
"""Products below it may vanish in float64, in which the checker computes."""

LARGEST_REAL = 1e90
"""Numbers up to which coefficients that vanish in float64 change no bound."""

COEFFICIENTS = 2**16
"""Elements of an array of coefficients in work together; they fit into the cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Lines of some elements of a ReLU, ``(c,)`` for all rows or ``(r, c)``; others are 0 or z.

    Attributes:
        columns: the elements ``(c,)``.
        lower: slope of the line below, through 0.
        upper: slope of the line above.
        offset: its value at 0.
        multipliers: assumed signs times their multipliers; None where no sign is assumed.
    """

    columns: NDArray[np.int64]
    lower: Array
    upper: Array
    offset: Array
    multipliers: Array | None = None

    @classmethod
    def over(cls, low: Array, high: Array, columns: NDArray[np.int64]) -> Lines:
        """Lines of ``columns`` over ``[low, high]``; below that of slope 0 or 1 with less area."""
        low, high = low[columns], high[columns]
        active, dead = low >= 0, high <= 0
        slope = np.clip(high / np.maximum(high - low, 1e-300), 0, 1)
        slope = np.where(active, 1.0, np.where(dead, 0.0, slope))
        # max(z, 0) - slope z is convex: it is largest at one of the ends
        offset = np.maximum(-slope * low, (1 - slope) * high) * (1 + 8 * UNIT64) + 1e-300
        offset = np.where(active | dead, 0.0, offset)
        return cls(columns, np.where(active, 1.0, (high > -low) & ~dead), slope, offset)


def _coefficients(linear: LinearMap) -> Array:
    """Sizes of the coefficients other than 0, and 1."""
    values = np.zeros(0)
    if isinstance(linear, Matrix | Convolution):
        values = linear.weight.ravel()
    elif isinstance(linear, Factors):
        values = np.atleast_1d(linear.factor)
    return np.append(np.abs(values[values != 0]), 1.0)


@dataclass(slots=True, eq=False)
class Bounds:
    """Bounds of the nodes before some position; :meth:`extend` adds the next one.

    Attributes:
        network: the nodes.
        region: the images.
        float32: whether the bounds hold for every evaluation in float32, or for the exact one.
        lower: lower bounds of each node's output.
        upper: upper bounds.
        lines: default lines of the inputs of open sign of each ReLU.
        passed: 1 where the input of a ReLU cannot be negative, else 0.
        slack: largest error of each output that is multiplied by coefficients of the output.
        magnitude: M of each output: absolute terms since the last cut.
        roundings: n of each output.
        least: smallest product of constants other than 0 since the last cut, of each output.
        most: largest one, and what it makes of the numbers that enter, in any order.
        readers: nodes that read each output.
    """

    network: Network
    region: Region
    float32: bool
    lower: list[Array] = field(default_factory=list)
    upper: list[Array] = field(default_factory=list)
    lines: dict[int, Lines] = field(default_factory=dict)
    passed: dict[int, Array] = field(default_factory=dict)
    slack: list[Array] = field(default_factory=list)
    magnitude: list[Array] = field(default_factory=list)
    roundings: list[int] = field(default_factory=list)
    least: dict[int, float] = field(default_factory=dict)
    most: dict[int, float] = field(default_factory=dict)
    readers: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.readers = [0] * len(self.network.nodes)
        for node in self.network.nodes:
            for parent in node.parents:
                self.readers[parent] += 1

    def extend(self) -> int:
        """Position of the next node, whose interval and slack are computed."""
        at = len(self.lower)
        node = self.network.nodes[at]
        {
            Kind.INPUT: self._pixels,
            Kind.AFFINE: self._affine,
            Kind.CUT: self._cut,
            Kind.RELU: self._relu,
        }[node.kind](node)
        largest = np.inf if self.float32 else LARGEST_REAL
        if not bool((self._size(at) < largest).all()):  # nor NaN
            message = f"{node.label}: its bounds overflow"
            raise UncheckableModelError(message)
        return at

    def _append(self, low: Array, high: Array, slack: Array) -> None:
        self.lower.append(low)
        self.upper.append(high)
        self.slack.append(slack)

    def _size(self, at: int) -> Array:
        return np.maximum(np.abs(self.lower[at]), np.abs(self.upper[at]))

    def _length(self, node: Node, uses: int) -> float:
        """Higham's bound for the sums of a backward step through ``node``."""
        added = max((self.readers[parent] for parent in node.parents), default=1)
        return gamma(uses + added + node.size + 32, UNIT64) * INFLATION

    def _pixels(self, node: Node) -> None:
        self._append(self.region.lower, self.region.upper, np.zeros(node.size))
        self.magnitude.append(self._size(0) + UNDERFLOW)
        self.roundings.append(0)

    def _affine(self, node: Node) -> None:
        linear = node.map
        assert linear is not None
        low = [self.lower[parent][None] for parent in node.parents]
        high = [self.upper[parent][None] for parent in node.parents]
        sizes = [self._size(parent) for parent in node.parents]
        constant = np.zeros(node.size) if node.offset is None else node.offset
        middle = linear.forward([(a + b) / 2 for a, b in zip(low, high, strict=True)])[0]
        stacked = [
            np.stack([(b[0] - a[0]) / 2, size, self.magnitude[parent]])
            for a, b, size, parent in zip(low, high, sizes, node.parents, strict=True)
        ]
        reach, size, terms = linear.forward(stacked, absolute=True)
        size = size + np.abs(constant)
        off = gamma(2 * linear.terms + 32, UNIT64) * INFLATION * size
        below = middle + constant - reach - off
        above = middle + constant + reach + off
        before = [self.roundings[parent] for parent in node.parents]
        merged = sum(before) if isinstance(linear, Sum) else max(before)
        if isinstance(linear, Choice):  # nothing is computed
            ends = linear.forward([np.concatenate(pair) for pair in zip(low, high, strict=True)])
            below, above = ends + constant
        if node.larger_of:
            first, second = node.larger_of
            below = np.maximum(below, np.maximum(self.lower[first], self.lower[second]))
            above = np.minimum(above, np.maximum(self.upper[first], self.upper[second]))
        self._append(below, above, self._length(node, linear.uses) * size)
        tiny = UNDERFLOW * (1 + max(float(size.max()) for size in sizes))
        self.magnitude.append((terms + np.abs(constant) + tiny) * INFLATION)
        self._require_representable(node, linear, sizes)
        self.roundings.append(merged + node.roundings)

    def _require_representable(self, node: Node, linear: LinearMap, sizes: list[Array]) -> None:
        """Raise where numbers may vanish or overflow that the bounds do not show.

        In float32 those are products of constants that a runtime multiplies with each other before
        it runs; in exact arithmetic those of the checker itself.
        """
        known, at = _coefficients(linear), len(self.lower) - 1
        least, most = float(known.min()), float(known.max())
        if self.float32:
            count = linear.terms + isinstance(linear, Sum)
            entering = max(1.0, *(float(size.max()) for size in sizes))
            before = [self.most.get(parent, 1.0) for parent in node.parents]
            self.most[at] = most * max(1, count) * max(entering, *before)
            least *= min(self.least.get(parent, 1.0) for parent in node.parents)
            self.least[at] = least
            if self.most[at] >= LARGEST:
                message = "constants of the network may overflow where they are multiplied"
                raise UncheckableModelError(message)
        else:
            least *= min(float(size[size > 0].min(initial=1.0)) for size in sizes)
        if least < (SMALLEST if self.float32 else SMALLEST_REAL):
            message = "constants of the network may underflow where they are multiplied"
            raise UncheckableModelError(message)

    def _cut(self, node: Node) -> None:
        (parent,) = node.parents
        low, high = self.lower[parent], self.upper[parent]
        error = np.zeros_like(low)
        if self.float32:
            error = float32_error(self.roundings[parent], self.magnitude[parent])
        size = self._size(parent) + error
        wider = np.where(error > 0, error * INFLATION + 4 * UNIT64 * size, 0.0)
        self._append(low - wider, high + wider, wider + self._length(node, 1) * size)
        self.magnitude.append(self._size(len(self.lower) - 1) + UNDERFLOW)
        self.roundings.append(0)

    def _relu(self, node: Node) -> None:
        (parent,) = node.parents
        at, low, high = len(self.lower), self.lower[parent], self.upper[parent]
        open_units = np.flatnonzero((low < 0) & (high > 0))
        self.passed[at] = (low >= 0).astype(np.float64)
        lines = self.lines[at] = Lines.over(low, high, open_units)
        size = self._size(parent)
        size[open_units] += lines.offset
        slack = self._length(node, 1) * size
        self._append(np.maximum(low, 0), np.maximum(high, 0), slack)
        self.magnitude.append(np.maximum(high, 0) + UNDERFLOW)
        self.roundings.append(0)

    def tighten(self, at: int, lower: Array, upper: Array) -> None:
        """Replace the bounds of the last node, a cut, where these are better."""
        self.lower[at] = np.maximum(self.lower[at], lower)
        self.upper[at] = np.minimum(self.upper[at], upper)
        self.magnitude[at] = self._size(at) + UNDERFLOW

    def minimum(self, start: int, rows: Array, chosen: Mapping[int, Lines] | None = None) -> Array:
        """Lower bounds ``(r,)`` of ``rows (r, n)`` times the output of node ``start``.

        Args:
            start: position of the node.
            rows: coefficients.
            chosen: lines of ReLUs in place of the default ones.
        """
        waiting: dict[int, Array] = {start: rows}
        total, terms = np.zeros(len(rows)), np.zeros(len(rows))
        for at in range(start, -1, -1):
            here = waiting.pop(at, None)
            if here is None:
                continue
            node = self.network.nodes[at]
            parts: tuple[Array, ...] = ()
            if node.kind is Kind.INPUT:
                added = self.region.minimum(here)
            elif node.kind is Kind.RELU:
                lines = (chosen or self.lines).get(at, self.lines[at])
                part, added = self._through_relu(at, here, lines)
                parts = (part,)
            elif node.map is None:
                parts, added = (here,), np.zeros(len(rows))
            else:
                parts = node.map.transpose(here)
                added = np.zeros(len(rows)) if node.offset is None else here @ node.offset
            lost = (np.abs(here) @ self.slack[at]) * INFLATION
            total, terms = total + (added - lost), terms + np.abs(added) + lost
            for parent, part in zip(node.parents, parts, strict=True):
                waiting[parent] = waiting[parent] + part if parent in waiting else part
        count = 4 * len(self.network.nodes) + 16
        least = total - gamma(count, UNIT64) * terms * INFLATION - 1e-200
        return np.where(np.isfinite(least), least, -np.inf)

    def _through_relu(self, at: int, rows: Array, lines: Lines) -> tuple[Array, Array]:
        """Coefficients of the input of a ReLU, and what the offsets of its lines add."""
        part = rows * self.passed[at]
        here = rows[:, lines.columns]
        negative = np.minimum(here, 0)
        one = "rc,c->r" if lines.offset.ndim == 1 else "rc,rc->r"
        constant = np.einsum(one, negative, lines.offset)
        found = (here - negative) * lines.lower + negative * lines.upper
        if lines.multipliers is not None:
            found -= lines.multipliers
            size = self._size(self.network.nodes[at].parents[0])[lines.columns]
            constant = constant - 8 * UNIT64 * (np.abs(lines.multipliers) @ size)
        part[:, lines.columns] = found
        return part, constant

    def minima(self, start: int, rows: Array) -> Array:
        """:meth:`minimum` with the default lines, in parts that fit into memory."""
        step = rows_at_once(self.network)
        parts = [self.minimum(start, rows[at : at + step]) for at in range(0, len(rows), step)]
        return np.concatenate(parts) if parts else np.zeros(0)


def rows_at_once(network: Network) -> int:
    """Rows of coefficients that are propagated together."""
    return max(8, min(512, COEFFICIENTS // network.largest))
