"""The differentiable twin of an ONNX file, or the reason why it has none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.errors import ModelFileError, UnsupportedOperatorError
from robcert.certify.model import InputGrid, ScoresInside, Twin, rounds_by_itself

from .scores import ScoreRule
from .twin.builder import EXECUTION_ERRORS
from .twin.inside_scores import find_inside_scores
from .twin.parity import Subject, Tolerance, measure_parity
from .twin.random_parity import mean_mismatch
from .twin.slowness import slowness
from .twin.stages import find_stages
from .twin.training_mode import listed, without_dropout
from .twin.twin import TwinModule, build_twin

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

    from robcert.certify.model import (
        GraphNode,
        Logits,
        Parity,
        StraightThroughNode,
    )

    from .onnx_model import OnnxModel
    from .runtime.batching import Batching
    from .runtime.limits import RunLimits

HALF_PRECISION_STEP = 10.0
"""Factor on the steps of central differences in float16 arithmetic."""

TWIN_CALLS = 100
"""Calls of the runtime that a gradient of a twin may take, unless the twin takes steps of its own;
`benchmarks/limits.py` measures 29 to 64."""

INSIDE_IMAGES = 16
"""Real images on which scores inside the graph are searched for."""


@dataclass(frozen=True, slots=True)
class TwinOutcome:
    """What became of the twin.

    Attributes:
        twin: the twin; None if there is none.
        doubted: a twin with the runtime's logits whose gradient parity rejected.
        unavailable: why there is no twin; empty if there is one.
        parity: how well twin and runtime agree; None if that could not be measured.
        straight_through: nodes with surrogate gradients.
        hint_nodes: nodes without a useful gradient.
        notes: decisions about the twin, and limitations of its gradient.
    """

    twin: Twin | None = None
    doubted: Twin | None = None
    unavailable: str = ""
    parity: Parity | None = None
    straight_through: tuple[StraightThroughNode, ...] = ()
    hint_nodes: tuple[GraphNode, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _PixelFunction:
    """Pixels to scores by a module.

    Attributes:
        module: model inputs to the graph's numbers.
        rule: from these numbers to scores.
        prepare: from pixels to model inputs.
        batched: whether the graph's input has a batch axis.
        fixed_batch: number of images per call of the graph, all of them copies of one; None for
            any number.
    """

    module: TwinModule
    rule: ScoreRule
    prepare: Logits
    batched: bool
    fixed_batch: int | None

    @property
    def one_by_one(self) -> bool:
        """Whether the module takes one image at a time."""
        return self.fixed_batch is not None or not self.batched

    def __call__(self, x: Tensor, *, straight_through: bool) -> Tensor:
        """Scores ``(b, k)`` of ``x (b, c, h, w)``, with a gradient."""
        inputs = self.prepare(x)
        if not self.batched:
            rows = [self.module(row, straight_through=straight_through) for row in inputs]
            return self.rule(torch.stack([row.flatten() for row in rows]))
        if self.fixed_batch is None:
            return self.rule(self.module(inputs, straight_through=straight_through))
        size = self.fixed_batch
        rows = [
            self.module(row.expand(size, *row.shape), straight_through=straight_through)
            for row in inputs
        ]
        return self.rule(torch.cat([row.reshape(size, -1)[:1] for row in rows]))


@dataclass(frozen=True, slots=True)
class TwinSource:
    """What a twin is built from and compared with.

    Attributes:
        model: the analysed file.
        batching: the graph in use.
        rule: from the graph's numbers to logits.
        runtime: pixels to logits by the runtime.
        has_declared: whether the file's own output differs from the logits.
        device: where the twin computes.
        limits: time of a call.
    """

    model: OnnxModel
    batching: Batching
    rule: ScoreRule
    runtime: Logits
    has_declared: bool
    device: torch.device
    limits: RunLimits

    def build(self, images: Tensor | None) -> TwinOutcome:
        """The twin, compared with the runtime on ``images`` and noise, or why there is none.

        The twin of an integer input is the function before rounding: both agree on its levels.
        """
        if self.model.cost.unlimited:
            why = f"{self.model.cost.reason}, and calls of a twin cannot be limited in memory"
            return TwinOutcome(unavailable=why)
        if images is not None and self._grid is not None:
            images = self._grid.nearest(images)
        try:
            return self._build(images)
        except (UnsupportedOperatorError, ModelFileError) as error:
            return TwinOutcome(unavailable=str(error))
        except EXECUTION_ERRORS as error:
            why = f"the twin fails on an image: {' '.join(str(error).split())[:200]}"
            return TwinOutcome(unavailable=why)

    def _build(self, images: Tensor | None) -> TwinOutcome:
        graph, module, dropped = self._translated()
        module.to(self.device)
        function = self._function(module, self.rule)
        twin = self._twin(function)
        if slow := self._slowness(twin):
            return TwinOutcome(unavailable=slow)
        parity, tolerance = self._parity(twin, module, images)
        reason = tolerance.broken_by(parity)
        if self.batching.random:
            reason = mean_mismatch(self._subject(twin), images) if self.model.facts.draws else ""
        if images is not None:
            search = cache(partial(_inside, function, images[:INSIDE_IMAGES]))
            stages = cache(partial(_stages, function, images[:INSIDE_IMAGES]))
            twin = replace(twin, inside_scores=search, stages=stages)
        same = not reason or not replace(tolerance, gradient_correlation=None).broken_by(parity)
        if same and self.has_declared:
            twin = replace(twin, declared=self._declared(module, graph))
        return TwinOutcome(
            twin=None if reason else twin,
            doubted=replace(twin, exact=None) if reason and same else None,
            unavailable=reason,
            parity=parity,
            straight_through=module.straight_through,
            hint_nodes=(*module.no_gradient_nodes, *module.random_nodes),
            notes=tuple(_notes(module, () if reason else dropped)),
        )

    def _slowness(self, twin: Twin) -> str:
        """Why the twin is too slow; empty if it is not, or cannot be by what the trial took."""
        usual = TWIN_CALLS * self.model.seconds
        if not self.model.facts.stepwise and usual < self.limits.call_seconds(1):
            return ""
        return slowness(twin, self.model.layout.image, self.device, self.limits)

    def _translated(self) -> tuple[onnx.ModelProto, TwinModule, tuple[GraphNode, ...]]:
        """The graph, its translation, and the Dropout nodes removed from both."""
        graph = self.batching.model
        module = self._module(graph)
        dropped = () if self.batching.random else module.dropout_alone
        if dropped:  # scores that repeat themselves show that the runtime ignores these nodes
            graph = without_dropout(graph)
            module = self._module(graph)
        return graph, module, dropped

    def _module(self, graph: onnx.ModelProto) -> TwinModule:
        """Translation of the part of ``graph`` that computes the logits."""
        # How a batch is computed is found out for a batch axis of any size or of 1; a larger fixed
        # one is used as declared.
        runtime = self.batching.runtime
        usual = runtime.batched and (runtime.fixed_batch or 1) == 1
        shape = self.model.layout.shape if usual else None
        return build_twin(graph, outputs=[self.model.logits], image_shape=shape)

    def _function(self, module: TwinModule, rule: ScoreRule) -> _PixelFunction:
        runtime = self.batching.runtime
        fixed = runtime.fixed_batch
        if fixed == 1:  # the runtime takes one image at a time; the twin may support batches
            fixed = 1 if module.batching == "single" else None
        prepare = partial(self.model.preprocessing, rounded=False)
        return _PixelFunction(module, rule, prepare, runtime.batched, fixed)

    def _twin(self, function: _PixelFunction) -> Twin:
        exact = partial(function, straight_through=False)
        return Twin(
            logits=partial(function, straight_through=True),
            exact=exact if function.module.straight_through else None,
            fixed_batch=1 if function.one_by_one else None,
        )

    def _declared(self, logits: TwinModule, graph: onnx.ModelProto) -> Logits:
        """Counterpart of the declared output; its gradient is true except for number formats."""
        module = build_twin(graph, outputs=[self.model.declared]).to(self.device)
        module.batch_like(logits)
        function = self._function(module, ScoreRule("logits", self.rule.classes))
        return partial(function, straight_through=not rounds_by_itself(logits.straight_through))

    @property
    def _grid(self) -> InputGrid | None:
        return InputGrid.of(self.model.preprocessing)

    def _subject(self, twin: Twin) -> Subject:
        return Subject(self.runtime, twin, self.model.layout.image, self.device, self._grid)

    def _parity(
        self, twin: Twin, module: TwinModule, images: Tensor | None
    ) -> tuple[Parity, Tolerance]:
        """How well the twin agrees with the runtime, and how well it must."""
        half = self.model.half_precision
        step_scale = HALF_PRECISION_STEP if half else 1.0
        parity = measure_parity(self._subject(twin), images, step_scale=step_scale)
        stepped = bool(module.straight_through) or self.model.facts.discontinuous
        tolerance = Tolerance.of(
            half_precision=half,
            discontinuous=stepped,
            # differences over a whole level are too coarse to judge a gradient by
            smooth_gradient=not stepped and self._grid is None,
        )
        return parity, tolerance


def _notes(module: TwinModule, dropped: tuple[GraphNode, ...]) -> Iterator[str]:
    """Notes about the twin, which omits the Dropout nodes ``dropped``."""
    if dropped:
        names = listed([node.name for node in dropped])
        yield f"Dropout left in training mode, which the runtime ignores: {names}"
    if module.no_gradient_nodes:
        names = listed([str(node) for node in module.no_gradient_nodes])
        yield f"the gradient is zero or undefined at these nodes: {names}"


def _inside(whole: _PixelFunction, images: Tensor) -> ScoresInside | None:
    """Scores inside the graph, bypassing what may hide their gradient; None if none."""
    inputs = whole.prepare(images)
    found = find_inside_scores(whole.module, inputs, classes=whole.rule.classes)
    if found is None:
        return None
    rule = whole.rule if found.outermost else ScoreRule("logits", whole.rule.classes)
    function = partial(replace(whole, module=found.module, rule=rule), straight_through=True)
    return ScoresInside(function, found.own_slopes)


def _stages(whole: _PixelFunction, images: Tensor) -> tuple[Logits, ...]:
    """Stages inside the graph, as functions of pixels ``(b, c, h, w)`` to ``(b, m)``."""
    rule = ScoreRule("logits", whole.rule.classes)
    parts = find_stages(whole.module, whole.prepare(images), least=whole.rule.classes)
    return tuple(
        partial(replace(whole, module=part, rule=rule), straight_through=True) for part in parts
    )
