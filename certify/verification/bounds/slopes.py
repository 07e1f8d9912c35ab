"""Slopes of lower lines and multipliers of assumed signs that make bounds as large as possible.

Gradient ascent with Adam on the bound itself: every slope in [0, 1] and every non-negative
multiplier gives a sound bound, so the search may stop anywhere (alpha-CROWN, Xu et al. 2021,
arXiv:2011.13824; beta-CROWN, Wang et al. 2021, arXiv:2103.06624).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..network import by_row
from .propagation import Splits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .propagation import Bounds

BYTES, KEPT = 2**29, 3
"""Memory of an optimisation, and tensors per operation that its gradient keeps, about."""

SLOPE_RATE, MULTIPLIER_RATE, DECAY = 0.2, 0.3, 0.97
"""Learning rates of Adam and what they are multiplied with at every step."""

PACE, HOPE = 5, 2.0
"""Steps over which progress is measured, and how much faster than so far it may become."""


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """The inputs of ReLUs whose sign the bounds leave open, as one vector of u units.

    Attributes:
        bounds: the bounds.
        places: elements of each ReLU that are open, by its position.
        starts: where they begin in the vector.
        count: u.
    """

    bounds: Bounds
    places: dict[int, Tensor]
    starts: dict[int, int]
    count: int

    @classmethod
    def of(cls, bounds: Bounds) -> Units:
        """The open units of ``bounds``."""
        places, starts, count = {}, {}, 0
        for at in bounds.relus:
            places[at] = bounds.unstable(at).flatten().nonzero().flatten()
            starts[at] = count
            count += len(places[at])
        return cls(bounds, places, starts, count)

    def spread(self, values: Tensor, fill: float = 0.0) -> dict[int, Tensor]:
        """Values ``(r, u)`` at the elements of their ReLUs, ``(r, *shape)`` by position."""
        found = {}
        for at, places in self.places.items():
            shape = self.bounds.network.nodes[at].shape
            part = values[:, self.starts[at] : self.starts[at] + len(places)]
            full = torch.full(
                (len(values), self.bounds.network.nodes[at].size), fill, dtype=values.dtype
            )
            found[at] = full.index_copy(1, places, part).view(len(values), *shape)
        return found

    def gathered(self, values: dict[int, Tensor]) -> Tensor:
        """Inverse of :meth:`spread`; zeros where a ReLU has no values."""
        parts = []
        for at, places in self.places.items():
            if at in values:
                parts.append(by_row(values[at])[:, places])
        return torch.cat(parts, dim=1)

    @property
    def rows_at_once(self) -> int:
        """How many rows one optimisation may have within its memory."""
        elements = sum(node.size for node in self.bounds.network.nodes)
        bytes_each = torch.finfo(self.bounds.rounding.dtype).bits // 8
        return max(1, BYTES // (KEPT * elements * bytes_each))

    def intervals(self) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds of the units' inputs, ``(u,)`` each."""
        lows, highs = [], []
        for at, places in self.places.items():
            (parent,) = self.bounds.network.nodes[at].parents
            lows.append(self.bounds.lower[parent].flatten()[places])
            highs.append(self.bounds.upper[parent].flatten()[places])
        return torch.cat(lows), torch.cat(highs)

    def default_slopes(self, n: int) -> Tensor:
        """The default slopes ``(n, u)``."""
        low, high = self.intervals()
        return (high > -low).to(self.bounds.rounding.dtype).expand(n, -1).clone()


@dataclass(slots=True)
class Optimised:
    """Bounds and what gave them.

    Attributes:
        bound: ``(r,)``, float64.
        slopes: ``(r, u)``.
        multipliers: ``(r, u)``.
        coefficients: of the units' outputs ``(r, u)`` in the last propagation.
        inputs: of the network's input ``(r, *shape)``.
    """

    bound: Tensor
    slopes: Tensor
    multipliers: Tensor
    coefficients: Tensor
    inputs: Tensor

    def at(self, index: Tensor) -> Optimised:
        """The rows at ``index``."""
        return Optimised(*(getattr(self, name)[index] for name in self.__slots__))

    @classmethod
    def joined(cls, parts: Sequence[Optimised]) -> Optimised:
        """The rows of all ``parts``."""
        return cls(*(torch.cat([getattr(one, name) for one in parts]) for name in cls.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What is chosen or assumed for each row: one value for each unit, ``(r, u)``.

    Attributes:
        slopes: slopes of the lower lines.
        signs: assumed signs; None for none.
        multipliers: multipliers of the assumptions; None for zero.
    """

    slopes: Tensor
    signs: Tensor | None = None
    multipliers: Tensor | None = None

    def at(self, index: Tensor) -> Choice:
        """That of the rows at ``index``."""
        signs = None if self.signs is None else self.signs[index]
        multipliers = None if self.multipliers is None else self.multipliers[index]
        return Choice(self.slopes[index], signs, multipliers)

    def twice(self) -> Choice:
        """The same for every row and for a copy of it behind all of them."""
        signs = None if self.signs is None else self.signs.repeat(2, 1)
        multipliers = None if self.multipliers is None else self.multipliers.repeat(2, 1)
        return Choice(self.slopes.repeat(2, 1), signs, multipliers)


def evaluate(
    units: Units, rows: Tensor, choice: Choice, record: dict[int, Tensor] | None = None
) -> Tensor:
    """Lower bounds ``(r,)`` of ``rows (r, *shape)`` times the scores."""
    splits = Splits()
    if choice.signs is not None:
        splits.signs = units.spread(choice.signs)
        if choice.multipliers is not None:
            splits.multipliers = units.spread(choice.multipliers)
    return units.bounds.minimum(
        units.bounds.network.output,
        rows,
        slopes=units.spread(choice.slopes),
        splits=splits,
        record=record,
    )


@dataclass(frozen=True, slots=True)
class StepBudget:
    """How far to optimise.

    Attributes:
        steps: gradient steps.
        deadline: ``time.monotonic()`` after which no step starts.
        all_or_none: whether to stop once a row is unlikely to reach its target.
    """

    steps: int
    deadline: float = float("inf")
    all_or_none: bool = False


def optimise(
    units: Units, rows: Tensor, initial: Choice, *, target: Tensor, budget: StepBudget
) -> Optimised:
    """The best bounds found; never below the ones it starts from.

    Args:
        units: open units of the bounds.
        rows: coefficients of the scores ``(r, *shape)``.
        initial: assumed signs, and slopes and multipliers to start from.
        target: bounds above it ``(r,)`` need no further step.
        budget: how far to go.
    """
    parts = [
        _optimise(units, rows[at], initial.at(at), target[at], budget)
        for at in torch.split(torch.arange(len(rows)), units.rows_at_once)
    ]
    return parts[0] if len(parts) == 1 else Optimised.joined(parts)


def _optimise(
    units: Units, rows: Tensor, initial: Choice, target: Tensor, budget: StepBudget
) -> Optimised:
    """:func:`optimise` of rows that fit into memory."""
    signs, multipliers = initial.signs, initial.multipliers
    dtype = units.bounds.rounding.dtype
    slope = initial.slopes.detach().to(dtype).clone().requires_grad_()
    multiplier = torch.zeros_like(slope) if multipliers is None else multipliers.detach().clone()
    split = None if signs is None else signs != 0
    groups = [{"params": [slope], "lr": SLOPE_RATE}]
    if split is not None:
        multiplier.requires_grad_()
        groups.append({"params": [multiplier], "lr": MULTIPLIER_RATE})
    adam = torch.optim.Adam(groups)
    best = Optimised(
        torch.full((len(rows),), -torch.inf, dtype=torch.float64),
        slope.detach().clone(),
        multiplier.detach().clone(),
        torch.zeros_like(slope),
        torch.zeros(0),
    )
    coefficients, before = rows.to(dtype), best.bound
    steps = budget.steps
    for step in range(steps + 1):
        record: dict[int, Tensor] = {}
        given = None if split is None else torch.where(split, multiplier, 0.0)
        with torch.set_grad_enabled(step < steps):
            bound = evaluate(units, coefficients, Choice(slope, signs, given), record)
        _keep(best, bound.detach(), slope, multiplier, units.gathered(record), record[0])
        if step == 0 and split is not None:  # in units of the coefficients that they are added to
            adam.param_groups[1]["lr"] = MULTIPLIER_RATE * _typical(units.gathered(record))
        if step == steps or bool((best.bound > target).all()) or time.monotonic() > budget.deadline:
            break
        if step % PACE == 0:
            reached = best.bound + HOPE * (best.bound - before) * (steps - step) / PACE
            if budget.all_or_none and step and bool((reached <= target).any()):
                break
            before = best.bound
        adam.zero_grad()
        torch.autograd.backward(-bound.sum())
        adam.step()
        with torch.no_grad():
            slope.clamp_(0, 1)
            multiplier.clamp_(min=0)
        for group in adam.param_groups:
            group["lr"] *= DECAY
    if dtype is not torch.float64:  # the last bits decide where much was gained
        with torch.no_grad():
            given = None if split is None else torch.where(split, best.multipliers, 0.0).double()
            choice = Choice(best.slopes.double(), signs, given)
            exact = evaluate(units, rows.double(), choice)
        best.bound = torch.maximum(best.bound, exact)
    return best


def _typical(coefficients: Tensor) -> float:
    """Mean size of the coefficients that are not 0; 1 if all are."""
    size = coefficients.abs()
    return float(size.sum() / (size > 0).sum()) if bool((size > 0).any()) else 1.0


def _keep(
    best: Optimised,
    bound: Tensor,
    slope: Tensor,
    multiplier: Tensor,
    coefficients: Tensor,
    inputs: Tensor,
) -> None:
    """Replace the rows that became better."""
    better = bound > best.bound
    best.bound = torch.where(better, bound, best.bound)
    best.slopes = torch.where(better[:, None], slope.detach(), best.slopes)
    best.multipliers = torch.where(better[:, None], multiplier.detach(), best.multipliers)
    best.coefficients = torch.where(better[:, None], coefficients, best.coefficients)
    if best.inputs.shape == inputs.shape:
        shape = (-1, *[1] * (inputs.ndim - 1))
        inputs = torch.where(better.view(shape), inputs, best.inputs)
    best.inputs = inputs
