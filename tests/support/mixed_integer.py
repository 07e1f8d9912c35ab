"""Small networks as mixed-integer programs (Tjeng, Xiao, Tedrake 2019, arXiv:1711.07356).

The programs know nothing of the verifier: affine layers are read off as matrices by running them on
unit vectors, ReLUs and maxima are written with one binary variable for each choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import LinearConstraint, linprog, milp
from torch import nn

from robcert.certify.core import Norm

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float64]

SOLVER_GAP = 1e-5
"""How far the solver's tolerances may move a distance, relatively; measured below 1e-6."""


class Residual(nn.Module):
    """``x + inner(x)``."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


@dataclass
class Terms:
    """Linear expressions of the variables, with an interval for each.

    Attributes:
        shape: shape of the tensor that they stand for.
        matrix: (n, variables so far).
        constant: (n,).
        low: (n,).
        high: (n,).
    """

    shape: tuple[int, ...]
    matrix: Array
    constant: Array
    low: Array
    high: Array


@dataclass
class Program:
    """Variables and conditions, as far as the network was written down.

    Attributes:
        low: lower bound of each variable.
        high: upper bound.
        whole: whether it is 0 or 1.
        rows: left sides of the conditions ``row v <= limit``.
        limits: right sides.
    """

    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)
    rows: list[dict[int, float]] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)

    def variable(self, low: float, high: float, *, whole: bool = False) -> int:
        self.low.append(low)
        self.high.append(high)
        self.whole.append(int(whole))
        return len(self.low) - 1

    def at_most(self, row: dict[int, float], limit: float) -> None:
        self.rows.append(row)
        self.limits.append(limit)

    def inputs(self, low: Array, high: Array, shape: tuple[int, ...]) -> Terms:
        places = [self.variable(a, b) for a, b in zip(low, high, strict=True)]
        return self.of_places(places, shape, low, high)

    def of_places(
        self, places: list[int], shape: tuple[int, ...], low: Array, high: Array
    ) -> Terms:
        matrix = np.zeros((len(places), len(self.low)))
        matrix[np.arange(len(places)), places] = 1
        return Terms(shape, matrix, np.zeros(len(places)), low, high)

    def wide(self, terms: Terms) -> Array:
        """The matrix over all variables so far."""
        return np.pad(terms.matrix, ((0, 0), (0, len(self.low) - terms.matrix.shape[1])))

    def through(self, module: nn.Module, terms: Terms) -> Terms:
        """The expressions behind a layer."""
        if isinstance(module, nn.Sequential):
            for layer in module:
                terms = self.through(layer, terms)
            return terms
        if isinstance(module, Residual):
            return self.sum(terms, self.through(module.inner, terms))
        if isinstance(module, nn.ReLU):
            return self.relu(terms)
        if isinstance(module, nn.MaxPool2d):
            return self.pooled(module, terms)
        return affine(module, terms)

    def sum(self, first: Terms, second: Terms) -> Terms:
        return Terms(
            first.shape,
            self.wide(first) + self.wide(second),
            first.constant + second.constant,
            first.low + second.low,
            first.high + second.high,
        )

    def relu(self, terms: Terms) -> Terms:
        zero = Terms((1,), np.zeros((1, 0)), np.zeros(1), np.zeros(1), np.zeros(1))
        n = len(terms.constant)
        both = Terms(
            (n + 1,),
            np.vstack([self.wide(terms), self.wide(zero)]),
            np.append(terms.constant, 0.0),
            np.append(terms.low, 0.0),
            np.append(terms.high, 0.0),
        )
        return self.largest(both, [[i, n] for i in range(n)], terms.shape)

    def pooled(self, module: nn.MaxPool2d, terms: Terms) -> Terms:
        c, h, w = terms.shape
        numbers = torch.arange(1, c * h * w + 1, dtype=torch.float64).view(1, c, h, w)
        windows = nn.functional.unfold(
            numbers.transpose(0, 1),
            module.kernel_size,
            module.dilation,
            module.padding,
            module.stride,
        )
        groups = [
            [int(place) - 1 for place in window if place > 0]
            for channel in windows
            for window in channel.t()
        ]
        shape = tuple(module(torch.zeros(1, c, h, w)).shape[1:])
        return self.largest(terms, groups, shape)

    def largest(self, terms: Terms, groups: list[list[int]], shape: tuple[int, ...]) -> Terms:
        """The maximum of each group of expressions: one of them, and above all of them."""
        places, lows, highs = [], [], []
        for group in groups:
            low, high = terms.low[group].max(), terms.high[group].max()
            possible = [i for i in group if terms.high[i] >= low]
            top = self.variable(low, high)
            chosen = [self.variable(0, 1, whole=True) for _ in possible]
            self.at_most(dict.fromkeys(chosen, -1.0), -1.0)
            for i, choice in zip(possible, chosen, strict=True):
                row = {j: float(v) for j, v in enumerate(terms.matrix[i]) if v}
                self.at_most({**row, top: -1.0}, -terms.constant[i])  # top >= expression
                gap = high - terms.low[i]  # top <= expression + gap (1 - choice)
                below = {j: -v for j, v in row.items()}
                self.at_most({**below, top: 1.0, choice: gap}, terms.constant[i] + gap)
            places.append(top)
            lows.append(low)
            highs.append(high)
        return self.of_places(places, shape, np.array(lows), np.array(highs))

    def minimised(self, objective: int) -> float:
        """Smallest value of a variable; inf if there is no solution."""
        matrix = np.zeros((len(self.rows), len(self.low)))
        for at, row in enumerate(self.rows):
            matrix[at, list(row)] = list(row.values())
        answer = milp(
            np.eye(len(self.low))[objective],
            integrality=np.array(self.whole),
            bounds=(np.array(self.low), np.array(self.high)),
            constraints=LinearConstraint(matrix, -np.inf, np.array(self.limits)),
        )
        assert answer.status in (0, 2), answer.message
        return float(answer.fun) if answer.status == 0 else math.inf


def affine(module: nn.Module, terms: Terms) -> Terms:
    """The expressions behind an affine layer."""
    units = torch.eye(len(terms.constant), dtype=torch.float64).view(-1, *terms.shape)
    with torch.no_grad():
        double = module.double()
        zero = double(torch.zeros(1, *terms.shape, dtype=torch.float64))
        columns = double(units) - zero
        module.float()
    matrix, offset = columns.flatten(1).t().numpy(), zero.flatten().numpy()
    positive, negative = matrix.clip(min=0), matrix.clip(max=0)
    return Terms(
        tuple(zero.shape[1:]),
        matrix @ terms.matrix,
        matrix @ terms.constant + offset,
        positive @ terms.low + negative @ terms.high + offset,
        positive @ terms.high + negative @ terms.low + offset,
    )


def exact_distance(net: nn.Module, x: Tensor, y: int, norm: Norm, limit: float) -> float:
    """Distance in linf or l1 from ``x (c, h, w)`` to an image in [0, 1] with another class.

    Args:
        net: of ``Linear``, ``Conv2d``, ``ReLU``, ``MaxPool2d``, :class:`Residual` and others that
            are affine.
        x: the image.
        y: its class.
        norm: LINF or L1.
        limit: no image beyond this distance is looked for.

    Returns:
        The distance; inf if it is above ``limit``.
    """
    with torch.no_grad():
        classes = net(x[None]).shape[1]
    others = [j for j in range(classes) if j != y]
    return min(_distance_to(net, x, (y, j), norm, limit) for j in others)


def _distance_to(
    net: nn.Module, x: Tensor, classes: tuple[int, int], norm: Norm, limit: float
) -> float:
    """Distance to the nearest image that has at least the score of another class."""
    program = Program()
    centre = x.double().flatten().numpy()
    low, high = (centre - limit).clip(min=0), (centre + limit).clip(max=1)
    pixels = program.inputs(low, high, tuple(x.shape))
    radius = program.variable(0.0, limit)
    changes = []
    for i, middle in enumerate(centre):
        change = program.variable(0.0, limit) if norm is Norm.L1 else radius
        program.at_most({i: 1.0, change: -1.0}, middle)
        program.at_most({i: -1.0, change: -1.0}, -middle)
        changes.append(change)
    if norm is Norm.L1:
        program.at_most({**dict.fromkeys(changes, 1.0), radius: -1.0}, 0.0)
    scores = program.through(net, pixels)
    own, other = classes
    margin = scores.matrix[own] - scores.matrix[other]
    row = {j: float(v) for j, v in enumerate(margin) if v}
    program.at_most(row, scores.constant[other] - scores.constant[own])
    return program.minimised(radius)


def least_product(row: Array, centre: Array, norm: Norm, radius: float) -> float:
    """Minimum of ``<row, x>`` over a ball in linf or l1 within [0, 1], by linear programming."""
    n = len(row)
    share = np.eye(n)
    above = np.hstack([share, -share])
    below = np.hstack([-share, -share])
    total = np.hstack([np.zeros(n), np.ones(n)])[None]
    conditions, limits = [above, below], [centre, -centre]
    if norm is Norm.L1:
        conditions.append(total)
        limits.append(np.array([radius]))
    answer = linprog(
        np.append(row, np.zeros(n)),
        A_ub=np.vstack(conditions),
        b_ub=np.concatenate(limits),
        bounds=[(0, 1)] * n + [(0, radius)] * n,
    )
    assert answer.status == 0, answer.message
    return float(answer.fun)
