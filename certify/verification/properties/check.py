"""The check of one property: search for a counterexample first, then proofs, within one budget."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.core import Progress, silent
from robcert.certify.errors import PropertyFileError, RobcertError, UnsupportedOperatorError
from robcert.certify.importer import RunLimits, load_tensor_function
from robcert.certify.numerics import generator, limited_memory

from ..outcome import Arithmetic, Method, Open
from .search import search
from .settings import PropertySettings
from .splitting import Halving, splits
from .summary import Answer, PropertySummary
from .unsafe_set import read_property
from .witness import examined

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from robcert.certify.importer import TensorFunction

    from ..outcome import Decision
    from ..prover import Statement
    from .search import Nearest
    from .splitting import ProvesStatements
    from .unsafe_set import Case, UnsafeSet
    from .witness import Witness

SEARCH_SHARE = 0.3
"""Part of the budget after which no further search starts."""

HALVING_SHARE = 0.7
"""Part of the remaining budget of a case for halving its box; the rest is for branch and bound."""

SAMPLES = 16
"""Inputs on which runtime and twin are compared before anything is proved."""

AGREEMENT = 1e-3
"""Largest difference of runtime and twin, relative to the largest output."""


def check_property(
    model: Path,
    file: Path,
    settings: PropertySettings | None = None,
    *,
    output: str | None = None,
    progress: Progress = silent,
    limits: RunLimits | None = None,
) -> PropertySummary:
    """Whether the property in a VNN-LIB file holds for the network in an ONNX file.

    Inputs and outputs are those of the file, flattened in row-major order: neither pixels nor
    preprocessing play a role, and the model need not be a classifier of images.

    >>> summary = check_property(Path("acas.onnx"), Path("prop_3.vnnlib"))  # doctest: +SKIP
    >>> summary.answer, summary.to_json()                                   # doctest: +SKIP

    Args:
        model: ONNX file with one float32 input and one float32 output.
        file: VNN-LIB 1.0 or 2.0, plain or compressed by gzip.
        settings: budget and method.
        output: name of the model's output; by default, of several, the only float32 tensor with
            as many elements as the property has outputs.
        progress: is told of cases that are decided.
        limits: time of a call of the model, and memory.

    Raises:
        PropertyFileError: the property is malformed, unsupported, or of another model.
        ModelFileError: the model is bad, unsafe or has other inputs and outputs.
        UnsupportedOperatorError: an operator has no counterpart in torch.
        TwinUnavailableError: the output is random, or what it costs depends on the input.
    """
    unsafe, limits = read_property(file), limits or RunLimits()
    with limited_memory(limits.memory):
        network = load_tensor_function(model, output=output, elements=unsafe.outputs, limits=limits)
        for what, declared, own in (
            ("inputs", unsafe.inputs, network.inputs),
            ("outputs", unsafe.outputs, network.outputs),
        ):
            if declared != own:
                message = f"{file}: the property has {declared} {what}, the model has {own}"
                raise PropertyFileError(message, hint="is it the property of another model?")
        return decided(network, unsafe, settings or PropertySettings(), progress=progress)


def decided(
    network: TensorFunction,
    unsafe: UnsafeSet,
    settings: PropertySettings,
    *,
    prover: ProvesStatements | None = None,
    progress: Progress = silent,
) -> PropertySummary:
    """The answer for a loaded network.

    Args:
        network: the model.
        unsafe: the property, which has its numbers of inputs and outputs.
        settings: budget and method.
        prover: proves the cases; by default that of :mod:`robcert.certify.verification.prover`.
        progress: is told of cases that are decided.
    """
    check = _Check(network, unsafe, settings, progress, time.monotonic())
    if not unsafe.cases:
        check.notes.append("all boxes are empty, so the property holds for every model")
    check.search()
    if check.witness is None and unsafe.cases:
        check.prove(prover)
    return check.summary()


@dataclass(slots=True)
class _Check:
    """The state of one check.

    Attributes:
        network: the model.
        unsafe: the property.
        settings: budget and method.
        progress: is told of cases that are decided.
        start: when the budget began; moved by the time that it takes to trace the network.
        witness: a counterexample without tolerance.
        near: counterexamples within the tolerance, by case.
        nearest: result of the search, by case.
        proved: number of cases that are proved empty.
        decisions: the answers of the prover.
        reason: why no proof was found; empty if one was or none was tried.
        notes: what the user should know about the answer.
    """

    network: TensorFunction
    unsafe: UnsafeSet
    settings: PropertySettings
    progress: Progress
    start: float
    witness: Witness | None = None
    near: dict[int, Witness] = field(default_factory=dict)
    nearest: dict[int, Nearest] = field(default_factory=dict)
    proved: int = 0
    decisions: list[Decision] = field(default_factory=list)
    reason: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def deadline(self) -> float:
        return self.start + self.settings.seconds

    @property
    def cases(self) -> Sequence[Case]:
        return self.unsafe.cases

    def search(self) -> None:
        """Look for a counterexample in every case."""
        end = self.start + SEARCH_SHARE * self.settings.seconds
        found = search(self.network, self.cases, self.settings, found=self.examine, deadline=end)
        self.nearest = found
        if self.witness is None:
            for case, nearest in found.items():
                if nearest.value <= self.settings.tolerance and self.examine(case, nearest.x):
                    return

    def examine(self, case: int, x: Tensor) -> bool:
        """Whether ``x`` is a counterexample in the runtime; near ones are kept aside."""
        tolerance = self.settings.tolerance
        witness = examined(self.network, self.cases[case], x, tolerance=tolerance)
        if witness is None:
            return False
        if witness.exact:
            self.witness = witness
            return True
        if case not in self.near or witness.miss < self.near[case].miss:
            self.near[case] = witness
        return False

    def prove(self, prover: ProvesStatements | None) -> None:
        """Prove the cases empty, the easiest first; the first that resists ends it."""
        self.reason = self._obstacle()
        if self.reason:
            return
        began = time.monotonic()
        try:
            prover = prover or _prover(self.network, self.settings)
        except UnsupportedOperatorError as error:
            self.reason = str(error)
            return
        self.start += time.monotonic() - began
        order = sorted(range(len(self.cases)), key=self._ease, reverse=True)
        for done, case in enumerate(order):
            self.progress("cases", done, len(order))
            if not self._prove_case(prover, case):
                break
        self.progress("cases", len(order), len(order))

    def _ease(self, case: int) -> float:
        """Distance of the search from a counterexample; cases without a search come last."""
        nearest = self.nearest.get(case)
        return nearest.value if nearest is not None else -torch.inf

    def _prove_case(self, prover: ProvesStatements, case: int) -> bool:
        """Whether the case is proved empty."""
        if time.monotonic() >= self.deadline:
            self.reason = Open.TIME
            return False
        statement, exact = _statement(self.network, self.cases[case])
        note = "coefficients of the outputs are rounded to float64"
        if not exact and note not in self.notes:
            self.notes.append(note)
        decision = self._decision(prover, statement, case)
        self.decisions.append(decision)
        if decision.proved:
            self.proved += 1
            self.near.pop(case, None)
            return True
        self.reason = decision.reason
        if decision.counterexample is not None:
            self.examine(case, self._inside(case, decision.counterexample))
        return False

    def _found(self, case: int, x: Tensor) -> bool:
        return self.examine(case, self._inside(case, x))

    def _inside(self, case: int, x: Tensor) -> Tensor:
        """``x`` among the numbers that inputs of the box are rounded to.

        Proofs are about a box that was rounded outward, so their counterexamples may lie outside.
        """
        low, high = (torch.from_numpy(bound) for bound in self.cases[case].box.nearest())
        inside = x.detach().double().flatten().clamp(low, high).float()
        return inside.reshape(self.network.input_shape)

    def _decision(self, prover: ProvesStatements, statement: Statement, case: int) -> Decision:
        """The answer about a case: of few inputs, the box is halved before signs are split."""
        method = self.settings.method
        if method not in {Method.AUTO, Method.BRANCH} or not splits(statement):
            return prover.decide_statement(statement, method=method, deadline=self.deadline)
        first = prover.decide_statement(statement, method=Method.ALPHA, deadline=self.deadline)
        if first.proved or first.reason in {Open.TIME, Open.REFUTED}:
            return first
        now = time.monotonic()
        until = now + HALVING_SHARE * (self.deadline - now)
        halving = Halving(self.network, prover, until, lambda x: self._found(case, x))
        halved = halving.decide(statement)
        if halved.proved or halved.reason is Open.REFUTED:
            return halved
        rest = prover.decide_statement(statement, method=Method.BRANCH, deadline=self.deadline)
        branches = halved.branches + rest.branches
        if rest.proved or rest.reason is Open.REFUTED:
            return replace(rest, branches=branches)
        reason = Open.TIME if Open.TIME in {halved.reason, rest.reason} else rest.reason
        return replace(rest, bound=max(rest.bound, first.bound), branches=branches, reason=reason)

    def _obstacle(self) -> str:
        """Why nothing can be proved of the model: its twin computes another function."""
        points = _sample(self.network, self.cases[0], self.settings.seed)
        points = torch.cat([points, *(near.x[None] for near in list(self.nearest.values())[:8])])
        try:
            runtime, twin = self.network.runtime(points), self.network.twin(points).detach()
        except RobcertError as error:
            return str(error)
        apart = float((runtime.double() - twin.double()).abs().max())
        scale = float(runtime.double().abs().max())
        if not apart <= AGREEMENT * max(scale, 1e-6):
            return f"runtime and twin differ by {apart:.2g} on outputs of size {scale:.2g}"
        return ""

    def summary(self) -> PropertySummary:
        """The answer."""
        witness = self.witness
        proved = self.proved == len(self.cases)
        if witness is None and not proved and self.near:
            witness = min(self.near.values(), key=lambda near: near.miss)
        if witness is not None:
            answer = Answer.VIOLATED if witness.exact else Answer.WITHIN_TOLERANCE
        elif proved:
            answer = Answer.HOLDS
        elif self.reason == Open.TIME or time.monotonic() >= self.deadline:
            answer = Answer.TIMEOUT
        else:
            answer = Answer.UNKNOWN
        last = self.decisions[-1] if self.decisions else None
        return PropertySummary(
            answer=answer,
            model=str(self.network.path),
            model_sha256=self.network.sha256,
            property_file=str(self.unsafe.path),
            property_sha256=self.unsafe.sha256,
            version=self.unsafe.version,
            input_shape=self.network.input_shape,
            outputs=self.unsafe.outputs,
            output_name=self.network.output_name,
            cases=len(self.cases),
            empty_cases=self.unsafe.empty,
            proved=self.proved,
            arithmetic=self.settings.arithmetic,
            method=max((d.method for d in self.decisions), key=list(Method).index, default=None),
            branches=sum(decision.branches for decision in self.decisions),
            bound=last.bound if last is not None else None,
            reason="" if answer in {Answer.HOLDS, Answer.VIOLATED} else str(self.reason),
            seconds=time.monotonic() - self.start,
            witness=witness,
            notes=tuple(self.notes),
        )


def _prover(network: TensorFunction, settings: PropertySettings) -> ProvesStatements:
    from ..prover import Prover
    from ..requirements import require_executed_as_stated, require_no_other_format

    if settings.arithmetic is Arithmetic.FLOAT32:
        require_no_other_format(network.module.straight_through)

    def function(x: Tensor) -> Tensor:  # tracing counts the arguments of a method wrongly
        return network.twin(x)

    prover = Prover.of_function(function, network.input_shape, settings.arithmetic)
    if settings.arithmetic is Arithmetic.FLOAT32:
        require_executed_as_stated(network.rewritten)
    return prover


def _statement(network: TensorFunction, case: Case) -> tuple[Statement, bool]:
    """The statement that a case is empty, and whether its rows are exact.

    The bounds of the box are rounded outward to float32, and constants downward.
    """
    from ..prover import Statement

    lower, upper = case.box.outward()
    sparse, constants, exact = case.float_rows()
    rows = torch.zeros(max(1, len(sparse)), network.outputs, dtype=torch.float64)
    for i, row in enumerate(sparse):
        for j, value in row.items():
            rows[i, j] = value
    offsets = torch.tensor(constants or [0.0], dtype=torch.float64)
    shape = network.input_shape
    low, high = (torch.from_numpy(bound).reshape(shape) for bound in (lower, upper))
    return Statement(low, high, rows, offsets), exact


def _sample(network: TensorFunction, case: Case, seed: int) -> Tensor:
    """Random inputs of a box ``(SAMPLES, *input_shape)``, float32."""
    low, high = (torch.from_numpy(bound).float() for bound in case.box.nearest())
    random = torch.rand(SAMPLES, len(low), generator=generator(seed, "property samples", 0))
    return torch.lerp(low, high, random).clamp(low, high).reshape(-1, *network.input_shape)
