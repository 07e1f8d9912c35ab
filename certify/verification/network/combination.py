"""Weighted sums of operations, element by element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .nodes import Affine
from .window import Window, cut, inner

if TYPE_CHECKING:
    from collections.abc import Sequence


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
        return self.only_adds and self.offset is None

    @property
    def only_adds(self) -> bool:
        """Whether arguments and constant are added or subtracted as they are."""
        return all(not isinstance(part, Tensor) and abs(part) == 1 for part in self.factors)

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


def _size(factor: Tensor | float) -> Tensor | float:
    return factor.abs() if isinstance(factor, Tensor) else abs(factor)


def _times(x: Tensor, factor: Tensor | float) -> Tensor:
    if isinstance(factor, Tensor):
        return x * factor.to(x.dtype)
    return x if factor == 1 else -x if factor == -1 else x * factor
