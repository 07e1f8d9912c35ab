"""Operations of a network and what bound propagation asks of them.

Shapes are those of one input; tensors that hold one value for each of several regions or rows have
that axis in front.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..relaxations import Relaxation

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation.

    Attributes:
        parents: positions of its arguments in the network.
        shape: shape of its output.
        label: the node of the model's graph, or the traced operation, in words.
        inner: whether it is a part of an operation whose rounding error its last part states.
    """

    parents: tuple[int, ...]
    shape: Shape
    label: str
    inner: bool = field(default=False, kw_only=True)

    @property
    def size(self) -> int:
        """Number of elements of its output."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Input(Node):
    """The network's input."""


@dataclass(frozen=True, slots=True, eq=False)
class Relu(Node):
    """max(x, 0) of each element."""


@dataclass(frozen=True, slots=True, eq=False)
class Activation(Node):
    """A non-linear function of each element.

    Attributes:
        relaxation: its linear bounds.
        error: largest error of a float32 evaluation, absolute and relative; None for that of an
            elementary function.
    """

    relaxation: Relaxation
    error: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Product(Node):
    """Product of two arguments of one shape, element by element."""


@dataclass(frozen=True, slots=True, eq=False)
class Affine(Node, ABC):
    """An affine map: the sum of a linear map of each parent, and a constant.

    Attributes:
        terms: most numbers that are added up for one element of the output.
        uses: most elements of the output that one element of an argument enters.
    """

    terms: int
    uses: int

    @abstractmethod
    def apply(self, arguments: Sequence[Tensor], *, constant: bool = True) -> Tensor:
        """The map of ``arguments``, each ``(b, *shape)``."""

    @abstractmethod
    def magnitude(self, arguments: Sequence[Tensor], *, constant: bool = True) -> Tensor:
        """The map of ``arguments`` with every coefficient and constant replaced by its absolute."""

    @property
    @abstractmethod
    def nonnegative(self) -> bool:
        """Whether no coefficient and no constant is negative."""

    @property
    @abstractmethod
    def largest_coefficient(self) -> float:
        """Largest absolute value of a coefficient."""

    @abstractmethod
    def transpose(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Coefficients ``(r, *shape)`` of the output as coefficients of each argument."""

    @abstractmethod
    def constant(self, rows: Tensor) -> Tensor:
        """What the constant adds to ``(r, *shape)`` coefficients times the output, in float64."""


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """A matrix or kernel in the types that were requested.

    Attributes:
        exact: in float64.
        size: absolute values, or larger numbers that errors of the elements are relative to; None
            for the absolute values.
        copies: in other types, and their absolute values.
    """

    exact: Tensor
    size: Tensor | None = field(default=None, kw_only=True)
    copies: dict[tuple[torch.dtype, bool], Tensor] = field(default_factory=dict)

    def to(self, dtype: torch.dtype, *, absolute: bool = False) -> Tensor:
        """The weight, or its absolute values, in ``dtype``."""
        key = (dtype, absolute)
        if key not in self.copies:
            size = self.exact.abs() if self.size is None else self.size
            self.copies[key] = (size if absolute else self.exact).to(dtype)
        return self.copies[key]

    @property
    def nonnegative(self) -> bool:
        """Whether no element is negative, nor may be by its error."""
        return self.size is None and bool((self.exact >= 0).all())


def inner(rows: Tensor, values: Tensor | None) -> Tensor:
    """``sum(rows * values)`` of each row, added up in float64."""
    if values is None:
        return torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    return (rows * values.to(rows.dtype)).flatten(1).sum(1, dtype=torch.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Select(Affine):
    """Each element of the output is an element of an argument, or a constant.

    Attributes:
        index: position of each output element among the elements of all arguments, -1 for a
            constant; ``(size,)``.
        offset: the constants, ``shape``; None for none.
        sizes: elements of each argument.
        shapes: shapes of the arguments.
        inverse: position of each argument element in the output, if it is there exactly once.
        reshapes: whether nothing changes but the shape.
    """

    index: Tensor
    offset: Tensor | None
    sizes: tuple[int, ...]
    shapes: tuple[Shape, ...]
    inverse: Tensor | None = None
    reshapes: bool = False

    @classmethod
    def of(
        cls,
        parents: tuple[int, ...],
        shapes: tuple[Shape, ...],
        index: Tensor,
        offset: Tensor | None,
        label: str,
    ) -> Select:
        """The selection by ``index``, whose shape is that of the output."""
        flat, sizes = index.flatten(), tuple(prod(shape) for shape in shapes)
        total = sum(sizes)
        counts = torch.bincount(flat[flat >= 0], minlength=total)
        inverse = None
        if len(flat) == total and bool((counts == 1).all()):
            inverse = torch.argsort(flat)
        uses = int(counts.max()) if len(counts) else 1
        shape = tuple(index.shape)
        same = inverse is not None and bool((flat == torch.arange(len(flat))).all())
        return cls(parents, shape, label, 1, uses, flat, offset, sizes, shapes, inverse, same)

    def apply(self, arguments: Sequence[Tensor], *, constant: bool = True) -> Tensor:
        """See :class:`Affine`."""
        flat = torch.cat([argument.flatten(1) for argument in arguments], dim=1)
        found = flat[:, self.index.clamp_min(0)]
        if self.inverse is None:
            found = torch.where(self.index >= 0, found, torch.zeros_like(found))
        found = found.view(len(flat), *self.shape)
        return found if self.offset is None or not constant else found + self.offset.to(found.dtype)

    def magnitude(self, arguments: Sequence[Tensor], *, constant: bool = True) -> Tensor:
        """See :class:`Affine`."""
        found = self.apply(arguments, constant=False)
        return found if self.offset is None or not constant else found + self.offset.abs()

    @property
    def nonnegative(self) -> bool:
        """See :class:`Affine`."""
        return self.offset is None or bool((self.offset >= 0).all())

    @property
    def largest_coefficient(self) -> float:
        """See :class:`Affine`."""
        return 1.0

    def transpose(self, rows: Tensor) -> tuple[Tensor, ...]:
        """See :class:`Affine`."""
        flat = rows.flatten(1)
        if self.inverse is not None:
            back = flat if self.reshapes else flat[:, self.inverse]
        else:
            kept = self.index >= 0
            zeros = flat.new_zeros(len(flat), sum(self.sizes))
            back = zeros.index_add(1, self.index[kept], flat[:, kept])
        parts = torch.split(back, list(self.sizes), dim=1)
        return tuple(
            part.reshape(len(rows), *shape) for part, shape in zip(parts, self.shapes, strict=True)
        )

    def constant(self, rows: Tensor) -> Tensor:
        """See :class:`Affine`."""
        return inner(rows, self.offset)


@dataclass(frozen=True, slots=True, eq=False)
class Dense(Affine):
    """``x W`` along the last axis.

    Attributes:
        weight: ``(n, m)``.
    """

    weight: Weight

    def apply(self, arguments: Sequence[Tensor], *, constant: bool = True) -> Tensor:
        """See :class:`Affine`."""
        (x,) = arguments
        return x @ self.weight.to(x.dtype)

    def magnitude(self, arguments: Sequence[Tensor], *, constant: bool = True) -> Tensor:
        """See :class:`Affine`."""
        (x,) = arguments
        return x @ self.weight.to(x.dtype, absolute=True)

    @property
    def nonnegative(self) -> bool:
        """See :class:`Affine`."""
        return self.weight.nonnegative

    @property
    def largest_coefficient(self) -> float:
        """See :class:`Affine`."""
        return float(self.weight.to(torch.float64, absolute=True).max())

    def transpose(self, rows: Tensor) -> tuple[Tensor, ...]:
        """See :class:`Affine`."""
        return (rows @ self.weight.to(rows.dtype).t(),)

    def constant(self, rows: Tensor) -> Tensor:
        """See :class:`Affine`."""
        return inner(rows, None)


@dataclass(frozen=True, slots=True, eq=False)
class Convolution(Affine):
    """A convolution without bias of ``(n, c, ...)`` by ``weight``.

    Attributes:
        weight: ``(m, c / groups, ...)``; ``(c, m / groups, ...)`` if transposed.
        stride: and so on: as torch's ``convolution`` takes them.
        source: shape of the argument.
    """

    weight: Weight
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int
    source: Shape

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        images = x.reshape(-1, *self.source[1:])
        found = torch.convolution(
            images,
            weight,
            None,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            self.groups,
        )
        return found.reshape(len(x), *self.shape)

    def apply(self, arguments: Sequence[Tensor], *, constant: bool = True) -> Tensor:
        """See :class:`Affine`."""
        (x,) = arguments
        return self._convolve(x, self.weight.to(x.dtype))

    def magnitude(self, arguments: Sequence[Tensor], *, constant: bool = True) -> Tensor:
        """See :class:`Affine`."""
        (x,) = arguments
        return self._convolve(x, self.weight.to(x.dtype, absolute=True))

    @property
    def nonnegative(self) -> bool:
        """See :class:`Affine`."""
        return self.weight.nonnegative

    @property
    def largest_coefficient(self) -> float:
        """See :class:`Affine`."""
        return float(self.weight.to(torch.float64, absolute=True).max())

    def transpose(self, rows: Tensor) -> tuple[Tensor, ...]:
        """See :class:`Affine`."""
        images = rows.reshape(-1, *self.shape[1:])
        extra = [0] * len(self.stride)
        if not self.transposed:  # the border that the stride leaves out
            extra = [
                n + 2 * p - d * (k - 1) - 1 - s * (m - 1)
                for n, p, d, k, s, m in zip(
                    self.source[2:],
                    self.padding,
                    self.dilation,
                    self.weight.exact.shape[2:],
                    self.stride,
                    self.shape[2:],
                    strict=True,
                )
            ]
        found = torch.convolution(
            images,
            self.weight.to(rows.dtype),
            None,
            self.stride,
            self.padding,
            self.dilation,
            not self.transposed,
            extra,
            self.groups,
        )
        # one copy here in place of one at every reader: convolutions may return channels last
        return (found.contiguous().view(len(rows), *self.source),)

    def constant(self, rows: Tensor) -> Tensor:
        """See :class:`Affine`."""
        return inner(rows, None)


@dataclass(frozen=True, slots=True, eq=False)
class Combination(Affine):
    """``sum_i factors[i] * x_i + offset``; all of one shape.

    Attributes:
        factors: a number or a tensor of the output's shape for each argument.
        offset: a tensor of the output's shape; None for none.
        maximum_of: two operations whose larger output this is; their intervals bound it better.
    """

    factors: tuple[Tensor | float, ...]
    offset: Tensor | None = None
    maximum_of: tuple[int, ...] = ()

    def _total(self, factors: Sequence[Tensor | float], arguments: Sequence[Tensor]) -> Tensor:
        parts = [_times(x, factor) for x, factor in zip(arguments, factors, strict=True)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def apply(self, arguments: Sequence[Tensor], *, constant: bool = True) -> Tensor:
        """See :class:`Affine`."""
        total = self._total(self.factors, arguments)
        return total if self.offset is None or not constant else total + self.offset.to(total.dtype)

    def magnitude(self, arguments: Sequence[Tensor], *, constant: bool = True) -> Tensor:
        """See :class:`Affine`."""
        total = self._total([_size(factor) for factor in self.factors], arguments)
        return total if self.offset is None or not constant else total + self.offset.abs()

    @property
    def nonnegative(self) -> bool:
        """See :class:`Affine`."""
        return all(
            bool((torch.as_tensor(part) >= 0).all())
            for part in (*self.factors, 0.0 if self.offset is None else self.offset)
        )

    @property
    def largest_coefficient(self) -> float:
        """See :class:`Affine`."""
        return max(float(torch.as_tensor(factor).abs().max()) for factor in self.factors)

    def transpose(self, rows: Tensor) -> tuple[Tensor, ...]:
        """See :class:`Affine`."""
        return tuple(_times(rows, factor) for factor in self.factors)

    def constant(self, rows: Tensor) -> Tensor:
        """See :class:`Affine`."""
        return inner(rows, self.offset)


def _size(factor: Tensor | float) -> Tensor | float:
    return factor.abs() if isinstance(factor, Tensor) else abs(factor)


def _times(x: Tensor, factor: Tensor | float) -> Tensor:
    if isinstance(factor, Tensor):
        return x * factor.to(x.dtype)
    return x if factor == 1 else -x if factor == -1 else x * factor


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
    def largest(self) -> int:
        """Elements of the largest tensor."""
        return max(node.size for node in self.nodes)

    @cached_property
    def n_consumers(self) -> list[int]:
        """How many operations read each one."""
        counts = [0] * len(self.nodes)
        for node in self.nodes:
            for parent in node.parents:
                counts[parent] += 1
        return counts

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
        readers: list[list[int]] = [[] for _ in self.nodes]
        for at, node in enumerate(self.nodes):
            for parent in node.parents:
                readers[parent].append(at)
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
            found.append(_value(node, arguments, x))
        return found

    def __call__(self, x: Tensor) -> Tensor:
        """Scores ``(b, k)`` of inputs ``x (b, *input shape)``."""
        return self.values(x)[self.output].flatten(1)


def _constants(node: Node) -> list[Tensor]:
    """Weights, factors and offsets of an affine operation."""
    if isinstance(node, Dense | Convolution):
        return [node.weight.exact]
    if isinstance(node, Combination):
        values = [torch.as_tensor(factor, dtype=torch.float64) for factor in node.factors]
        return values if node.offset is None else [*values, node.offset]
    if isinstance(node, Select) and node.offset is not None:
        return [node.offset]
    return []


def _value(node: Node, arguments: list[Tensor], x: Tensor) -> Tensor:
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
