r"""The images of a statement, and lower bounds of linear functions over them.

The images lie in a box (the pixels within the radius, and within [0, 1]) and, in l2 and l1, in a
ball as well. There, for every :math:`t \ge 0`,

.. math:: \min_{\delta \in \text{box}, \|\delta\|_p^p \le r^p} \langle\lambda, \delta\rangle \ge
    \sum_i \min_{\delta_i} (\lambda_i \delta_i + t |\delta_i|^p) - t r^p

by Lagrangian duality; the choice of t decides how good the bound is, never whether it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from .rounding import UNIT64, gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Norm = Literal["linf", "l2", "l1"]
NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")

HALVINGS = 40
"""Steps of the bisection for t."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Images around a centre, flattened.

    Attributes:
        centre: the image ``(d,)``.
        lower: smallest pixels, rounded outward.
        upper: largest pixels.
        norm: norm of the ball.
        radius: its radius, pixel units.
    """

    centre: Array
    lower: Array
    upper: Array
    norm: Norm
    radius: float

    @classmethod
    def around(cls, image: Array, norm: Norm, radius: float) -> Self:
        """The images within ``radius`` of ``image`` and within [0, 1].

        A pixel that lies outside [0, 1] itself stays within the region.
        """
        centre = image.ravel()
        below, above = np.nextafter(centre - radius, -np.inf), np.nextafter(centre + radius, np.inf)
        lower = np.minimum(np.maximum(below, 0), centre)
        upper = np.maximum(np.minimum(above, 1), centre)
        return cls(centre, lower, upper, norm, radius)

    def minimum(self, rows: Array) -> Array:
        """Lower bounds ``(r,)`` of ``rows (r, d)`` times the image, rounded downward."""
        unit = gamma(self.centre.size + 64, UNIT64)
        size = np.abs(rows) @ np.maximum(np.abs(self.lower), np.abs(self.upper))
        if self.norm == "linf":
            positive = np.maximum(rows, 0)
            return positive @ self.lower + (rows - positive) @ self.upper - 2 * unit * size
        below, above = self.lower - self.centre, self.upper - self.centre
        least, terms = (self._l2 if self.norm == "l2" else self._l1)(rows, below, above)
        return rows @ self.centre + least - 4 * unit * (size + terms)

    def _l2(self, rows: Array, below: Array, above: Array) -> tuple[Array, Array]:
        """Lower bounds for the change, without rounding, and the size of their terms."""
        length = np.sqrt((rows**2).sum(1))
        high = np.maximum(length / (2 * self.radius), 1e-300)
        low = np.zeros_like(high)
        for _ in range(HALVINGS):  # above the best t the clipped change is shorter than the radius
            middle = (low + high) / 2
            change = np.clip(-rows / (2 * np.maximum(middle, 1e-300))[:, None], below, above)
            short = (change**2).sum(1) <= self.radius**2
            low, high = np.where(short, low, middle), np.where(short, middle, high)
        t = high[:, None]
        change = np.clip(-rows / (2 * t), below, above)
        spent, gained = t * change**2, rows * change
        price = high * self.radius**2
        return (spent + gained).sum(1) - price, spent.sum(1) + np.abs(gained).sum(1) + price

    def _l1(self, rows: Array, below: Array, above: Array) -> tuple[Array, Array]:
        """The same in l1, where the best t is the absolute value of one of the coefficients."""
        size = np.abs(rows)
        room = np.where(rows > 0, -below, above)
        order = np.argsort(-size, axis=1)
        spent = np.cumsum(np.take_along_axis(room, order, 1), axis=1)
        place = (spent < self.radius).sum(1)  # the last pixel that the radius pays for
        descending = np.take_along_axis(size, order, 1)
        prices = np.concatenate([descending, np.zeros((len(rows), 1))], axis=1)
        t = np.take_along_axis(prices, place[:, None], 1)
        least = -(np.maximum(size - t, 0) * room).sum(1) - t[:, 0] * self.radius
        return least, size @ np.maximum(-below, above) + t[:, 0] * self.radius
