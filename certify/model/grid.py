r"""The inputs that exist for a model with an integer input, as images in pixel space.

A pixel :math:`x` becomes the number :math:`v = s x + o` and is rounded to the integer k, a level.
The model cannot tell two images of equal levels apart: both stand for the input at the pixel values
:math:`(k - o) / s`, kept in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Norm
from robcert.certify.numerics import per_row, sums

from .preprocessing import Preprocessing

if TYPE_CHECKING:
    from typing import Any, Self

TOLERANCE = 1e-4
"""Share of a level by which float32 pixels may miss a multiple of it."""

ROUNDING = 1e-7
"""Relative error of a radius in float32."""

_BISECTIONS = 30


@dataclass(frozen=True, slots=True)
class InputGrid:
    """Images on the levels of an integer input.

    Attributes:
        prepare: how pixels become the input.
    """

    prepare: Preprocessing

    @classmethod
    def of(cls, prepare: Preprocessing) -> Self | None:
        """The grid of an integer input; None for floating-point inputs."""
        return None if getattr(torch, prepare.dtype).is_floating_point else cls(prepare)

    @classmethod
    def of_stored(cls, preprocessing: dict[str, Any]) -> Self | None:
        """The grid of a preprocessing by the names of its parts, as results files hold it."""
        return cls.of(Preprocessing(**preprocessing))

    @property
    def levels(self) -> int:
        """Number of levels of a pixel, in the channel that has most."""
        black, white = self._ends()
        return int((white - black).abs().max()) + 1

    @property
    def step(self) -> float:
        """Smallest change of one pixel between two inputs, pixel units; inf if there is one input.

        It is the smallest distance of two inputs in every norm.
        """
        black, white = self._ends()
        low, high = torch.minimum(black, white), torch.maximum(black, white)
        near = [low, torch.minimum(low + 1, high), torch.maximum(high - 1, low), high]
        gaps = torch.stack([self._pixels(level) for level in near]).sort(dim=0).values.diff(dim=0)
        unit = 1 / self._scale().abs()
        # the gaps beside black and white are smaller where these lie between two levels
        narrow = torch.where((gaps > 0) & (gaps < unit * (1 - TOLERANCE)), gaps, torch.inf)
        inner = torch.where(high > low, unit, torch.inf)
        return min(float(narrow.min()), float(inner.min()))

    @property
    def end_error(self) -> float:
        """Largest distance of black and white from the pixel value of their level, pixel units.

        0 where both lie on levels. The function before rounding does not have the model's scores
        at an end that lies between two levels, because no pixel has the value of its level.
        """
        black = torch.zeros(1, self.prepare.channel_constants, 1, 1, dtype=torch.float64)
        ends = self.prepare.scaled(torch.cat([black, torch.ones_like(black)]))
        exact = self.prepare.as_type(ends, rounded=False)
        return float(((exact - exact.round()).abs() / self._scale().abs()).max())

    def nearest(self, x: Tensor) -> Tensor:
        """The images that the model sees in place of ``x (b, c, h, w)``, in the type of ``x``."""
        return self._pixels(self._levels(x)).to(x.dtype)

    def steps(self, like: Tensor) -> Tensor:
        """One level of each channel in pixel units, in a shape that broadcasts to images."""
        return (1 / self._scale().abs()).to(like)

    def within(self, x: Tensor, clean: Tensor, norm: Norm, radius: Tensor) -> Tensor:
        r"""Images on the levels with the perturbation of ``x (b, c, h, w)``, within a radius.

        In linf each pixel is rounded to its nearest level and clipped to the levels within the
        radius. In l2 and l1 the perturbation :math:`\delta` becomes the rounded :math:`c \delta`
        with the largest c that the radius allows: rounding alone would lose a perturbation below
        half a level. In l2 it has, up to one level of one pixel, the largest inner product with
        :math:`\delta` among changes of its length. Where the radius holds only some of equal
        changes, pixels that come first keep theirs.

        Args:
            x: images.
            clean: images on the levels.
            norm: norm of the radius.
            radius: pixel units.
        """
        start, unit = self._levels(clean), self._scale().abs()
        if norm is Norm.LINF:
            most = (per_row(radius.double(), x) * unit + TOLERANCE).floor()
            return self._pixels(start + (self._levels(x) - start).clamp(-most, most)).to(x.dtype)
        radius = radius.double() * (1 + ROUNDING)
        exact = self.prepare.scaled(x).double() - start
        factor = self._factor(exact, start, norm, radius)
        move = self._levels(self.prepare.pixels(start + factor * exact).clamp(0, 1)) - start
        added = move.abs() - (factor * exact).abs()
        move = move - move.sign() * _pulled(move.abs() / unit, added, 1 / unit, norm, radius)
        return self._pixels(start + move).to(x.dtype)

    def attainable(self, radius: Tensor, norm: Norm) -> Tensor:
        """The largest distances up to ``radius (b,)`` that two inputs may have.

        0 below one level. In linf a multiple of the level, where all channels have the same; in the
        other norms there are so many distances that the radius itself is returned.
        """
        unit = self._unit(norm)
        whole = radius if unit is None else _multiple(radius, unit).to(radius) * unit
        return torch.where(radius >= self.step * (1 - TOLERANCE), whole, 0.0)

    def equivalent(self, radius: Tensor, norm: Norm) -> Tensor:
        """Radii just below the next attainable distance: no smaller ball holds further inputs."""
        unit = self._unit(norm)
        if unit is None:
            return radius
        return (_multiple(radius, unit) + 1) * unit * (1 - TOLERANCE)

    def difference(self, x: Tensor, clean: Tensor) -> Tensor:
        """``x - clean`` in double precision, for images on the levels; exact in levels."""
        ours, its = self._levels(x), self._levels(clean)
        exact, seen = (ours - its) / self._scale(), self._pixels(ours) - self._pixels(its)
        # a level may lie beyond the pixel box, whose edge then takes its place
        return torch.where((exact - seen).abs() < TOLERANCE / self._scale().abs(), exact, seen)

    def note(self) -> str:
        """What the rounding means for the numbers, in one line."""
        return (
            f"the input is {self.prepare.dtype}: pixels are rounded to {self.levels} levels. "
            "Attacks report images on these levels and their distances. Gradients, γ and estimated "
            "radii are those of the function before rounding, which gives these images the same "
            "scores; smoothing adds its noise before rounding"
        )

    def _levels(self, x: Tensor) -> Tensor:
        return self.prepare.as_type(self.prepare.scaled(x)).double()

    def _pixels(self, levels: Tensor) -> Tensor:
        return self.prepare.pixels(levels).clamp(0, 1)

    def _ends(self) -> tuple[Tensor, Tensor]:
        """Levels of black and white ``(1, c, 1, 1)``."""
        black = torch.zeros(1, self.prepare.channel_constants, 1, 1)
        return self._levels(black), self._levels(torch.ones_like(black))

    def _scale(self) -> Tensor:
        """Levels per pixel unit ``(1, c, 1, 1)`` or ``(1, 1, 1, 1)``, negative if black is high."""
        low, high = self.prepare.range
        shape = (1, self.prepare.channel_constants, 1, 1)
        width = torch.full(shape, high - low, dtype=torch.float64)
        std = self.prepare.std
        return width / self.prepare.constants(std, width) if std else width

    def _factor(self, exact: Tensor, start: Tensor, norm: Norm, radius: Tensor) -> Tensor:
        """Smallest factors of perturbations whose rounded image reaches the radius, by bisection.

        Args:
            exact: perturbations in levels, not rounded.
            start: levels of the clean images.
            norm: norm of the radius.
            radius: pixel units ``(b,)``.

        Returns:
            Factors in a shape that broadcasts to images. They stay below the factor at which the
            largest entry alone would reach the radius.
        """
        unit = self._scale().abs()
        largest = (exact.abs() / unit).flatten(1).amax(1)
        high = (radius + 1 / unit.min()) / largest.clamp_min(TOLERANCE / unit.max())
        low = torch.zeros_like(high)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            moved = self.prepare.pixels(start + per_row(middle, exact) * exact).clamp(0, 1)
            beyond = norm.of((self._levels(moved) - start) / unit) > radius
            low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
        return per_row(high, exact)

    def _unit(self, norm: Norm) -> float | None:
        """The pixel unit of one level if linf distances are multiples of it, else None."""
        scale = self._scale().abs().flatten()
        same = norm is Norm.LINF and bool((scale == scale[0]).all())
        return 1 / float(scale[0]) if same else None


def below_one_level(step: float | None, epsilon: float) -> bool:
    """Whether ``epsilon`` is smaller than ``step``, one level of an integer input."""
    return step is not None and epsilon < step * (1 - TOLERANCE)


def _multiple(radius: Tensor, unit: float) -> Tensor:
    """How many times ``radius (b,)`` holds ``unit``."""
    return (radius.double() / unit + TOLERANCE).floor()


def _pulled(size: Tensor, added: Tensor, unit: Tensor, norm: Norm, radius: Tensor) -> Tensor:
    """1 for the entries to shorten by one ``unit``, so that ``size (b, ...)`` fits the radius."""
    power = 2 if norm is Norm.L2 else 1
    gain = (size.pow(power) - (size - unit).clamp_min(0).pow(power)).flatten(1)
    order = added.flatten(1).sort(dim=1, descending=True, stable=True).indices
    gain = gain.gather(1, order)
    much = sums(size.pow(power)) - radius.pow(power)
    needed = (gain.cumsum(1) - gain < much[:, None]) & (added.flatten(1).gather(1, order) > 0)
    pulled = torch.zeros_like(gain).scatter(1, order, needed.double())
    return pulled.view_as(size)
