"""Constants of several operations that a runtime multiplies with each other before it runs.

A product of constants that is too small for float32 may become 0, and one that is too large is
infinite, where no evaluation of the operations one by one has such a number. Runtimes multiply the
constants of affine operations in a row (a batch normalisation into the convolution before it), and
numbers that scale the arguments or the result of a product of matrices (ONNX Runtime's
MatMulScaleFusion).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ..network import Affine, Combination, Node, Product, Select
from ..network.weights import Dense

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from .propagation import Bounds


@dataclass(frozen=True, slots=True)
class Chain:
    """Operations in a row.

    Attributes:
        gain: product of each one's terms and of its largest coefficient if that is above 1.
        reach: largest absolute value that enters any of them, or a sum inside them; at least 1.
        largest: the same, times the terms and coefficients of all that follow it.
        length: their number.
    """

    gain: float
    reach: float
    largest: float
    length: int

    @classmethod
    def starting(cls, reach: float) -> Self:
        """The chain without an operation behind a value of at most ``reach``."""
        return cls(1.0, max(1.0, reach), max(1.0, reach), 0)

    @classmethod
    def joined(cls, chains: Sequence[Self]) -> Self:
        """The worst of several."""
        return cls(
            max(each.gain for each in chains),
            max(each.reach for each in chains),
            max(each.largest for each in chains),
            max(each.length for each in chains),
        )

    def extended(self, own: float) -> Self:
        """With an operation whose terms and coefficients make ``own``, at least 1."""
        return type(self)(own * self.gain, self.reach, own * self.largest, self.length + 1)

    def times(self, other: Self) -> Self:
        """The chain of a product of two outputs."""
        return type(self)(
            self.gain * other.gain,
            self.reach * other.reach,
            self.largest * other.largest,
            self.length + other.length + 1,
        )


def affine_chain(bounds: Bounds, node: Affine, sizes: Sequence[Tensor]) -> Chain:
    """The affine operations in a row that end with ``node``.

    Args:
        bounds: those so far.
        node: the next operation.
        sizes: largest absolute values of its arguments.
    """
    found = []
    for parent, size in zip(node.parents, sizes, strict=True):
        run = bounds.runs.get(parent)
        entering = Chain.starting(float(size.max()))
        if run is None:
            found.append(entering)
        else:  # offsets may enter in the middle, and cancel
            found += [run.chain, entering, Chain.starting(float(run.size.max()))]
    before = Chain.joined(found)
    if isinstance(node, Select) and node.offset is None:
        return before  # it has no constants
    return before.extended(node.terms * max(1.0, node.largest_coefficient))


def scale_chain(bounds: Bounds, node: Node, sizes: Sequence[Tensor]) -> Chain | None:
    """The single numbers that multiply ``node``'s output, also from before a product of two.

    Returns:
        None for other operations than those that scale, move and sum up.
    """
    chains = [
        bounds.scales.get(parent, Chain.starting(float(size.max())))
        for parent, size in zip(node.parents, sizes, strict=True)
    ]
    if isinstance(node, Product):
        first, second = chains
        return first.times(second)
    if isinstance(node, Select) and node.offset is None:
        return Chain.joined(chains)
    if isinstance(node, Dense) and node.parents[0] in bounds.scales:
        ones = bool((node.weight.exact == 1).all())
        return Chain.joined(chains).extended(node.terms) if ones else None
    if isinstance(node, Combination) and len(node.parents) == 1 and node.offset is None:
        (factor,) = node.factors
        if isinstance(factor, float | int):
            return Chain.joined(chains).extended(max(1.0, abs(factor)))
    return None
