"""One statement in work: by intervals, linear bounds, optimised slopes, branch and bound."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .bounds import Bounds, propagate
from .bounds.intervals import UnboundedError
from .bounds.propagation import OutOfTimeError
from .bounds.slopes import Choice, Optimised, StepBudget, Units, optimise
from .branching import Regions, Search, joined
from .outcome import Decision, Leaves, Method, Open, Proof
from .relaxations import InvalidIntervalError, OutsideDomainError

if TYPE_CHECKING:
    from robcert.certify.core import Ball

    from .bounds import Region, Rounding
    from .network import Network

SLOPE_STEPS = 30
"""Steps of the optimisation of slopes before branch and bound."""


@dataclass(frozen=True, slots=True, eq=False)
class Unfinished:
    """Bounds of a statement that optimised slopes did not prove, for branch and bound to go on.

    Attributes:
        x: the image.
        y: its class.
        ball: norm and radius.
        bounds: linear bounds of all operations.
        values: lower bounds of the margins by these.
        slopes: optimised slopes of the margins that are open.
    """

    x: Tensor
    y: int
    ball: Ball
    bounds: Bounds
    values: Tensor
    slopes: Tensor

    def is_about(self, x: Tensor, y: int, ball: Ball) -> bool:
        """Whether the statement is that every image within ``ball`` of ``x`` has class ``y``."""
        same = (self.y, self.ball.norm, float(self.ball.epsilon)) == (
            y,
            ball.norm,
            float(ball.epsilon),
        )
        return same and torch.equal(self.x, x)


@dataclass(slots=True)
class StatementTask:
    """One statement in work.

    Attributes:
        network: the operations.
        rounding: what proofs allow for.
        region: the inputs.
        rows: coefficients of the scores ``(m, k)``.
        offsets: ``(m,)``.
        deadline: when to stop.
        any_row: whether one positive row is enough at each input; otherwise all must be.
        keep_proof: whether to keep what proves it.
        wider: bounds over a region that contains this one.
        linear: the linear bounds of all operations, once they are computed.
        optimised: these, lower bounds of the rows by them, and the optimised slopes of those that
            are open, once they are computed.
    """

    network: Network
    rounding: Rounding
    region: Region
    rows: Tensor
    offsets: Tensor
    deadline: float
    any_row: bool = False
    keep_proof: bool = False
    wider: Bounds | None = None
    linear: Bounds | None = None
    optimised: tuple[Bounds, Tensor, Tensor] | None = None

    def resume(self, known: Unfinished) -> Decision:
        """The decision by branch and bound, from what is known of the statement."""
        self.optimised = (known.bounds, known.values, known.slopes)
        best = self._decision(known.values, Method.CROWN)
        try:
            return self._optimised(known.bounds, known.values, Method.BRANCH)
        except OutOfTimeError as late:
            return replace(best, reason=Open.TIME, stopped_at=late.at)
        except (UnboundedError, OutsideDomainError, InvalidIntervalError):
            return best

    def decide(self, method: Method) -> Decision:
        """The statement's decision, by the cheapest method that proves it."""
        best = Decision(proved=False, bound=-math.inf, method=Method.INTERVAL, reason=Open.LOOSE)
        values = torch.full((len(self.rows),), -torch.inf, dtype=torch.float64)
        steps = [partial(self._by_intervals, method)]
        if method not in (Method.INTERVAL, Method.CROWN_IBP):
            steps.append(partial(self._by_lines, method))
        for step in steps:
            try:
                best, values = step(values)
            except OutOfTimeError as late:
                return replace(best, reason=Open.TIME, stopped_at=late.at)
            except (UnboundedError, OutsideDomainError, InvalidIntervalError):
                continue  # lines may be finite where intervals are not
            if best.proved:
                break
        return best

    def _by_intervals(self, method: Method, _: Tensor) -> tuple[Decision, Tensor]:
        """With intervals of the inner operations; also lower bounds of the rows."""
        bounds = self._bounds(Method.INTERVAL)
        output = bounds.network.output
        low, high = bounds.lower[output].flatten(), bounds.upper[output].flatten()
        positive = self.rows.clamp(min=0)
        size = self.rows.abs() @ torch.maximum(low.abs(), high.abs())
        values = positive @ low + (self.rows - positive) @ high - 1e-12 * size + self.offsets
        best = self._decision(values, Method.INTERVAL)
        if best.proved or method is Method.INTERVAL:
            return self._with_proof(best, bounds), values
        linear = bounds.minima(output, self._coefficients, deadline=self.deadline)
        values = torch.maximum(values, linear + self.offsets)
        return self._with_proof(self._decision(values, Method.CROWN_IBP), bounds), values

    def _by_lines(self, method: Method, values: Tensor) -> tuple[Decision, Tensor]:
        """By linear bounds, as far as ``method`` goes; ``values`` are those of the intervals."""
        bounds = self.linear = self._bounds(Method.CROWN)
        linear = bounds.minima(bounds.network.output, self._coefficients, deadline=self.deadline)
        values = torch.maximum(values, linear + self.offsets)
        best = self._decision(values, Method.CROWN)
        if best.proved or method is Method.CROWN:
            return self._with_proof(best, bounds), values
        return self._optimised(bounds, values, method), values

    @property
    def _coefficients(self) -> Tensor:
        shape = self.network.nodes[self.network.output].shape
        return self.rows.view(len(self.rows), *shape)

    def _bounds(self, method: Method) -> Bounds:
        return propagate(
            self.network,
            self.region,
            self.rounding,
            method=method,
            deadline=self.deadline,
            wider=self.wider,
        )

    def _decision(self, values: Tensor, method: Method, branches: int = 0) -> Decision:
        bound = float(values.max() if self.any_row else values.min())
        proved = bound > 0
        reason = Open.NO if proved else Open.LOOSE
        return Decision(proved, bound, method, branches, reason)

    def _optimised(self, bounds: Bounds, values: Tensor, method: Method) -> Decision:
        """By optimised slopes and, if the method includes it, branch and bound."""
        units = Units.of(bounds)
        if not units.count:
            return self._decision(values, Method.CROWN)
        open_rows = (values <= 0).nonzero().flatten()
        rows = self._coefficients[open_rows]
        alone = method is Method.ALPHA and not self.any_row
        slopes = units.default_slopes(len(rows)) if self.optimised is None else self.optimised[2]
        root = optimise(
            units,
            rows,
            Choice(slopes),
            target=-self.offsets[open_rows],
            budget=StepBudget(SLOPE_STEPS, self.deadline, all_or_none=alone),
        )
        self.optimised = (bounds, values, root.slopes)
        found = values.clone()
        found[open_rows] = torch.maximum(values[open_rows], root.bound + self.offsets[open_rows])
        best = self._decision(found, Method.ALPHA)
        inputs = self.region.minimiser(root.inputs)
        broken = self._violated(inputs)
        if not best.proved and bool(broken.any()):
            return self._refuted(best, inputs[broken][0])
        if best.proved or method is Method.ALPHA:
            signs = torch.zeros(root.slopes.shape, dtype=torch.int8)
            leaves = Leaves(open_rows, signs, root.slopes, root.multipliers)
            return self._with_proof(best, bounds, leaves)
        return self._branched(units, open_rows, root, best)

    def _with_proof(
        self, decision: Decision, bounds: Bounds, leaves: Leaves | None = None
    ) -> Decision:
        """The decision with what proves it.

        Rows without a region of their own are proved by intervals or by the default slopes.
        """
        if not (self.keep_proof and decision.proved):
            return decision
        units = Units.of(bounds)
        if leaves is None:
            none = torch.zeros(0, units.count)
            leaves = Leaves(torch.zeros(0, dtype=torch.long), none.to(torch.int8), none, none)
        proof = Proof(
            dict(enumerate(bounds.lower)),
            dict(enumerate(bounds.upper)),
            dict(bounds.tightened),
            dict(units.places),
            leaves,
        )
        return replace(decision, proof=proof)

    def _refuted(self, best: Decision, x: Tensor, branches: int = 0) -> Decision:
        return Decision(
            proved=False,
            bound=best.bound,
            method=best.method,
            branches=branches,
            reason=Open.REFUTED,
            counterexample=x.float(),
        )

    def _branched(
        self, units: Units, open_rows: Tensor, root: Optimised, best: Decision
    ) -> Decision:
        """By branch and bound below ``root``."""
        rows, offsets = self._coefficients[open_rows], self.offsets[open_rows]
        if self.any_row and len(rows) > 1:  # the one that is nearest to being proved
            nearest = (root.bound + offsets).argmax()[None]
            rows, offsets, root = rows[nearest], offsets[nearest], root.at(nearest)
        closed: list[Regions] | None = [] if self.keep_proof else None
        search = Search(units, rows, offsets, self._violated, self.deadline, closed)
        outcome = search.run(root)
        if outcome.counterexample is not None:
            return self._refuted(best, outcome.counterexample, outcome.branches)
        if outcome.finished:
            proved = Decision(True, math.ulp(0.0), Method.BRANCH, outcome.branches)
            return self._with_proof(proved, units.bounds, self._leaves(closed, open_rows))
        reason = Open.LOOSE if outcome.in_time else Open.TIME
        bound = max(best.bound, outcome.bound)
        return Decision(False, bound, Method.BRANCH, outcome.branches, reason)

    def _leaves(self, closed: list[Regions] | None, open_rows: Tensor) -> Leaves | None:
        """The closed regions of a search over ``open_rows``."""
        if not closed:
            return None
        regions = joined(closed)
        return Leaves(open_rows[regions.row], regions.signs, regions.slopes, regions.multipliers)

    def _violated(self, inputs: Tensor) -> Tensor:
        """Which of the inputs violate the statement, by an evaluation in float64."""
        scores = self.network(inputs.double())
        values = scores @ self.rows.t() + self.offsets
        return (values <= 0).all(1) if self.any_row else (values <= 0).any(1)
