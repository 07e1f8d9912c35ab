"""Linear bounds of non-linear operations, and what they make of coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import torch
from torch import Tensor

from ..network import cut
from ..network.window import inner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..network import Window
    from ..relaxations import Relaxation


class Pieces(Protocol):
    """Linear bounds of one non-linear operation."""

    def substituted(
        self, rows: Tensor, slopes: Tensor | None, signs: Tensor | None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Coefficients of the arguments in place of ``rows (r, *shape)``, and a constant ``(r,)``.

        Args:
            rows: coefficients of the operation's output.
            slopes: slopes of the lower lines, ``(r, *shape)``, where they can be chosen.
            signs: assumed signs of the arguments, ``(r, *shape)``.
        """

    def within(self, window: Window | None) -> Self:
        """The part inside a window of the operation's output."""


@dataclass(frozen=True, slots=True, eq=False)
class ReluPieces:
    """Lines of ReLUs.

    Attributes:
        lower_slope: default slope of the lower line, which passes through 0.
        upper_slope: slope of the upper line.
        upper_offset: its value at 0.
        fixed: where the sign of the argument is known.
    """

    lower_slope: Tensor
    upper_slope: Tensor
    upper_offset: Tensor
    fixed: Tensor

    def substituted(
        self, rows: Tensor, slopes: Tensor | None, signs: Tensor | None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """See :class:`Pieces`."""
        lower, upper, offset = self.lower_slope, self.upper_slope, self.upper_offset
        if slopes is not None:
            lower = torch.where(self.fixed, lower, slopes)
        if signs is not None:
            positive = (signs > 0).to(upper.dtype)
            none = signs == 0
            lower = torch.where(none, lower, positive)
            upper = torch.where(none, upper, positive)
            offset = torch.where(none, offset, 0.0)
        negative = rows.clamp(max=0)
        part = torch.addcmul(rows.clamp(min=0) * lower, negative, upper)
        return (part,), inner(negative, offset)

    def within(self, window: Window | None) -> Self:
        """See :class:`Pieces`."""
        if window is None:
            return self
        return type(self)(*(cut(getattr(self, name), window) for name in self.__slots__))


def relu_pieces(lower: Tensor, upper: Tensor, dtype: torch.dtype) -> ReluPieces:
    """Lines of ReLUs on intervals in float64: through (l, 0) and (u, u) above, through 0 below."""
    active, dead = lower >= 0, upper <= 0
    width = (upper - lower).clamp_min(1e-300)
    slope = (upper / width).clamp(0, 1).to(dtype).double()
    slope = torch.where(active, 1.0, torch.where(dead, 0.0, slope))
    # relu(x) - slope x is convex, so an end of the interval has its maximum
    offset = torch.maximum(-slope * lower, (1 - slope) * upper) * (1 + 1e-15) + 1e-300
    offset = torch.where(active | dead, 0.0, offset)
    return ReluPieces(
        lower_slope=torch.where(active, 1.0, torch.where(dead, 0.0, (upper > -lower).double())).to(
            dtype
        ),
        upper_slope=slope.to(dtype),
        upper_offset=rounded_up(offset, dtype),
        fixed=active | dead,
    )


def rounded_up(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The smallest number of ``dtype`` not below ``x``, or the next; zero stays zero."""
    found = x.to(dtype)
    above = torch.nextafter(found, torch.full_like(found, torch.inf))
    return torch.where(found.double() >= x, found, above)


@dataclass(frozen=True, slots=True, eq=False)
class PlanePieces:
    """Planes that bound an operation of one or two arguments.

    Attributes:
        lower: slopes for each argument, and the constant, of the lower bound.
        upper: those of the upper bound.
    """

    lower: tuple[Tensor, ...]
    upper: tuple[Tensor, ...]

    def substituted(
        self, rows: Tensor, slopes: Tensor | None, signs: Tensor | None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """See :class:`Pieces`."""
        negative = rows.clamp(max=0)
        positive = rows - negative
        *lower_slopes, lower_offset = self.lower
        *upper_slopes, upper_offset = self.upper
        parts = tuple(
            positive * low + negative * high
            for low, high in zip(lower_slopes, upper_slopes, strict=True)
        )
        return parts, inner(positive, lower_offset) + inner(negative, upper_offset)

    def within(self, window: Window | None) -> Self:
        """See :class:`Pieces`."""
        if window is None:
            return self
        return type(self)(
            tuple(cut(part, window) for part in self.lower),
            tuple(cut(part, window) for part in self.upper),
        )

    def magnitude(self, *sizes: Tensor) -> Tensor:
        """Size of the terms for arguments of ``sizes``."""
        found = []
        for planes in (self.lower, self.upper):
            *slopes, offset = planes
            total = offset.double().abs()
            for slope, size in zip(slopes, sizes, strict=True):
                total = total + slope.double().abs() * size
            found.append(total)
        return torch.maximum(*found)


def activation_pieces(
    relaxation: Relaxation, lower: Tensor, upper: Tensor, dtype: torch.dtype
) -> PlanePieces:
    """Lines of an elementwise function."""
    low, high = _outward(lower, upper, dtype)
    lines = relaxation.lines(low, high)
    return PlanePieces(
        (lines.lower_slope, lines.lower_offset), (lines.upper_slope, lines.upper_offset)
    )


def product_pieces(
    lower: Sequence[Tensor], upper: Sequence[Tensor], dtype: torch.dtype
) -> PlanePieces:
    """Planes of a product."""
    from ..relaxations import product_lines

    (low_x, high_x), (low_y, high_y) = (
        _outward(a, b, dtype) for a, b in zip(lower, upper, strict=True)
    )
    lines = product_lines(low_x, high_x, low_y, high_y)
    return PlanePieces(
        (lines.lower_x, lines.lower_y, lines.lower_offset),
        (lines.upper_x, lines.upper_y, lines.upper_offset),
    )


def _outward(lower: Tensor, upper: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The interval in ``dtype``, rounded outward."""
    return -rounded_up(-lower, dtype), rounded_up(upper, dtype)
