"""Proofs about one network: does any input of a region change its class?"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from robcert.certify.core import Ball, Norm
from robcert.certify.errors import InvalidParameterError, UnsupportedOperatorError
from robcert.certify.model import require_gradients
from robcert.certify.numerics import narrow_products

from .bounds import Bounds, Region, Rounding
from .network import Network, traced, translated
from .outcome import Arithmetic, CertifiedRadius, Decision, Method, Open
from .requirements import (
    coefficient_type,
    require_agreement,
    require_covered,
    require_ends_on_levels,
    require_executed_as_stated,
    require_float32,
)
from .runtime_check import require_scores_of_runtime
from .statement_task import StatementTask, Unfinished

if TYPE_CHECKING:
    from collections.abc import Callable

    from robcert.certify.model import Classifier

SMALLEST = 1e-4
"""Share of the largest radius below which none is searched for."""

CUT_MARGIN = 2.0**-18
"""Least margin of logits that float32 softmax, and the sigmoid of one score, keep in order; see
SOFTMAX_ERROR."""

LEVEL_ERROR = 1.01 * 2.0**-25
"""Distance of a float32 pixel from that of the level of an integer input that it stands for."""

RESOLUTION = 0.01
"""Relative width at which the bisection of a radius ends."""


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """For every input of a box there is a row with ``rows[i] . y + offsets[i] > 0``.

    Attributes:
        lower: smallest input.
        upper: largest input.
        rows: coefficients of the scores ``(m, k)``.
        offsets: ``(m,)``.
    """

    lower: Tensor
    upper: Tensor
    rows: Tensor
    offsets: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Prover:
    """A network whose outputs can be bounded.

    Attributes:
        network: its operations.
        arithmetic: the evaluation that proofs are about.
        dtype: the type in which coefficients of inner operations are propagated, if torch does not
            multiply in fewer bits.
        required: the margin that a class needs over the others.
        level_error: distance of a pixel from the one that it stands for.
        unfinished: the last statement that optimised slopes did not prove, if any.
    """

    network: Network
    arithmetic: Arithmetic
    dtype: torch.dtype = torch.float64
    required: float = 0.0
    level_error: float = 0.0
    unfinished: list[Unfinished] = field(default_factory=list)

    @property
    def rounding(self) -> Rounding:
        """What proofs allow for."""
        return Rounding(self.arithmetic, self.coefficient_type)

    @property
    def coefficient_type(self) -> torch.dtype:
        """The type in which coefficients of inner operations are propagated now."""
        return torch.float64 if narrow_products() else self.dtype

    @classmethod
    def of(cls, classifier: Classifier, arithmetic: Arithmetic = Arithmetic.FLOAT32) -> Self:
        """The network of a classifier, from pixels to logits.

        Raises:
            TwinUnavailableError: there is no twin.
            UnsupportedOperatorError: an operation has no linear bounds, or the logits are random.
        """
        require_gradients(classifier)
        twin = classifier.twin
        assert twin is not None
        if classifier.info.random:
            message = f"{classifier.info.file} gives other scores at each call: nothing is certain"
            raise UnsupportedOperatorError(message, hint="smoothing certifies random models")
        require_ends_on_levels(classifier, LEVEL_ERROR)
        if arithmetic is Arithmetic.FLOAT32:
            require_float32(classifier)
        logits, on_gpu = twin.exact or twin.logits, classifier.device.type == "cuda"
        prover = cls.of_function(logits, classifier.image_shape, arithmetic, updates=on_gpu)
        if prover.network.nodes[prover.network.output].size < 2:
            message = "the model gives one score only: there is no other class"
            raise UnsupportedOperatorError(message)
        cut = arithmetic is Arithmetic.FLOAT32 and classifier.runtime.declared is not None
        level_error = 0.0 if classifier.grid is None else LEVEL_ERROR
        if arithmetic is Arithmetic.FLOAT32:
            require_executed_as_stated(classifier.runtime.rewritten)
            require_scores_of_runtime(prover.network, prover.rounding, classifier, level_error)
        return replace(prover, required=CUT_MARGIN if cut else 0.0, level_error=level_error)

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of the network's operations, by position."""
        return tuple(node.label for node in self.network.nodes)

    @classmethod
    def of_function(
        cls,
        function: Callable[[Tensor], Tensor],
        input_shape: tuple[int, ...],
        arithmetic: Arithmetic = Arithmetic.FLOAT32,
        *,
        updates: bool = False,
    ) -> Self:
        """The network of ``function``, from ``(b, *input_shape)`` to ``(b, k)``.

        Args:
            function: its evaluation.
            input_shape: shape of one input.
            arithmetic: the evaluation that proofs are about.
            updates: whether means may be updated element by element, as by CUDA.

        Raises:
            UnsupportedOperatorError: an operation has no linear bounds.
        """
        module, x = traced(function, input_shape)
        real = arithmetic is Arithmetic.REAL
        network = translated(module, x, real=real, updates=updates and not real)
        require_agreement(network, function, input_shape)
        require_covered(network, arithmetic)
        return cls(network, arithmetic, coefficient_type(network))

    def decide(
        self,
        x: Tensor,
        y: int,
        ball: Ball,
        *,
        method: Method = Method.AUTO,
        deadline: float = math.inf,
        keep_proof: bool = False,
    ) -> Decision:
        """Whether every pixel image within ``ball`` of ``x (c, h, w)`` has the class ``y``.

        Branch and bound goes on from the bounds of a statement that optimised slopes did not prove
        if that was the last one; so it computes neither again.

        Args:
            x: the image.
            y: its class.
            ball: norm and radius, pixel units.
            method: how far to go.
            deadline: ``time.monotonic()`` after which it stops.
            keep_proof: whether the decision holds what proves it.
        """
        task = self._about(x, y, ball, deadline, keep_proof=keep_proof)
        if method is Method.BRANCH:
            known = [one for one in self.unfinished if one.is_about(x, y, ball)]
            self.unfinished.clear()  # its bounds take memory
            if known and known[0].bounds.rounding.dtype is self.coefficient_type:
                return task.resume(known[0])
        decision = task.decide(method)
        if method is Method.ALPHA:
            self.unfinished.clear()
            if task.optimised is not None and decision.reason is Open.LOOSE:
                self.unfinished.append(Unfinished(x, y, ball, *task.optimised))
        return decision

    def decide_statement(
        self, statement: Statement, *, method: Method = Method.AUTO, deadline: float = math.inf
    ) -> Decision:
        """Whether ``statement`` holds."""
        region = Region.of_box(statement.lower, statement.upper)
        rows, offsets = statement.rows.double(), statement.offsets.double()
        task = StatementTask(
            self.network, self.rounding, region, rows, offsets, deadline, any_row=True
        )
        return task.decide(method)

    def largest_radius(  # noqa: PLR0913 what is asked, and how far to go
        self,
        x: Tensor,
        y: int,
        norm: Norm,
        *,
        limit: float,
        known: float = 0.0,
        method: Method = Method.AUTO,
        deadline: float = math.inf,
    ) -> CertifiedRadius:
        """The largest certified radius below ``limit``, by bisection.

        Args:
            x: the image.
            y: its class.
            norm: norm of the ball.
            limit: no radius at or above it is tried.
            known: a radius that is proved.
            method: how far to go at each radius; ``AUTO`` bisects by cheap methods first.
            deadline: ``time.monotonic()`` after which the largest radius so far is returned.
        """
        best, low, branches, reason = CertifiedRadius(known, method), known, 0, Open.LOOSE
        linear, stopped_at = False, -1
        wider: Bounds | None = None
        for each in _rounds(method):
            high = limit
            while high - low > RESOLUTION * high:
                if time.monotonic() > deadline:
                    return replace(best, branches=branches, reason=Open.TIME, stopped_at=stopped_at)
                # in equal ratios: large radii take the longest and fail
                middle = math.sqrt(low * high) if low else high / 4
                if not low and middle < limit * SMALLEST:
                    break
                task = self._about(x, y, Ball(norm, middle), deadline)
                task.wider = wider
                found = task.decide(each)
                branches += found.branches
                linear = linear or found.method not in (Method.INTERVAL, Method.CROWN_IBP)
                reason, stopped_at = found.reason or reason, -1 if linear else found.stopped_at
                if found.proved:
                    low, best = middle, CertifiedRadius(middle, found.method)
                else:
                    high, wider = middle, task.linear or wider
        return replace(best, branches=branches, reason=reason, stopped_at=stopped_at)

    def _about(
        self, x: Tensor, y: int, ball: Ball, deadline: float, *, keep_proof: bool = False
    ) -> StatementTask:
        """The statement that every image within ``ball`` of ``x`` has the class ``y``."""
        k = self.network.nodes[self.network.output].size
        if not 0 <= y < k:
            message = f"the network has {k} classes: there is no class {y}"
            raise InvalidParameterError(message)
        others = [j for j in range(k) if j != y]
        eye = torch.eye(k, dtype=torch.float64)
        offsets = torch.full((k - 1,), -self.required, dtype=torch.float64)
        return StatementTask(
            self.network,
            self.rounding,
            Region.of_ball(x, self._widened(ball, x.numel())),
            eye[y][None] - eye[others],
            offsets,
            deadline,
            keep_proof=keep_proof,
        )

    def _widened(self, ball: Ball, pixels: int) -> Ball:
        """A ball around the pixels that holds the one around those that they stand for."""
        if not self.level_error:
            return ball
        share = {Norm.LINF: 1.0, Norm.L2: math.sqrt(pixels), Norm.L1: pixels}[ball.norm]
        return Ball(ball.norm, float(ball.epsilon) * (1 + 1e-12) + share * self.level_error)


def _rounds(method: Method) -> list[Method]:
    """The methods by which a radius is bisected in turn, cheap ones first."""
    if method is Method.AUTO:
        return [Method.CROWN_IBP, Method.ALPHA, Method.BRANCH]
    return [method]
