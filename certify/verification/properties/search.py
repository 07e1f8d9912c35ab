r"""The search for counterexamples: projected gradient descent inside the boxes of the cases.

It minimises :math:`\max_i (r_i \cdot y(x) + d_i)`, which is at most 0 at a counterexample, by steps
of the gradient's sign times the width of the box (Madry et al. 2018, arXiv:1706.06083). Every other
input follows :math:`\sum_i \max(r_i \cdot y(x) + d_i, 0)`, which is 0 there and has no kink where
the largest row changes.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from robcert.certify.numerics import generator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .settings import PropertySettings
    from .unsafe_set import Case

FIRST_STEP, LAST_STEP = 0.5, 0.004
"""Steps, as parts of the width of the box; geometric in between."""

MOST_LANES = 512
"""Inputs that are followed at once."""

POOL, POOL_INPUTS = 64, 4096
"""Random points that compete for a starting point, and the most elements that they may have."""

FEW_INPUTS = 64
"""Up to so many inputs random points near the best ones are tried, too: where the network has a
ridge, steps of the gradient only cross it."""

_INPUTS_AT_ONCE, _ROWS_AT_ONCE = 2**21, 2**23
"""Elements of all inputs, and of all rows, of one batch."""

CHECKS = 4
"""Candidates of a case that the runtime is asked about, each lower than the one before."""


class Network(Protocol):
    """A function of one tensor with a gradient."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""

    @property
    def outputs(self) -> int:
        """Number of outputs."""

    def twin(self, x: Tensor) -> Tensor:
        """Outputs ``(b, n)`` of ``x (b, *input_shape)``."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The input of a case that came nearest to a counterexample.

    Attributes:
        x: the input ``(*input_shape)``, float32.
        value: the largest row there, its coefficients scaled to at most 1; 0 or below at a
            counterexample, up to rounding.
    """

    x: Tensor
    value: float


def search(
    network: Network,
    cases: Sequence[Case],
    settings: PropertySettings,
    *,
    found: Callable[[int, Tensor], bool],
    deadline: float = math.inf,
) -> dict[int, Nearest]:
    """The nearest input of each case, by its position; ends early if ``found`` says so.

    Args:
        network: the function.
        cases: parts of the unsafe set.
        settings: starts, steps and seed.
        found: told of candidates, by case, and answers whether the search is over.
        deadline: in the time of ``time.monotonic``; later cases get no search.
    """
    nearest: dict[int, Nearest] = {}
    batches = list(_batches(cases, network, settings.starts))
    for number, positions in enumerate(batches):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        rows = _ActiveInputs.of(network, [cases[p] for p in positions], positions, settings)
        until = time.monotonic() + left / (len(batches) - number)
        over = rows.descend(network, settings.steps, found=found, deadline=until)
        nearest |= rows.nearest()
        if over:
            break
    return nearest


def _batches(cases: Sequence[Case], network: Network, starts: int) -> Iterator[list[int]]:
    """Positions of the cases that are searched together; they have equally many rows or nearly."""
    inputs = math.prod(network.input_shape)
    batch: list[int] = []
    width = 1
    for position in sorted(range(len(cases)), key=lambda p: len(cases[p].rows)):
        width = max(width, len(cases[position].rows))
        room = min(
            MOST_LANES, _INPUTS_AT_ONCE // inputs, _ROWS_AT_ONCE // (width * network.outputs)
        )
        if batch and (len(batch) + 1) * starts > room:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


@dataclass(slots=True)
class _ActiveInputs:
    """Inputs that are followed at once; row l belongs to the case ``owner[l]``.

    Attributes:
        positions: positions of the cases.
        owner: number of the case of each row, in ``positions``.
        lower: lower bounds ``(l, *input_shape)``.
        upper: upper bounds.
        rows: coefficients ``(l, m, n)``.
        offsets: constants ``(l, m)``.
        x: the inputs.
        best: the input of each row with the lowest value.
        values: these values ``(l,)``.
    """

    positions: Sequence[int]
    owner: Tensor
    lower: Tensor
    upper: Tensor
    rows: Tensor
    offsets: Tensor
    x: Tensor
    best: Tensor
    values: Tensor

    @classmethod
    def of(
        cls,
        network: Network,
        cases: Sequence[Case],
        positions: Sequence[int],
        settings: PropertySettings,
    ) -> _ActiveInputs:
        """The inputs at the starting points of ``cases``."""
        starts = settings.starts
        bounds = [case.box.nearest() for case in cases]
        lower = torch.stack([torch.from_numpy(low).float() for low, _ in bounds])
        upper = torch.stack([torch.from_numpy(high).float() for _, high in bounds])
        rows, offsets = _dense_rows(cases, network.outputs)
        draws = [generator(settings.seed, "property", position) for position in positions]
        random = torch.stack([_starts(starts, lower.shape[1], draw) for draw in draws])
        lower, upper = lower[:, None], upper[:, None]  # (k, 1, d)
        points = torch.lerp(lower, upper, random).clamp(lower, upper)
        active = cls(
            positions,
            owner=torch.arange(len(cases)).repeat_interleave(starts),
            lower=_as_inputs(lower.expand_as(points), network),
            upper=_as_inputs(upper.expand_as(points), network),
            rows=rows.repeat_interleave(starts, 0),
            offsets=offsets.repeat_interleave(starts, 0),
            x=_as_inputs(points, network),
            best=_as_inputs(points, network).clone(),
            values=torch.full((len(cases) * starts,), math.inf),
        )
        active._improve_starts(network, draws)
        return active

    def _improve_starts(self, network: Network, draws: Sequence[torch.Generator]) -> None:
        """Replace every other start by the best of several random points and corners."""
        inputs = math.prod(network.input_shape)
        starts = len(self.x) // len(draws)
        for _ in range(min(POOL, POOL_INPUTS // inputs)):
            random = torch.stack([_starts(starts, inputs, draw) for draw in draws])
            random = random.reshape(self.x.shape)
            points = torch.lerp(self.lower, self.upper, random).clamp(self.lower, self.upper)
            with torch.no_grad():
                self._keep(points, self._terms(network, points).amax(1))
        chosen = torch.arange(len(self.x)) % 2 == 1
        self.x[chosen] = self.best[chosen]

    def descend(
        self,
        network: Network,
        steps: int,
        *,
        found: Callable[[int, Tensor], bool],
        deadline: float,
    ) -> bool:
        """Follow the gradient; whether ``found`` ended the search."""
        told = torch.full((len(self.positions),), torch.inf)
        checks = [CHECKS] * len(self.positions)
        for _ in self._moves(network, steps):
            for row in self._candidates(told):
                case = int(self.owner[row])
                told[case] = self.values[row]
                checks[case] -= 1
                if checks[case] >= 0 and found(self.positions[case], self.best[row]):
                    return True
            if time.monotonic() >= deadline:
                break
        return False

    def _moves(self, network: Network, steps: int) -> Iterator[None]:
        """Evaluate one set of inputs after the other."""
        gradient = self._evaluate(network)
        yield
        first = self.x
        corner = torch.where(gradient > 0, self.lower, self.upper)  # the best one for the tangent
        self.x = torch.where(gradient == 0, first, corner)
        self._evaluate(network)
        yield
        self.x = self.best.clone()
        width = self.upper - self.lower
        sizes = [FIRST_STEP * (LAST_STEP / FIRST_STEP) ** (k / steps) for k in range(steps)]
        for size in sizes:
            gradient = self._evaluate(network)
            yield
            self.x = (self.x - size * width * gradient.sign()).clamp(self.lower, self.upper)
        if math.prod(network.input_shape) > FEW_INPUTS:
            return
        draw = generator(0, "property neighbours", self.positions[0])
        for size in sizes:
            change = torch.rand(self.x.shape, generator=draw) - 0.5
            points = (self.best + size * width * change).clamp(self.lower, self.upper)
            with torch.no_grad():
                self._keep(points, self._terms(network, points).amax(1))
            yield

    def _evaluate(self, network: Network) -> Tensor:
        """Gradient at ``x``; keeps the best inputs."""
        x = self.x.detach().requires_grad_()
        with torch.enable_grad():
            terms = self._terms(network, x)
            values, sums = terms.amax(1), terms.clamp_min(0).sum(1)
            largest = (torch.arange(len(x)) // 2 % 2 == 0) | (sums == 0)
            gradient = _gradient(torch.where(largest, values, sums), x)
        self._keep(self.x, values.detach())
        return gradient.nan_to_num()

    def _terms(self, network: Network, x: Tensor) -> Tensor:
        """The rows ``(l, m)`` at ``x``."""
        return torch.einsum("lmn,ln->lm", self.rows, network.twin(x)) + self.offsets

    def _keep(self, x: Tensor, values: Tensor) -> None:
        """Keep the inputs that are better than the best."""
        values = values.nan_to_num(torch.inf, torch.inf, torch.inf)
        better = values < self.values
        self.values = torch.where(better, values, self.values)
        self.best[better] = x[better]

    def _candidates(self, told: Tensor) -> Iterator[int]:
        """The best row of each case whose value is at most 0 and below what was told before."""
        if not bool((self.values <= 0).any()):
            return
        for case in range(len(self.positions)):
            row = self._best_row(case)
            if self.values[row] <= 0 and self.values[row] < told[case]:
                yield row

    def _best_row(self, case: int) -> int:
        rows = torch.nonzero(self.owner == case).flatten()
        return int(rows[self.values[rows].argmin()])

    def nearest(self) -> dict[int, Nearest]:
        """The best input of each case."""
        rows = [self._best_row(case) for case in range(len(self.positions))]
        return {
            position: Nearest(self.best[row].clone(), float(self.values[row]))
            for position, row in zip(self.positions, rows, strict=True)
        }


def _gradient(values: Tensor, x: Tensor) -> Tensor:
    """Gradient of the sum of ``values``; zero where they do not depend on ``x``."""
    if not values.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(values.sum(), x, allow_unused=True, materialize_grads=True)
    return gradient


def _dense_rows(cases: Sequence[Case], outputs: int) -> tuple[Tensor, Tensor]:
    """Rows ``(k, m, n)`` and constants ``(k, m)`` of all cases, scaled, missing ones repeated."""
    most = max(1, *(len(case.rows) for case in cases))
    rows = torch.zeros(len(cases), most, outputs)
    offsets = torch.zeros(len(cases), most)
    for k, case in enumerate(cases):
        sparse, constants, _ = case.float_rows()
        for i, (row, constant) in enumerate(zip(sparse, constants, strict=True)):
            scale = max(map(abs, row.values()))
            for j, value in row.items():
                rows[k, i, j] = value / scale
            offsets[k, i] = constant / scale
        if case.rows:
            rows[k, len(case.rows) :] = rows[k, 0]
            offsets[k, len(case.rows) :] = offsets[k, 0]
    return rows, offsets


def _as_inputs(points: Tensor, network: Network) -> Tensor:
    """Points ``(k, starts, d)`` of all cases as inputs ``(k * starts, *input_shape)``."""
    return points.reshape(-1, *network.input_shape).contiguous()


def _starts(count: int, inputs: int, draw: torch.Generator) -> Tensor:
    """The centre of the unit cube, random corners, and random points, ``(count, inputs)``."""
    random = torch.rand(count, inputs, generator=draw)
    corners = 1 + (count - 1) // 2
    random[0] = 0.5
    random[1:corners] = random[1:corners].round()
    return random
