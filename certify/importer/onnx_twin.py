"""Gives a classifier its differentiable twin, or the reason why it has none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.errors import ModelFileError, UnsupportedOperatorError
from robcert.certify.model import rounds_by_itself

from .graph.random_nodes import draws
from .runtime.batching import Batching, discontinuous
from .scores import ScoreRule
from .twin.builder import EXECUTION_ERRORS
from .twin.inside_scores import inner_twin
from .twin.parity import Tolerance, measure_parity
from .twin.random_parity import mean_mismatch
from .twin.training_mode import listed, without_dropout
from .twin.twin import Twin, build_twin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robcert.certify.model import Classifier, Logits, Preprocessing

    from .onnx_model import OnnxModel

HALF_PRECISION_STEP = 10.0
"""Central differences of float16 arithmetic need larger steps by this factor."""


INNER_IMAGES = 16
"""Real images on which the insides of a graph are looked at."""


@dataclass(frozen=True, slots=True)
class _PixelTwin:
    """Pixels to scores by a twin.

    Attributes:
        batched: whether the graph's input has a batch axis.
        fixed_batch: images that one call of the graph takes, all of them copies of one; None for
            any number.
    """

    twin: Twin
    rule: ScoreRule
    prepare: Preprocessing
    batched: bool
    fixed_batch: int | None

    def __call__(self, x: Tensor, *, straight_through: bool) -> Tensor:
        """Scores ``(b, k)`` of ``x (b, c, h, w)``, with a gradient."""
        inputs = self.prepare(x)
        if not self.batched:
            rows = [self.twin(row, straight_through=straight_through) for row in inputs]
            return self.rule(torch.stack([row.flatten() for row in rows]))
        if self.fixed_batch is None:
            return self.rule(self.twin(inputs, straight_through=straight_through))
        rows = [
            self.twin(row.expand(self.fixed_batch, *row.shape), straight_through=straight_through)
            for row in inputs
        ]
        return self.rule(torch.cat([row[:1] for row in rows]))


def add_twin(
    classifier: Classifier,
    model: OnnxModel,
    batching: Batching,
    rule: ScoreRule,
    images: Tensor | None,
) -> None:
    """Build the twin, compare it with the runtime, and keep it if they agree.

    Sets ``twin``, ``exact_twin``, ``declared_twin``, ``doubted_twin``, ``inner``, ``fixed_batch``
    and the parts of ``info`` that tell how it went.

    Args:
        classifier: without a twin.
        model: the file it came from.
        batching: the graph in use.
        rule: from the graph's numbers to logits.
        images: real images to compare on.
    """
    info = classifier.info
    try:
        twin = _built(model, batching)
        dropped = () if info.random else _dropout_alone(twin)
        if dropped:  # the runtime repeats itself: it has left these nodes out
            batching = replace(batching, model=without_dropout(batching.model))
            twin = _built(model, batching)
        twin.to(classifier.device)
        _use(classifier, twin, _pixel_twin(twin, model, batching, rule))
        step_scale = HALF_PRECISION_STEP if model.half_precision else 1.0
        parity = measure_parity(classifier, images, step_scale=step_scale)
        tolerance = _tolerance(model, batching, twin)
        reason = tolerance.broken_by(parity)
        if info.random:
            reason = mean_mismatch(classifier, images) if draws(batching.model) else ""
        if images is not None:
            pixel_twin = _pixel_twin(twin, model, batching, rule)
            classifier.inner = cache(partial(_inner, pixel_twin, images[:INNER_IMAGES]))
        same = not reason or not replace(tolerance, gradient_correlation=None).broken_by(parity)
        if same and classifier.declared is not None:
            classifier.declared_twin = _declared_twin(classifier, twin, model, batching)
    except (UnsupportedOperatorError, ModelFileError) as error:
        _give_up(classifier, str(error))
        return
    except EXECUTION_ERRORS as error:
        why = f"the twin fails on an image: {' '.join(str(error).split())[:200]}"
        _give_up(classifier, why)
        return
    classifier.info = replace(
        info,
        straight_through=twin.straight_through,
        hint_nodes=(*twin.no_gradient_nodes, *twin.random_nodes),
        twin_unavailable=reason,
        parity=parity,
        notes=(*info.notes, *_notes(twin, () if reason else dropped)),
    )
    if reason:
        classifier.doubted_twin = classifier.twin if same else None
        classifier.twin = classifier.exact_twin = None


def _give_up(classifier: Classifier, why: str) -> None:
    classifier.info = replace(classifier.info, twin_unavailable=why)
    classifier.twin = classifier.exact_twin = None


def _dropout_alone(twin: Twin) -> tuple[str, ...]:
    """The nodes that draw, if all of them are Dropout left in training mode; else none."""
    return twin.random_nodes if set(twin.random_nodes) <= set(twin.training_nodes) else ()


def _notes(twin: Twin, dropped: tuple[str, ...]) -> Iterator[str]:
    """What the reader must know of the twin; ``dropped`` are Dropout nodes that it passes over."""
    if dropped:
        names = listed([name.removesuffix(" (Dropout)") for name in dropped])
        yield f"Dropout left in training mode, which the runtime ignores: {names}"
    if twin.no_gradient_nodes:
        names = listed(twin.no_gradient_nodes)
        yield f"the gradient is zero or undefined by nature at: {names}"


def _built(model: OnnxModel, batching: Batching) -> Twin:
    """Twin of the logits."""
    # How a batch is computed is found out for a batch axis of any size or of 1; a larger fixed one
    # is taken as it is declared.
    usual = batching.runtime.batched and (batching.runtime.fixed_batch or 1) == 1
    shape = model.layout.shape if usual else None
    return build_twin(batching.model, outputs=[model.logits], image_shape=shape)


def _use(classifier: Classifier, twin: Twin, logits: _PixelTwin) -> None:
    """Make ``logits`` the classifier's twin."""
    classifier.twin = partial(logits, straight_through=True)
    if twin.straight_through:
        classifier.exact_twin = partial(logits, straight_through=False)
    classifier.fixed_batch = None if logits.fixed_batch is None and logits.batched else 1


def _declared_twin(
    classifier: Classifier, twin: Twin, model: OnnxModel, batching: Batching
) -> Logits:
    """Twin of the declared output, as it stands; its gradient is true but for number formats."""
    declared = build_twin(batching.model, outputs=[model.declared]).to(classifier.device)
    declared.batching = twin.batching
    as_it_is = ScoreRule("logits", classifier.num_classes)
    as_declared = _pixel_twin(declared, model, batching, as_it_is)
    return partial(as_declared, straight_through=not rounds_by_itself(twin.straight_through))


def _inner(whole: _PixelTwin, images: Tensor) -> Logits | None:
    """Scores inside the graph, with a gradient past what may hide it; None with nothing to open."""
    inside = inner_twin(whole.twin, whole.prepare(images), classes=whole.rule.classes)
    if inside is None:
        return None
    rule = whole.rule if inside.outermost else ScoreRule("logits", whole.rule.classes)
    return partial(replace(whole, twin=inside.twin, rule=rule), straight_through=True)


def _pixel_twin(twin: Twin, model: OnnxModel, batching: Batching, rule: ScoreRule) -> _PixelTwin:
    """The twin as a function of pixels."""
    declared = batching.runtime.fixed_batch
    if declared == 1:  # the runtime goes image by image; the twin may have found a way
        declared = 1 if twin.batching == "single" else None
    return _PixelTwin(twin, rule, model.preprocessing, batching.runtime.batched, declared)


def _tolerance(model: OnnxModel, batching: Batching, twin: Twin) -> Tolerance:
    """What the twin must reach to be used."""
    stepped = bool(twin.straight_through) or discontinuous(batching.model)
    integer_input = "int" in model.preprocessing.dtype
    return Tolerance.of(
        half_precision=model.half_precision,
        discontinuous=stepped,
        smooth_gradient=not (stepped or integer_input),
    )
