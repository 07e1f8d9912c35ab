"""Proofs about one network: does any input of a region change its class?"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from robcert.certify.core import Ball, Norm
from robcert.certify.errors import InvalidParameterError, UnsupportedOperatorError
from robcert.certify.model import require_gradients
from robcert.certify.numerics import narrow_products

from .bounds import Bounds, Region, Rounding, propagate
from .bounds.intervals import UnboundedError
from .bounds.propagation import OutOfTimeError
from .bounds.slopes import Choice, Optimised, StepBudget, Units, optimise
from .branching import Regions, Search, joined
from .network import Convolution, Network, traced, translated
from .outcome import Arithmetic, CertifiedRadius, Decision, Leaves, Method, Open, Proof
from .relaxations import InvalidIntervalError, OutsideDomainError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from robcert.certify.model import Classifier, StraightThroughNode

SLOPE_STEPS = 30
"""Steps of the optimisation of slopes before branch and bound."""

AGREEMENT = 1e-3
"""Largest difference of the network's scores from the twin's, relative to their size."""

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
class _Unfinished:
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
    unfinished: list[_Unfinished] = field(default_factory=list)

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
        if arithmetic is Arithmetic.FLOAT32:
            _require_float32(classifier)
        logits, on_gpu = twin.exact or twin.logits, classifier.device.type == "cuda"
        prover = cls.of_function(logits, classifier.image_shape, arithmetic, updates=on_gpu)
        if prover.network.nodes[prover.network.output].size < 2:
            message = "the model gives one score only: there is no other class"
            raise UnsupportedOperatorError(message)
        cut = arithmetic is Arithmetic.FLOAT32 and classifier.runtime.declared is not None
        return replace(
            prover,
            required=CUT_MARGIN if cut else 0.0,
            level_error=0.0 if classifier.grid is None else LEVEL_ERROR,
        )

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
        _require_agreement(network, function, input_shape)
        _require_covered(network, arithmetic)
        return cls(network, arithmetic, _coefficient_type(network))

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
                self.unfinished.append(_Unfinished(x, y, ball, *task.optimised))
        return decision

    def decide_statement(
        self, statement: Statement, *, method: Method = Method.AUTO, deadline: float = math.inf
    ) -> Decision:
        """Whether ``statement`` holds."""
        region = Region.of_box(statement.lower, statement.upper)
        rows, offsets = statement.rows.double(), statement.offsets.double()
        task = _Task(self, region, rows, offsets, deadline, any_row=True)
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
    ) -> _Task:
        """The statement that every image within ``ball`` of ``x`` has the class ``y``."""
        k = self.network.nodes[self.network.output].size
        if not 0 <= y < k:
            message = f"the network has {k} classes: there is no class {y}"
            raise InvalidParameterError(message)
        others = [j for j in range(k) if j != y]
        eye = torch.eye(k, dtype=torch.float64)
        offsets = torch.full((k - 1,), -self.required, dtype=torch.float64)
        return _Task(
            self,
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


@dataclass(slots=True)
class _Task:
    """One statement in work.

    Attributes:
        prover: the network.
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

    prover: Prover
    region: Region
    rows: Tensor
    offsets: Tensor
    deadline: float
    any_row: bool = False
    keep_proof: bool = False
    wider: Bounds | None = None
    linear: Bounds | None = None
    optimised: tuple[Bounds, Tensor, Tensor] | None = None

    def resume(self, known: _Unfinished) -> Decision:
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
        network = self.prover.network
        shape = network.nodes[network.output].shape
        return self.rows.view(len(self.rows), *shape)

    def _bounds(self, method: Method) -> Bounds:
        rounding = Rounding(self.prover.arithmetic, self.prover.coefficient_type)
        return propagate(
            self.prover.network,
            self.region,
            rounding,
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
        scores = self.prover.network(inputs.double())
        values = scores @ self.rows.t() + self.offsets
        return (values <= 0).all(1) if self.any_row else (values <= 0).any(1)


NO_FLOAT32 = "no certificate of its evaluation in float32: "
ANY_ARITHMETIC = "certify the exact evaluation of the stored weights: --arithmetic real"


def _require_float32(classifier: Classifier) -> None:
    """Raise if the runtime does not compute in float32.

    Raises:
        UnsupportedOperatorError: it computes with integers or in half precision, is torch and set
            to multiply in fewer bits, or ends in sigmoids, several of which may round to 1.
    """
    if classifier.runtime.sigmoids:
        message = f"{NO_FLOAT32}it ends in a sigmoid of each score, and large ones all round to 1"
        raise UnsupportedOperatorError(message, hint=ANY_ARITHMETIC)
    require_no_other_format(classifier.info.straight_through)
    if classifier.preprocessing.dtype == "float16":
        message = f"{NO_FLOAT32}its input is float16"
        raise UnsupportedOperatorError(message, hint=ANY_ARITHMETIC)
    narrow = "" if classifier.info.kind == "onnx" else narrow_products()
    if narrow:
        message = f"{NO_FLOAT32}torch evaluates it in fewer bits by {narrow}"
        raise UnsupportedOperatorError(message, hint=f"reset it, or {ANY_ARITHMETIC}")


def require_no_other_format(nodes: Sequence[StraightThroughNode]) -> None:
    """Raise where a network computes in another number format than float32.

    Args:
        nodes: its nodes with surrogate gradients.

    Raises:
        UnsupportedOperatorError: it does; runtimes merge such nodes in ways of their own.
    """
    for node in nodes:
        if node.number_format:
            message = f"{NO_FLOAT32}{node} rounds to another number format"
            raise UnsupportedOperatorError(message, hint=ANY_ARITHMETIC)


def _require_covered(network: Network, arithmetic: Arithmetic) -> None:
    """Raise if constants that the network computes may differ by more than is allowed for.

    Raises:
        UnsupportedOperatorError: they may.
    """
    if network.obstacle and arithmetic is Arithmetic.FLOAT32:
        raise UnsupportedOperatorError(NO_FLOAT32 + network.obstacle, hint=ANY_ARITHMETIC)
    if network.obstacle:
        message = f"no certificate: {network.obstacle}"
        raise UnsupportedOperatorError(message, hint="export the model with its constants folded")


def _coefficient_type(network: Network) -> torch.dtype:
    """The type in which coefficients of inner operations are propagated.

    Torch's convolutions in float64 take several times longer, its products twice as long. In
    float32 they must be plain sums of products, without a transform (NNPACK) inside; whether torch
    multiplies in bfloat16 is asked at each use.
    """
    convolves = any(isinstance(node, Convolution) for node in network.nodes)
    library = torch.backends.mkldnn
    plain = bool(library.enabled) and library.is_available()  # type: ignore[no-untyped-call]
    return torch.float32 if convolves and plain and network.storable else torch.float64


def _require_agreement(
    network: Network, function: Callable[[Tensor], Tensor], input_shape: tuple[int, ...]
) -> None:
    """Raise unless the network gives the function's scores on random inputs."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(8, *input_shape, generator=generator)
    with torch.no_grad():
        expected = torch.cat([function(row[None]) for row in x]).double().flatten(1)
        found = network(x.double())
    size = expected.abs().max().clamp_min(1e-6)
    if not bool(((found - expected).abs() <= AGREEMENT * size).all()):
        message = "the network as it was translated for proofs gives other scores than the model"
        raise UnsupportedOperatorError(message, hint="please report it with the model")
