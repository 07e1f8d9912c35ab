"""Affine operations."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .nodes import Affine, Shape
from .window import (
    Window,
    by_row,
    cut,
    enclosing,
    narrowed,
    positions_within,
    widened,
    window_shape,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KEPT = 2**22
"""Elements of indices of windows that a selection keeps."""

REPEATS = 16
"""Most uses of one element up to which coefficients are gathered, use by use."""


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


def inner(rows: Tensor, values: Tensor | None, window: Window | None = None) -> Tensor:
    """``sum(rows * values)`` of each row on the window, added up in float64."""
    if values is None:
        return torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    weighted = rows * cut(values, window).to(rows.dtype)
    return by_row(weighted).sum(1, dtype=torch.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Uses:
    """Where the elements of an argument's window occur in a window of a selection's output.

    Attributes:
        window: of the argument.
        shape: of that window.
        source: elements of the argument's window, one for each of their uses, in order.
        at: their positions in the output's window.
        places: for each use of an element its position in the output's window, or that window's
            size where there is none, ``(m, elements)``; None where elements have many uses.
        everywhere: whether every element has one use.
    """

    window: Window | None
    shape: Shape
    source: Tensor
    at: Tensor
    places: tuple[Tensor, ...] | None
    everywhere: bool

    @classmethod
    def of(cls, source: Tensor, at: Tensor, total: int, read: Window | None, shape: Shape) -> Uses:
        """Elements ``source`` of the argument's window at the positions ``at`` among ``total``."""
        n = prod(shape)
        order = torch.argsort(source, stable=True)
        source, at = source[order], at[order]
        counts = torch.bincount(source, minlength=n)
        most = max(1, int(counts.max()))
        if most > REPEATS:
            return cls(read, shape, source, at, None, everywhere=False)
        turn = torch.arange(len(source)) - (counts.cumsum(0) - counts)[source]
        places = torch.full((most, n), total)
        places[turn, source] = at
        everywhere = most == 1 and bool((counts == 1).all())
        return cls(read, shape, source, at, tuple(places), everywhere=everywhere)

    def gathered(self, flat: Tensor) -> Tensor:
        """Coefficients ``(r, *window)`` of the argument for ``flat (r, total)`` of the output."""
        if self.places is None:
            zeros = flat.new_zeros(len(flat), prod(self.shape))
            found = zeros.index_add(1, self.source, flat[:, self.at])
        elif self.everywhere:
            found = flat.index_select(1, self.places[0])
        else:
            padded = torch.nn.functional.pad(flat, (0, 1))
            found = padded.index_select(1, self.places[0])
            for places in self.places[1:]:
                found = found + padded.index_select(1, places)
        return found.view(len(flat), *self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Select(Affine):
    """Each element of the output is an element of an argument, or a constant.

    Attributes:
        index: position of each output element among the elements of all arguments, -1 for a
            constant; ``shape``.
        offset: the constants, ``shape``; None for none.
        shapes: shapes of the arguments.
        reshapes: whether nothing changes but the shape.
        occurrences: the last windows that were read.
    """

    index: Tensor
    offset: Tensor | None
    shapes: tuple[Shape, ...]
    reshapes: bool
    occurrences: dict[Window | None, tuple[Uses, ...]] = field(default_factory=dict)

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
        total = sum(prod(shape) for shape in shapes)
        counts = torch.bincount(index[index >= 0], minlength=total)
        uses = int(counts.max()) if len(counts) else 1
        same = len(shapes) == 1 and index.numel() == total
        same = same and bool((index.flatten() == torch.arange(total)).all())
        return cls(parents, tuple(index.shape), label, 1, uses, index, offset, shapes, same)

    def apply(self, arguments: Sequence[Tensor], *, constant: bool = True) -> Tensor:
        """See :class:`Affine`."""
        flat = torch.cat([by_row(argument) for argument in arguments], dim=1)
        if self.reshapes:
            return flat.view(len(flat), *self.shape)
        index = self.index.flatten()
        found = flat[:, index.clamp_min(0)]
        if bool((index < 0).any()):
            found = torch.where(index >= 0, found, torch.zeros_like(found))
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

    @property
    def only_moves(self) -> bool:
        """See :class:`Affine`."""
        return self.uses <= 1 and self.offset is None

    def reads(self, window: Window | None) -> tuple[Window | None, ...]:
        """See :class:`Affine`."""
        return tuple(uses.window for uses in self._uses(window))

    def transpose(self, rows: Tensor, window: Window | None = None) -> tuple[Tensor, ...]:
        """See :class:`Affine`."""
        flat = by_row(rows)
        if self.reshapes and window is None:
            return (flat.view(len(flat), *self.shapes[0]),)
        return tuple(uses.gathered(flat) for uses in self._uses(window))

    def constant(self, rows: Tensor, window: Window | None = None) -> Tensor:
        """See :class:`Affine`."""
        return inner(rows, self.offset, window)

    def _uses(self, window: Window | None) -> tuple[Uses, ...]:
        """What the output's window reads of each argument."""
        if window not in self.occurrences:
            if len(self.occurrences) * self.index.numel() > KEPT:
                self.occurrences.clear()
            self.occurrences[window] = tuple(self._found(window))
        return self.occurrences[window]

    def _found(self, window: Window | None) -> Iterator[Uses]:
        index = cut(self.index, window).flatten()
        start = 0
        for shape in self.shapes:
            stop = start + prod(shape)
            at = ((index >= start) & (index < stop)).nonzero().flatten()
            source = index[at] - start
            read = None
            if window is not None:
                box = enclosing(source, shape) if len(at) else tuple((0, 1) for _ in shape)
                read = narrowed(box, shape)
                source = source if read is None else positions_within(source, read, shape)
            yield Uses.of(source, at, len(index), read, window_shape(read, shape))
            start = stop


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

    @property
    def only_moves(self) -> bool:
        """See :class:`Affine`."""
        return False

    def reads(self, window: Window | None) -> tuple[Window | None, ...]:
        """See :class:`Affine`."""
        del window
        return (None,)

    def transpose(self, rows: Tensor, window: Window | None = None) -> tuple[Tensor, ...]:
        """See :class:`Affine`."""
        return (widened(rows, window, None, self.shape) @ self.weight.to(rows.dtype).t(),)

    def constant(self, rows: Tensor, window: Window | None = None) -> Tensor:
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

    @property
    def only_moves(self) -> bool:
        """See :class:`Affine`."""
        return False

    def reads(self, window: Window | None) -> tuple[Window | None, ...]:
        """See :class:`Affine`."""
        if window is None or self.transposed:
            return (None,)
        ranges = [
            (max(0, low), min(n, high))
            for (low, high), n in zip(self._reached(window), self.source[2:], strict=True)
        ]
        if any(low >= high for low, high in ranges):  # nothing but padding
            return (None,)
        batch, channels = ((0, n) for n in self.source[:2])
        return (narrowed((batch, channels, *ranges), self.source),)

    def _reached(self, window: Window) -> list[tuple[int, int]]:
        """Ranges of the argument's places that a window of the output reads, padding included."""
        return [
            (first * s - p, (last - 1) * s - p + d * (k - 1) + 1)
            for (first, last), p, d, k, s in zip(
                window[2:],
                self.padding,
                self.dilation,
                self.weight.exact.shape[2:],
                self.stride,
                strict=True,
            )
        ]

    def transpose(self, rows: Tensor, window: Window | None = None) -> tuple[Tensor, ...]:
        """See :class:`Affine`."""
        (read,) = self.reads(window)
        if window is None or read is None:
            return (self._back(widened(rows, window, None, self.shape)),)
        batch, channels = ((0, n) for n in self.shape[:2])
        rows = widened(rows, window, (batch, channels, *window[2:]), self.shape)
        none = [0] * len(self.stride)
        images = rows.reshape(-1, *rows.shape[2:])
        n = len(images)
        images = torch.cat([images, images.new_zeros(_few_sizes(n) - n, *images.shape[1:])])
        found = self._transposed(images, none, none)[:n]
        inside = [
            (first - start, last - start)
            for (first, last), (start, _) in zip(read[2:], self._reached(window), strict=True)
        ]
        return (
            cut(found, ((0, found.shape[1]), *inside)).reshape(
                len(rows), *window_shape(read, self.source)
            ),
        )

    def _back(self, rows: Tensor) -> Tensor:
        """:meth:`transpose` of the whole output."""
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
        found = self._transposed(images, list(self.padding), extra)
        # one copy here in place of one at every reader: convolutions may return channels last
        return found.contiguous().view(len(rows), *self.source)

    def _transposed(self, images: Tensor, padding: list[int], extra: list[int]) -> Tensor:
        return torch.convolution(
            images,
            self.weight.to(images.dtype),
            None,
            self.stride,
            padding,
            self.dilation,
            not self.transposed,
            extra,
            self.groups,
        )

    def constant(self, rows: Tensor, window: Window | None = None) -> Tensor:
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

    @property
    def only_moves(self) -> bool:
        """See :class:`Affine`."""
        signs = all(not isinstance(part, Tensor) and abs(part) == 1 for part in self.factors)
        return signs and self.offset is None

    def reads(self, window: Window | None) -> tuple[Window | None, ...]:
        """See :class:`Affine`."""
        return (window,) * len(self.factors)

    def transpose(self, rows: Tensor, window: Window | None = None) -> tuple[Tensor, ...]:
        """See :class:`Affine`."""
        parts = [
            cut(factor, window) if isinstance(factor, Tensor) else factor for factor in self.factors
        ]
        return tuple(_times(rows, part) for part in parts)

    def constant(self, rows: Tensor, window: Window | None = None) -> Tensor:
        """See :class:`Affine`."""
        return inner(rows, self.offset, window)


def _few_sizes(n: int) -> int:
    """The next number of the form 2^k or 3 * 2^k; a convolution is compiled for each batch size.

    >>> [_few_sizes(n) for n in (1, 5, 9, 13, 17, 33)]
    [8, 8, 12, 16, 24, 48]
    """
    size = 8
    while size < n:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


def _size(factor: Tensor | float) -> Tensor | float:
    return factor.abs() if isinstance(factor, Tensor) else abs(factor)


def _times(x: Tensor, factor: Tensor | float) -> Tensor:
    if isinstance(factor, Tensor):
        return x * factor.to(x.dtype)
    return x if factor == 1 else -x if factor == -1 else x * factor
