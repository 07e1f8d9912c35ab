"""A network as a list of operations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .combination import Combination
from .nodes import Activation, Affine, Input, Node, Product, Relu
from .selection import Select
from .weights import Weighted
from .window import Window, by_row


@dataclass(frozen=True, eq=False)
class Network:
    """Operations in an order in which each follows its arguments; the first is the input.

    Attributes:
        nodes: the operations.
        output: position of the one that gives the scores ``(k,)``.
        obstacle: why float32 evaluations cannot be covered; empty if they can.
    """

    nodes: tuple[Node, ...]
    output: int
    obstacle: str = ""

    @cached_property
    def window_sizes(self) -> dict[tuple[int, Window | None], list[tuple[int, int]]]:
        """What is known of windows: see ``bounds.tiles``."""
        return {}

    @cached_property
    def largest(self) -> int:
        """Elements of the largest tensor."""
        return max(node.size for node in self.nodes)

    @cached_property
    def readers(self) -> list[list[int]]:
        """Positions of the operations that read each one, once for each argument."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for at, node in enumerate(self.nodes):
            for parent in node.parents:
                found[parent].append(at)
        return found

    @cached_property
    def n_consumers(self) -> list[int]:
        """How many arguments each one is."""
        return [len(readers) for readers in self.readers]

    @cached_property
    def storable(self) -> bool:
        """Whether float32 has all constants but for their rounding: none too large or too small."""
        for node in self.nodes:
            for constant in _constants(node):
                size = constant.abs()
                if not bool(((size == 0) | ((size > 1e-30) & (size < 1e30))).all()):
                    return False
        return True

    @cached_property
    def fused(self) -> list[bool]:
        """Whether each operation is affine and only goes on into a :class:`Combination`.

        A runtime may then compute both as one sum.
        """
        readers = self.readers
        found = [False] * len(self.nodes)
        for at in range(len(self.nodes) - 1, -1, -1):
            node = self.nodes[at]
            if not isinstance(node, Affine) or len(readers[at]) != 1:
                continue
            (reader,) = readers[at]
            after = self.nodes[reader]
            if isinstance(after, Select):
                found[at] = found[reader]
            elif isinstance(after, Combination):  # parts of an operation take on no error
                found[at] = node.inner or not after.inner
        return found

    def values(self, x: Tensor) -> list[Tensor]:
        """Output of every operation on inputs ``x (b, *input shape)``, in the type of ``x``."""
        found: list[Tensor] = []
        for node in self.nodes:
            arguments = [found[parent] for parent in node.parents]
            found.append(value_of(node, arguments, x))
        return found

    def __call__(self, x: Tensor) -> Tensor:
        """Scores ``(b, k)`` of inputs ``x (b, *input shape)``."""
        return by_row(self.values(x)[self.output])


def _constants(node: Node) -> list[Tensor]:
    """Weights, factors and offsets of an affine operation."""
    if isinstance(node, Weighted):
        return [node.weight.exact]
    if isinstance(node, Combination):
        values = [torch.as_tensor(factor, dtype=torch.float64) for factor in node.factors]
        return values if node.offset is None else [*values, node.offset]
    if isinstance(node, Select) and node.offset is not None:
        return [node.offset]
    return []


def value_of(node: Node, arguments: list[Tensor], x: Tensor) -> Tensor:
    """Output of one operation."""
    if isinstance(node, Input):
        return x.reshape(len(x), *node.shape)
    if isinstance(node, Affine):
        return node.apply(arguments)
    if isinstance(node, Relu):
        return arguments[0].relu()
    if isinstance(node, Product):
        return arguments[0] * arguments[1]
    if isinstance(node, Activation):
        return node.relaxation.value(arguments[0])
    raise TypeError(type(node).__name__)
