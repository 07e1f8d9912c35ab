r"""Sets of inputs, and the minimum of a linear function over them.

Minima of :math:`\langle\lambda, x\rangle` over the intersection of a ball and a box. In linf that
is a box. In l2 and l1 every :math:`t \ge 0` gives a lower bound by Lagrangian duality,

.. math:: \min_{\delta \in \text{box}, \|\delta\|_p \le r} \langle\lambda, \delta\rangle \ge
    \sum_i \min_{\delta_i} (\lambda_i \delta_i + t |\delta_i|^p) - t r^p,

so a multiplier that is only nearly optimal costs tightness and never soundness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError

if TYPE_CHECKING:
    from robcert.certify.core import Ball

ROUNDING = 1e-12
"""Relative error that covers a float64 sum of a few thousand terms, and more where that is more:
see :attr:`Region._rounding`."""

_NEWTON_STEPS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Inputs within a box and, except in linf, within a ball.

    Attributes:
        lower: smallest input ``shape``, float64.
        upper: largest input.
        centre: centre of the ball.
        norm: norm of the ball; in linf the box is the ball.
        radius: radius of the ball.
    """

    lower: Tensor
    upper: Tensor
    centre: Tensor
    norm: Norm
    radius: float

    @classmethod
    def of_ball(cls, x: Tensor, ball: Ball) -> Self:
        """The pixels within ``ball`` of ``x (c, h, w)`` and within [0, 1], rounded outward."""
        if not float(ball.epsilon) >= 0:
            message = f"a radius cannot be negative, got {float(ball.epsilon)}"
            raise InvalidParameterError(message)
        centre = x.detach().double().cpu()
        radius = float(ball.epsilon)
        below = torch.nextafter(centre - radius, torch.tensor(-torch.inf, dtype=torch.float64))
        above = torch.nextafter(centre + radius, torch.tensor(torch.inf, dtype=torch.float64))
        lower, upper = below.clamp(min=0), above.clamp(max=1)
        # an image outside the pixel box keeps its own ball
        lower, upper = torch.minimum(lower, centre), torch.maximum(upper, centre)
        return cls(lower, upper, centre, ball.norm, radius)

    @classmethod
    def of_box(cls, lower: Tensor, upper: Tensor) -> Self:
        """All inputs between ``lower`` and ``upper``."""
        lower, upper = lower.detach().double(), upper.detach().double()
        return cls(lower, upper, (lower + upper) / 2, Norm.LINF, 0.0)

    def lies_in(self, other: Region) -> bool:
        """Whether it is found to be a part of ``other``: a smaller ball around the same image."""
        return (
            self.norm is other.norm
            and self.radius <= other.radius
            and torch.equal(self.centre, other.centre)
            and bool((self.lower >= other.lower).all())
            and bool((self.upper <= other.upper).all())
        )

    @property
    def _rounding(self) -> float:
        """Relative error of sums over all pixels in float64, in any order (Higham's gamma)."""
        return max(ROUNDING, 2 * (self.lower.numel() + 16) * 2.0**-53)

    def minimum(self, rows: Tensor) -> Tensor:
        """Lower bounds ``(r,)`` of ``<rows, x>`` over the region, rounded downward; float64.

        Args:
            rows: coefficients ``(r, *shape)``.
        """
        flat = rows.flatten(1).double()
        low, high = self.lower.flatten(), self.upper.flatten()
        if self.norm is Norm.LINF:
            middle = (low + high) / 2
            half = torch.maximum(high - middle, middle - low)
            half = torch.nextafter(half, torch.full_like(half, torch.inf))
            size = half + self._rounding * torch.maximum(low.abs(), high.abs())
            return flat @ middle - flat.abs() @ size
        centre = self.centre.flatten()
        below, above = low - centre, high - centre
        if self.norm is Norm.L2:
            scale = _powers_of_two(flat)  # squares of small coefficients would vanish
            dual = self._l2(flat / scale, below, above) * scale[:, 0]
        else:
            dual = self._l1(flat, below, above)
        size = flat.detach().abs() @ (centre.abs() + torch.maximum(below.abs(), above.abs()))
        return flat @ centre + dual - self._rounding * (size + dual.detach().abs())

    def minimiser(self, rows: Tensor) -> Tensor:
        """Inputs ``(r, *shape)`` of the region where ``<rows, x>`` is smallest, or nearly."""
        flat = rows.detach().flatten(1).double()
        low, high = self.lower.flatten(), self.upper.flatten()
        if self.norm is Norm.LINF:
            return torch.where(flat > 0, low, high).view(len(flat), *self.lower.shape)
        centre = self.centre.flatten()
        below, above = low - centre, high - centre
        if self.norm is Norm.L2:
            t = self._l2_multiplier(flat, below, above)[:, None]
            delta = torch.minimum(torch.maximum(-flat / (2 * t), below), above)
            length = delta.norm(dim=1, keepdim=True).clamp_min(1e-300)
            delta = delta * (self.radius / length).clamp(max=1)
        else:
            reach = torch.where(flat > 0, -below, above)
            order = flat.abs().argsort(dim=1, descending=True)
            sorted_reach = reach.gather(1, order)
            before = sorted_reach.cumsum(1) - sorted_reach
            used = torch.minimum(sorted_reach, (self.radius - before).clamp(min=0))
            delta = torch.zeros_like(flat).scatter(1, order, used) * -flat.sign()
        return (centre + delta).view(len(flat), *self.lower.shape)

    def _l2(self, flat: Tensor, below: Tensor, above: Tensor) -> Tensor:
        """Lower bound of ``<flat, delta>`` over ``below <= delta <= above``, ``|delta|_2 <= r``."""
        length = flat.norm(dim=1)
        ball = -self.radius * length * (1 + self._rounding)
        t = self._l2_multiplier(flat.detach(), below, above)[:, None]
        delta = torch.minimum(torch.maximum(-flat.detach() / (2 * t), below), above)
        dual = (flat * delta + t * delta.square()).sum(1) - t[:, 0] * self.radius**2
        size = (flat.detach() * delta).abs().sum(1) + t[:, 0] * self.radius**2
        return torch.maximum(ball, dual - self._rounding * size)

    def _l2_multiplier(self, flat: Tensor, below: Tensor, above: Tensor) -> Tensor:
        """Multiplier at which the clipped perturbation has the length of the radius, about."""
        length = flat.norm(dim=1)
        t = (length / (2 * self.radius)).clamp_min(1e-300)
        for _ in range(_NEWTON_STEPS):
            delta = torch.minimum(torch.maximum(-flat / (2 * t[:, None]), below), above)
            found = delta.norm(dim=1)
            t = torch.where(found > 0, t * (found / self.radius).clamp(0.05, 1.0), t)
        farthest = torch.where(flat > 0, below, torch.where(flat < 0, above, 0.0)).norm(dim=1)
        t = torch.where(farthest <= self.radius, 0.0, t)
        return t.clamp_min(1e-300)

    def _l1(self, flat: Tensor, below: Tensor, above: Tensor) -> Tensor:
        """The same with ``|delta|_1 <= r``."""
        size = flat.detach().abs()
        reach = torch.where(flat.detach() > 0, -below, above)
        order = size.argsort(dim=1, descending=True)
        total = reach.gather(1, order).cumsum(1)
        place = (total < self.radius).sum(1, keepdim=True).clamp(max=size.shape[1] - 1)
        t = size.gather(1, order).gather(1, place)  # the last pixel that the radius pays for
        t = torch.where(total[:, -1:] <= self.radius, 0.0, t)
        gain = ((flat.abs() - t).clamp(min=0) * reach).sum(1)
        return -(gain + t[:, 0] * self.radius) * (1 + self._rounding)


def _powers_of_two(flat: Tensor) -> Tensor:
    """The power of two next to the largest coefficient of each row, ``(r, 1)``; 1 for zeros."""
    largest = flat.detach().abs().amax(1, keepdim=True)
    exponent = torch.frexp(largest).exponent.clamp(-1000, 1000)
    return torch.where(largest > 0, torch.exp2(exponent.double()), 1.0)
