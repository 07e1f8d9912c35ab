"""Whether an executed graph computes the function of the file's, from each tensor to the next.

Both graphs are cut where they have a tensor in common. Between the cuts lie a few nodes each, which
are executed as they stand on the same random numbers in place of the tensors that they read. So
a difference shows also where the values of the tensor before hide it on most images.

This module is imported by a process that must not import torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .matching import Pair, pairs_of
from .samples import KINDS, drawn, perturbed, repeated_kinds
from .sides import OUTPUT, Side, TensorType, computed, session_of

if TYPE_CHECKING:
    import onnx
    from numpy.random import Generator
    from numpy.typing import NDArray

    from .samples import Kind
    from .sides import Values

ROUNDING, OF_LARGEST, OF_CHANGE = 1e-5, 1e-6, 10.0
"""Largest difference of a number by rounding: relative to its size, to the largest of the tensor,
and to its change where what it is computed from changes in the seventh digit."""

INFORMATIVE = 1e-2
"""A number that such a change changes by more than this share is not compared."""

ROUNDS = 4
"""How often what differs is compared once more from tensors further back."""


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The input of both graphs.

    Attributes:
        name: of the input.
        shape: with the batch axis if it has one.
        dtype: element type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(slots=True)
class Comparison:
    """Two graphs and the tensors between which they are compared.

    Attributes:
        file: the graph of the file.
        executed: that of the runtime.
        image: their input.
        pairs: the tensors at which both are cut.
        draw: random numbers.
    """

    file: Side
    executed: Side
    image: ImageInput
    pairs: list[Pair] = field(default_factory=list)
    draw: Generator = field(default_factory=lambda: np.random.default_rng(0))

    @classmethod
    def of(cls, file: onnx.ModelProto, executed: onnx.ModelProto, image: ImageInput) -> Comparison:
        """The comparison of two graphs at all tensors that they have in common."""
        made = cls(Side.of(file, image.name), Side.of(executed, image.name), image)
        wide = KINDS[-2]
        images = [drawn(made.draw, wide, image.shape, image.dtype) for _ in range(2)]
        made.pairs = pairs_of(made.file, made.executed, images)
        return made

    def difference(self) -> str:
        """The first node of the file for which other numbers are computed; empty if none."""
        outputs, differing = set(self.file.graph.outputs), set[str]()
        for _ in range(ROUNDS):
            self._drop_one_sided()
            if lacking := outputs - {pair.file for pair in self.pairs}:
                return f"the numbers of {self._node(min(lacking))} are none that can be compared"
            differing = self._differing()
            if not differing:
                return ""
            before = len(self.pairs)
            self._drop(self._behind(differing) - outputs)
            if len(self.pairs) == before:
                break
        return self._described(min(differing, key=[pair.file for pair in self.pairs].index))

    def _described(self, name: str) -> str:
        return f"the runtime computes other numbers than {self._node(name)}"

    def _node(self, name: str) -> str:
        node = self.file.producers[name]
        return f"node {node.label!r} ({node.proto.op_type})"

    def _drop(self, names: set[str]) -> None:
        self.pairs = [pair for pair in self.pairs if pair.file not in names]

    def _leaves(self) -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
        """The cut tensors that each cut tensor is computed from, by the names of the file."""
        named = {pair.executed: pair.file for pair in self.pairs} | {self.image.name: ""}
        ours = self.file.leaves(pair.file for pair in self.pairs)
        theirs = self.executed.leaves(pair.executed for pair in self.pairs)
        image = frozenset([self.image.name])
        return (
            {p.file: frozenset(name for name in ours[p.file] - image) for p in self.pairs},
            {p.file: frozenset(named[n] for n in theirs[p.executed] - image) for p in self.pairs},
        )

    def _drop_one_sided(self) -> None:
        """Cut no tensor from which another is computed in one of the graphs only."""
        while True:
            ours, theirs = self._leaves()
            one_sided = {name for pair in ours for name in ours[pair] ^ theirs[pair]}
            if not one_sided:
                return
            self._drop(one_sided)

    def _behind(self, differing: set[str]) -> set[str]:
        """Tensors that differing ones are computed from, and guessed ones among these."""
        ours, _ = self._leaves()
        guessed = {pair.file for pair in self.pairs if pair.guessed}
        return (differing & guessed).union(*(ours[name] for name in differing))

    def _differing(self) -> set[str]:
        """Tensors that the graphs compute differently from the same numbers."""
        types = {p.file: TensorType(p.shape, p.stored.dtype) for p in self.pairs}
        ours = session_of(self.file.cut(types))
        theirs = session_of(self.executed.cut({pair.executed: pair.stored for pair in self.pairs}))
        unknown = {pair.file: np.ones(pair.shape, dtype=bool) for pair in self.pairs}
        differing: set[str] = set()
        constants = np.union1d(self.file.constants(), self.executed.constants())
        size = sum(math.prod(pair.shape) for pair in self.pairs)
        for kind in repeated_kinds(size, constants):
            first, second = self._numbers(kind), self._numbers(kind)
            near = {name: perturbed(self.draw, x) for name, x in first.items()}
            expected, other, moved = (
                computed(ours, self._for_file(numbers)) for numbers in (first, second, near)
            )
            found = computed(theirs, self._for_executed(first))
            for pair in self.pairs:
                name = pair.file + OUTPUT
                limits = limits_of(expected[name], other[name], moved[name])
                given = pair.of_executed(found[pair.executed + OUTPUT])
                if exceeds(given, expected[name], limits):
                    differing.add(pair.file)
                unknown[pair.file] &= np.isinf(limits)
        return differing | {name for name, still in unknown.items() if still.any()}

    def _numbers(self, kind: Kind) -> Values:
        """Random numbers for the image and every cut tensor, by the names of the file."""
        image = drawn(self.draw, kind, self.image.shape, self.image.dtype)
        cut = {pair.file: drawn(self.draw, kind, *pair.stored) for pair in self.pairs}
        return {self.image.name: image} | cut

    def _for_file(self, numbers: Values) -> Values:
        cut = {pair.file: pair.without_added(numbers[pair.file]) for pair in self.pairs}
        return cut | {self.image.name: numbers[self.image.name]}

    def _for_executed(self, numbers: Values) -> Values:
        cut = {pair.executed: pair.to_executed(numbers[pair.file]) for pair in self.pairs}
        return cut | {self.image.name: numbers[self.image.name]}


def limits_of(x: NDArray[Any], other: NDArray[Any], moved: NDArray[Any]) -> NDArray[np.float64]:
    """How far another evaluation of each number may be off; infinite where that is not informative.

    Args:
        x: the numbers.
        other: the same for other inputs, which tells their usual size.
        moved: the same for inputs that differ by a few roundings.
    """
    x, other, moved = (part.astype(np.float64) for part in (x, other, moved))
    with np.errstate(invalid="ignore"):
        size = np.maximum(np.abs(x), np.where(np.isfinite(other), np.abs(other), 0.0))
        largest = np.abs(x).max(initial=0.0, where=np.isfinite(x))
        change = np.abs(moved - x)
        usable = np.isfinite(x) & (change <= INFORMATIVE * size)
        limit = ROUNDING * size + OF_LARGEST * largest + OF_CHANGE * change
        limit = np.where(usable, limit, np.inf)
    return np.where(np.isinf(x) & (x == other) & (x == moved), 0.0, limit)


def exceeds(given: NDArray[Any], x: NDArray[Any], limits: NDArray[np.float64]) -> bool:
    """Whether ``given`` is further than the limits from ``x`` anywhere."""
    if given.shape != x.shape:
        return True
    usable = np.isfinite(limits)
    with np.errstate(invalid="ignore"):
        off = np.where(given == x, 0.0, np.abs(given.astype(np.float64) - x))
    return not bool((off[usable] <= limits[usable]).all())
