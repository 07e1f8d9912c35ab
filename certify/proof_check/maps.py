"""Linear maps between flattened arrays, with their transposes.

Every map takes arrays ``(b, n)`` for each argument and gives ``(b, m)``; b counts inputs in
:meth:`LinearMap.forward` and rows of coefficients in :meth:`LinearMap.transpose`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Shape = tuple[int, ...]

BLOCK = 2**18
"""Elements of the windows of a convolution that are in work together; they fit into the cache."""


class LinearMap(Protocol):
    """A linear map."""

    @property
    def terms(self) -> int:
        """Most roundings of a term: of its product, and of the sums that it passes through."""

    @property
    def uses(self) -> int:
        """Most outputs that one input enters."""

    def forward(self, arguments: Sequence[Array], *, absolute: bool = False) -> Array:
        """The map of the arguments; with ``absolute`` that of the absolute coefficients."""

    def transpose(self, rows: Array) -> tuple[Array, ...]:
        """Coefficients of the output as coefficients of each argument."""


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """``x W`` along the last axis of an array with ``n`` entries there.

    Attributes:
        weight: ``(n, m)``.
    """

    weight: Array

    @property
    def terms(self) -> int:
        """See :class:`LinearMap`."""
        return self.weight.shape[0]

    @property
    def uses(self) -> int:
        """See :class:`LinearMap`."""
        return self.weight.shape[1]

    def forward(self, arguments: Sequence[Array], *, absolute: bool = False) -> Array:
        """See :class:`LinearMap`."""
        (x,) = arguments
        weight = np.abs(self.weight) if absolute else self.weight
        return (x.reshape(-1, weight.shape[0]) @ weight).reshape(len(x), -1)

    def transpose(self, rows: Array) -> tuple[Array, ...]:
        """See :class:`LinearMap`."""
        return ((rows.reshape(-1, self.weight.shape[1]) @ self.weight.T).reshape(len(rows), -1),)


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """Each element times a constant.

    Attributes:
        factor: ``(n,)``, or a single number.
    """

    factor: Array

    terms = 1
    uses = 1

    def forward(self, arguments: Sequence[Array], *, absolute: bool = False) -> Array:
        """See :class:`LinearMap`."""
        (x,) = arguments
        return x * (np.abs(self.factor) if absolute else self.factor)

    def transpose(self, rows: Array) -> tuple[Array, ...]:
        """See :class:`LinearMap`."""
        return (rows * self.factor,)


@dataclass(frozen=True, slots=True, eq=False)
class Sum:
    """Sum or difference of arrays of one size.

    Attributes:
        signs: 1 or -1 for each argument.
    """

    signs: tuple[int, ...]

    uses = 1

    @property
    def terms(self) -> int:
        """See :class:`LinearMap`."""
        return len(self.signs) - 1

    def forward(self, arguments: Sequence[Array], *, absolute: bool = False) -> Array:
        """See :class:`LinearMap`."""
        total = np.zeros_like(arguments[0])
        for x, sign in zip(arguments, self.signs, strict=True):
            total = total + x if absolute or sign > 0 else total - x
        return total

    def transpose(self, rows: Array) -> tuple[Array, ...]:
        """See :class:`LinearMap`."""
        return tuple(rows if sign > 0 else -rows for sign in self.signs)


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Each output is an element of an argument, or zero.

    Attributes:
        index: position among the elements of all arguments, -1 for zero; ``(m,)``.
        sizes: elements of each argument.
    """

    index: NDArray[np.int64]
    sizes: tuple[int, ...]

    terms = 0

    @property
    def uses(self) -> int:
        """See :class:`LinearMap`."""
        kept = self.index[self.index >= 0]
        return int(np.bincount(kept).max()) if len(kept) else 1

    def forward(self, arguments: Sequence[Array], *, absolute: bool = False) -> Array:
        """See :class:`LinearMap`."""
        everything = np.concatenate(arguments, axis=1)
        return np.where(self.index >= 0, everything[:, np.maximum(self.index, 0)], 0.0)

    def transpose(self, rows: Array) -> tuple[Array, ...]:
        """See :class:`LinearMap`."""
        back = np.zeros((len(rows), sum(self.sizes)))
        kept = np.flatnonzero(self.index >= 0)
        targets = self.index[kept]
        if len(np.unique(targets)) == len(targets):
            back[:, targets] = rows[:, kept]
        else:
            np.add.at(back.T, targets, rows[:, kept].T)
        return tuple(np.split(back, np.cumsum(self.sizes)[:-1], axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """A convolution of ``(c, *sides)`` without bias.

    Attributes:
        weight: ``(groups, m / groups, c / groups, kernel elements)``.
        sides: spatial shape of the argument.
        out: spatial shape of the output.
        kernel: spatial shape of the kernel.
        stride: step between windows, per axis.
        dilation: step within a window.
        padding: zeros before the first element, per axis.
    """

    weight: Array
    sides: Shape
    out: Shape
    kernel: Shape
    stride: Shape
    dilation: Shape
    padding: Shape

    @property
    def channels(self) -> int:
        """Channels of the argument."""
        return self.weight.shape[0] * self.weight.shape[2]

    @property
    def terms(self) -> int:
        """See :class:`LinearMap`."""
        return self.weight.shape[2] * self.weight.shape[3]

    @property
    def uses(self) -> int:
        """See :class:`LinearMap`."""
        return self.weight.shape[1] * self.weight.shape[3]

    def forward(self, arguments: Sequence[Array], *, absolute: bool = False) -> Array:
        """See :class:`LinearMap`."""
        (x,) = arguments
        weight = np.abs(self.weight) if absolute else self.weight
        groups, m, _, _ = weight.shape
        padded = np.zeros((len(x), self.channels, *self._reach()))
        padded[self._inner()] = x.reshape(len(x), self.channels, *self.sides)
        found = np.zeros((len(x), groups, m, prod(self.out)))
        for at, window in self._windows([(0, o) for o in self.out]):
            part = padded[window].reshape(len(x), groups, -1, prod(self.out))
            found += weight[:, :, :, at] @ part
        return found.reshape(len(x), -1)

    def transpose(self, rows: Array) -> tuple[Array, ...]:
        """See :class:`LinearMap`."""
        per_row = self.channels * prod(self.kernel) * prod(self.out)
        step = max(1, BLOCK // per_row)
        parts = [self._transposed(rows[at : at + step]) for at in range(0, len(rows), step)]
        return (np.concatenate(parts),)

    def _transposed(self, rows: Array) -> Array:
        groups, m, c, k = self.weight.shape
        turned = self.weight.transpose(0, 3, 2, 1).reshape(groups, k * c, m)
        images = rows.reshape(len(rows), groups, m, *self.out)
        box = _support(images)
        sides = [last - first for first, last in box]
        inside = tuple(slice(first, last) for first, last in box)
        images = images[(slice(None), slice(None), slice(None), *inside)].reshape(
            len(rows), groups, m, -1
        )
        columns = turned * images if m == 1 else turned @ images  # (r, groups, k c, positions)
        columns = columns.reshape(len(rows), groups, k, c, -1)
        padded = np.zeros((len(rows), self.channels, *self._reach()))
        for at, window in self._windows(box):
            padded[window] += columns[:, :, at].reshape(len(rows), self.channels, *sides)
        return np.ascontiguousarray(padded[self._inner()]).reshape(len(rows), -1)

    def _reach(self) -> Shape:
        """Spatial shape of the padded argument, as far as windows reach or the argument does."""
        ends = zip(
            *(self.sides, self.out, self.kernel, self.stride, self.dilation, self.padding),
            strict=True,
        )
        return tuple(max(p + n, (o - 1) * s + (k - 1) * d + 1) for n, o, k, s, d, p in ends)

    def _inner(self) -> tuple[slice, ...]:
        """Where the argument lies in the padded one."""
        inside = (slice(p, p + n) for p, n in zip(self.padding, self.sides, strict=True))
        return (slice(None), slice(None), *inside)

    def _windows(self, box: Sequence[tuple[int, int]]) -> Iterator[tuple[int, tuple[slice, ...]]]:
        """For each element of the kernel, what the outputs in ``box`` meet of the argument."""
        for at, place in enumerate(product(*map(range, self.kernel))):
            cut = tuple(
                slice(i * d + first * s, i * d + (last - 1) * s + 1, s)
                for i, d, (first, last), s in zip(
                    place, self.dilation, box, self.stride, strict=True
                )
            )
            yield at, (slice(None), slice(None), *cut)


def _support(images: Array) -> list[tuple[int, int]]:
    """Range of each spatial axis of ``(r, g, m, *sides)`` outside which all is zero.

    Rows about neighbouring outputs of an earlier convolution are zero far from them.
    """
    used: NDArray[np.bool_] = np.asarray(images.any(axis=(0, 1, 2)))
    found = []
    for axis in range(used.ndim):
        others = tuple(other for other in range(used.ndim) if other != axis)
        places = np.flatnonzero(used.any(axis=others))
        found.append((int(places[0]), int(places[-1]) + 1) if len(places) else (0, 1))
    return found
