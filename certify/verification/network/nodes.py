"""Operations of a network and what bound propagation asks of them.

Shapes are those of one input; tensors that hold one value for each of several regions or rows have
that axis in front.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ..relaxations import Relaxation
    from .window import Window

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

    @property
    @abstractmethod
    def only_moves(self) -> bool:
        """Whether there is no constant, and coefficients only move or change their signs."""

    @abstractmethod
    def reads(self, window: Window | None) -> tuple[Window | None, ...]:
        """For each argument, a window that holds all that the output's ``window`` depends on."""

    @abstractmethod
    def transpose(self, rows: Tensor, window: Window | None = None) -> tuple[Tensor, ...]:
        """Coefficients ``(r, *window)`` of the output as coefficients of each argument.

        They cover the windows that :meth:`reads` names.
        """

    @abstractmethod
    def constant(self, rows: Tensor, window: Window | None = None) -> Tensor:
        """What the constant adds to ``(r, *window)`` coefficients times the output, in float64."""
