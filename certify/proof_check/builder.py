"""Building a network: affine maps, and what is made of ReLUs."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from .errors import UncheckableModelError
from .maps import Choice, LinearMap, Sum
from .network import MOST_ELEMENTS, Kind, Node, Symbol
from .rounding import SPARE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MOST_NODES = 20_000


@dataclass(slots=True)
class Builder:
    """Collects nodes.

    Attributes:
        nodes: those so far.
        relus: positions of the ReLUs.
        cuts: cut of each node that has one.
        label: what is being read, for messages.
    """

    nodes: list[Node] = field(default_factory=list)
    relus: list[int] = field(default_factory=list)
    cuts: dict[int, int] = field(default_factory=dict)
    label: str = ""

    def refuse(self, reason: str) -> UncheckableModelError:
        """The error for what is being read."""
        return UncheckableModelError(f"{self.label}: {reason}")

    def add(self, node: Node) -> int:
        """Position of a new node."""
        if len(self.nodes) >= MOST_NODES or node.size > MOST_ELEMENTS:
            message = "the model is too large for the checker"
            raise self.refuse(message)
        self.nodes.append(node)
        return len(self.nodes) - 1

    def affine(
        self,
        symbols: Sequence[Symbol],
        shape: tuple[int, ...],
        linear: LinearMap,
        offset: Array | None = None,
        *,
        spare: int = SPARE,
    ) -> Symbol:
        """The linear map of ``symbols``, plus ``offset``, an array of the output's size."""
        roundings = linear.terms + (offset is not None)
        node = Node(
            Kind.AFFINE,
            tuple(symbol.at for symbol in symbols),
            prod(shape),
            self.label,
            linear,
            None if offset is None else np.ascontiguousarray(offset, np.float64).ravel(),
            roundings + spare if roundings else 0,
        )
        return Symbol(self.add(node), shape)

    def chosen(
        self,
        symbols: Sequence[Symbol],
        index: NDArray[np.int64],
        constants: Array | None = None,
    ) -> Symbol:
        """Elements ``index`` of the symbols, counted through; below 0 those of ``constants``.

        An element -1 is the first of ``constants``, -2 the second.
        """
        flat = index.ravel()
        whole = len(symbols) == 1 and flat.size == symbols[0].size
        if whole and bool((flat == np.arange(flat.size)).all()):
            return Symbol(symbols[0].at, index.shape)
        offset = None
        if constants is not None and bool((flat < 0).any()):
            offset = np.where(flat < 0, constants[np.maximum(-flat - 1, 0)], 0.0)
        sizes = tuple(symbol.size for symbol in symbols)
        linear = Choice(np.maximum(flat, -1), sizes)
        found = self.affine(symbols, index.shape, linear, offset, spare=0)
        if offset is not None:  # nothing is added up
            node = self.nodes[found.at]
            self.nodes[found.at] = Node(
                node.kind, node.parents, node.size, node.label, linear, offset
            )
        return found

    def expanded(self, x: Symbol, shape: tuple[int, ...]) -> Symbol:
        """``x`` broadcast to ``shape``."""
        if x.shape == shape:
            return x
        numbers = np.arange(x.size).reshape(x.shape)
        return self.chosen([x], np.broadcast_to(numbers, shape))

    def cut(self, x: Symbol) -> Symbol:
        """``x`` with the rounding that an evaluation has made by then."""
        if x.at not in self.cuts:
            node = Node(Kind.CUT, (x.at,), x.size, self.label, shape=x.shape)
            self.cuts[x.at] = self.add(node)
        return Symbol(self.cuts[x.at], x.shape)

    def relu(self, x: Symbol) -> Symbol:
        """max(x, 0)."""
        at = self.add(Node(Kind.RELU, (self.cut(x).at,), x.size, self.label))
        self.relus.append(at)
        return Symbol(at, x.shape)

    def before_relu(self, x: Symbol) -> Symbol:
        """The argument of the ReLU ``x``, the last one, which is taken back."""
        node = self.nodes[self.relus.pop()]
        return Symbol(node.parents[0], x.shape)

    def largest(self, x: Symbol) -> Symbol:
        """Maximum along the last axis of a cut, as a tree of ``max(a, b) = b + max(a - b, 0)``.

        An evaluation picks one of the numbers: the sums stand for no rounding.
        """
        while x.shape[-1] > 1:
            half = x.shape[-1] // 2
            numbers = np.arange(x.size).reshape(x.shape)
            first = self.chosen([x], numbers[..., :half])
            second = self.chosen([x], numbers[..., half : 2 * half])
            excess = self.relu(self._exact_sum(first, second, -1))
            more = self._exact_sum(second, excess, 1, larger_of=(first.at, second.at))
            if x.shape[-1] % 2:
                rest = self.chosen([x], numbers[..., -1:])
                count = np.arange(more.size + rest.size)
                both = [
                    count[: more.size].reshape(more.shape),
                    count[more.size :].reshape(rest.shape),
                ]
                more = self.chosen([more, rest], np.concatenate(both, axis=-1))
            x = more
        return Symbol(self.cut(x).at, x.shape[:-1])

    def clipped(self, x: Symbol, low: float | None, high: float | None) -> Symbol:
        """``h - max(h - y, 0)`` with ``y = l + max(x - l, 0)``.

        An evaluation picks one of the numbers: the sums stand for no rounding.
        """
        y = self.cut(x)
        if low is not None:
            y = self._shifted(self.relu(self._shifted(y, 1, -low)), 1, low)
        if high is not None:
            y = self._shifted(self.relu(self._shifted(y, -1, high)), -1, high)
        return self.cut(y)

    def _shifted(self, x: Symbol, sign: int, offset: float) -> Symbol:
        """``sign x + offset`` without rounding."""
        linear, constant = Sum((sign,)), np.full(x.size, offset)
        node = Node(Kind.AFFINE, (x.at,), x.size, self.label, linear, constant)
        return Symbol(self.add(node), x.shape)

    def _exact_sum(
        self, x: Symbol, y: Symbol, sign: int, larger_of: tuple[int, ...] = ()
    ) -> Symbol:
        """``x + sign y`` without rounding."""
        parents, linear = (x.at, y.at), Sum((1, sign))
        node = Node(Kind.AFFINE, parents, x.size, self.label, linear, larger_of=larger_of)
        return Symbol(self.add(node), x.shape)
