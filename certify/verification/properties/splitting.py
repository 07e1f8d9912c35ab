"""Proofs by halving the box of few inputs, where signs of units are the worse thing to split.

Every part is bounded by linear bounds; a part that stays open is halved at the input that changes
the outputs most (Wang et al. 2018, arXiv:1804.10829). Different parts may be proved by different
rows. Parts meet at float32 numbers and include their faces, so no input is lost between them.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from robcert.certify.numerics import generator

from ..outcome import Decision, Method, Open

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..prover import Statement
    from .search import Network

MOST_INPUTS = 12
"""Inputs of positive width; the number of parts grows exponentially in them."""

PROBES = 8
"""Points of a part at which the slopes of the outputs are measured."""


class ProvesStatements(Protocol):
    """What proves that for every input of a box some row is positive."""

    def decide_statement(
        self, statement: Statement, *, method: Method, deadline: float
    ) -> Decision:
        """Whether it does."""


def splits(statement: Statement) -> bool:
    """Whether the box has so few inputs that halving it may lead to a proof."""
    return 0 < int((statement.upper > statement.lower).sum()) <= MOST_INPUTS


@dataclass(slots=True)
class Halving:
    """A proof in progress.

    Attributes:
        network: the function.
        prover: bounds the parts.
        deadline: in the time of ``time.monotonic``.
        found: told of inputs that seem to be counterexamples; answers whether one is.
    """

    network: Network
    prover: ProvesStatements
    deadline: float
    found: Callable[[Tensor], bool]

    def decide(self, statement: Statement) -> Decision:
        """Whether the statement holds, by parts of its box."""
        waiting, count, least = [statement], 0, math.inf
        draw = generator(0, "property parts", 0)
        while waiting:
            part = waiting.pop()
            count += 1
            decision = self.prover.decide_statement(
                part, method=Method.CROWN, deadline=self.deadline
            )
            if decision.proved:
                least = min(least, decision.bound)
                continue
            open_part = replace(decision, method=Method.BRANCH, branches=count)
            if time.monotonic() >= self.deadline:
                return replace(open_part, reason=Open.TIME)
            halves = self._halves(part, draw)
            if halves is None:
                return open_part
            if isinstance(halves, Tensor):
                return replace(open_part, reason=Open.REFUTED, counterexample=halves)
            waiting += halves
        return Decision(True, least, Method.BRANCH, count)

    def _halves(
        self, part: Statement, draw: torch.Generator
    ) -> tuple[Statement, Statement] | Tensor | None:
        """Two halves of a part; or a counterexample; None if no number lies between its ends."""
        shape = part.lower.shape
        low, high = part.lower.float().flatten(), part.upper.float().flatten()
        random = torch.rand(PROBES, len(low), generator=draw)
        x = torch.lerp(low, high, random).clamp(low, high).view(-1, *shape).requires_grad_()
        with torch.enable_grad():
            terms = self.network.twin(x) @ part.rows.float().t() + part.offsets.float()
            values = terms.amax(1)
            slopes = _slopes(values, x)
        for point in x.detach()[values <= 0]:
            if self.found(point):
                return point
        middle = (low.double() / 2 + high.double() / 2).float()
        influence = slopes * (high - low)
        inside = (middle > low) & (middle < high)
        if not bool(inside.any()):
            return None
        # inputs without any slope at the probes are halved where nothing else is left
        at = int(torch.where(inside, influence + 1e-12 * (high - low), -1.0).argmax())
        below, above = part.upper.flatten().clone(), part.lower.flatten().clone()
        below[at] = above[at] = middle[at]
        return replace(part, upper=below.view(shape)), replace(part, lower=above.view(shape))


def _slopes(values: Tensor, x: Tensor) -> Tensor:
    """Mean absolute slope ``(d,)`` of the values in each input."""
    if not values.requires_grad:
        return torch.zeros(x[0].numel())
    (gradient,) = torch.autograd.grad(values.sum(), x, allow_unused=True, materialize_grads=True)
    return gradient.nan_to_num().abs().flatten(1).mean(0)
