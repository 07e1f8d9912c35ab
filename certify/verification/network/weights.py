"""Affine operations with a matrix or a kernel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .nodes import Affine
from .window import Window, widened

if TYPE_CHECKING:
    from collections.abc import Sequence


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


@dataclass(frozen=True, slots=True, eq=False)
class Weighted(Affine):
    """Products with a weight, without a constant.

    Attributes:
        weight: the matrix or kernel.
    """

    weight: Weight

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

    def constant(self, rows: Tensor, window: Window | None = None) -> Tensor:
        """See :class:`Affine`."""
        del window
        return torch.zeros(len(rows), dtype=torch.float64, device=rows.device)


@dataclass(frozen=True, slots=True, eq=False)
class Dense(Weighted):
    """``x W`` along the last axis, with W of shape ``(n, m)``."""

    def apply(self, arguments: Sequence[Tensor], *, constant: bool = True) -> Tensor:
        """See :class:`Affine`."""
        (x,) = arguments
        return x @ self.weight.to(x.dtype)

    def magnitude(self, arguments: Sequence[Tensor], *, constant: bool = True) -> Tensor:
        """See :class:`Affine`."""
        (x,) = arguments
        return x @ self.weight.to(x.dtype, absolute=True)

    def reads(self, window: Window | None) -> tuple[Window | None, ...]:
        """See :class:`Affine`."""
        del window
        return (None,)

    def transpose(self, rows: Tensor, window: Window | None = None) -> tuple[Tensor, ...]:
        """See :class:`Affine`."""
        return (widened(rows, window, None, self.shape) @ self.weight.to(rows.dtype).t(),)
