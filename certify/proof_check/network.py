"""A network as a list of affine maps and ReLUs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .maps import LinearMap

    Array = NDArray[np.float64]

MOST_ELEMENTS = 2**26
"""Elements of the largest tensor of a model."""


class Kind(Enum):
    """What a node computes."""

    INPUT = "the pixels"
    AFFINE = "a linear map and an offset"
    CUT = "its argument, with the rounding of an evaluation in float32"
    RELU = "max(x, 0)"


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One step of the computation, on flattened arrays.

    Attributes:
        kind: what it computes.
        parents: positions of its arguments.
        size: elements of its output.
        label: name and operator in the file.
        map: the linear map of an affine node.
        offset: what it adds, ``(size,)``; None for nothing.
        roundings: most roundings of a term in an evaluation in float32.
        shape: of a cut, the shape of its output before it was flattened.
        larger_of: two nodes whose larger output this is, by way of a ReLU.
    """

    kind: Kind
    parents: tuple[int, ...]
    size: int
    label: str
    map: LinearMap | None = None
    offset: Array | None = None
    roundings: int = 0
    shape: tuple[int, ...] = ()
    larger_of: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Symbol:
    """A tensor that depends on the image.

    Attributes:
        at: node that computes it.
        shape: its shape, the batch axis included.
    """

    at: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """The computation from pixels to scores.

    Attributes:
        nodes: the steps, each after its arguments; the first is the pixels.
        scores: position of the cut after the scores ``(k,)``.
        relus: positions of the ReLUs in the order of the file; max pooling is made of some.
    """

    nodes: tuple[Node, ...]
    scores: int
    relus: tuple[int, ...]

    @property
    def classes(self) -> int:
        """Number of scores."""
        return self.nodes[self.scores].size

    @property
    def largest(self) -> int:
        """Elements of the largest tensor."""
        return max(node.size for node in self.nodes)

    def values(self, image: Array) -> list[Array]:
        """Output of every node for one image, flattened; in float64."""
        found: list[Array] = []
        for node in self.nodes:
            arguments = [found[parent] for parent in node.parents]
            if node.kind is Kind.INPUT:
                value = image.ravel().astype(np.float64)
            elif node.map is not None:
                value = node.map.forward([x[None] for x in arguments])[0]
                value = value if node.offset is None else value + node.offset
            else:
                value = np.maximum(arguments[0], 0) if node.kind is Kind.RELU else arguments[0]
            found.append(value)
        return found

    def relu_input(self, relu: int, image: Array) -> Array:
        """Input of one of :attr:`relus` for an image."""
        return self.values(image)[self.nodes[self.relus[relu]].parents[0]]
