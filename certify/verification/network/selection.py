"""Operations that move elements: reshapes, slices, transposes, concatenations, padding."""

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
    inner,
    narrowed,
    positions_within,
    window_shape,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KEPT = 2**22
"""Elements of indices of windows that a selection keeps."""

REPEATS = 16
"""Most uses of one element up to which coefficients are gathered, use by use."""


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
