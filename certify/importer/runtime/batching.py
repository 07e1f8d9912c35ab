"""Whether the model accepts batches, decided by running it; the declared shape is not trusted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.errors import ModelFileError

from ..graph.graph_edits import with_free_batch
from ..graph.random_nodes import draws

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

    from .runtime import Runtime

DISCONTINUOUS = frozenset(
    {
        *("QuantizeLinear", "DynamicQuantizeLinear", "Round", "Floor", "Ceil", "Sign", "TopK"),
        *("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal", "ArgMax", "BitShift"),
    }
)
"""Operators through which rounding errors of 1e-7 can grow to a whole step."""


@dataclass(frozen=True, slots=True)
class Batching:
    """What was decided.

    Attributes:
        model: the graph to use, with its batch axis freed if that was possible.
        runtime: a session of it.
        random: whether the same image gives other scores each time.
        note: why, in one line.
    """

    model: onnx.ModelProto
    runtime: Runtime
    random: bool
    note: str


def decide_batching(
    model: onnx.ModelProto,
    runtime: Runtime,
    *,
    output: str,
    probes: Tensor,
    tolerance: float,
    reopen: Callable[[onnx.ModelProto], Runtime],
) -> Batching:
    """Whether ``model`` runs on batches of any size, as it is or with its batch axis freed.

    The scores of ``probes (b, ...)`` in one batch are compared with those image by image.

    Args:
        model: the graph.
        runtime: a session of it; its ``fixed_batch`` is what the file declares, None if free.
        output: tensor to compare.
        probes: model inputs that differ from one another.
        tolerance: largest difference, relative to the spread of the scores.
        reopen: makes a runtime of an edited graph.
    """
    if not runtime.batched:
        return Batching(model, runtime, False, "no batch axis: the runtime takes images one by one")
    single = replace(runtime, fixed_batch=runtime.fixed_batch or 1)
    reference = single(probes, output)
    # NaN equals NaN here: scores that are no numbers are not random for that
    again = single(probes, output)
    same_again = torch.allclose(again, reference, rtol=0.0, atol=0.0, equal_nan=True)
    random = draws(model) or not same_again
    declared = runtime.fixed_batch

    def same(candidate: Runtime) -> bool:
        return _agree(candidate, probes, output, reference, tolerance, random=random)

    if declared is None and same(runtime):
        return Batching(model, runtime, random, "the batch axis is free in the file")
    freed = with_free_batch(model, runtime.input_name)
    try:
        candidate = reopen(freed)
    except ModelFileError:
        candidate = None
    if candidate is not None and same(candidate):
        note = f"declared batch {declared or 'free'}, freed in memory: batches give the same scores"
        return Batching(freed, candidate, random, note)
    if (declared or 1) > 1:
        note = f"fixed batch of {declared}, which cannot be freed: it is filled with one image"
    else:
        note = "batches fail or change the scores: the runtime takes images one by one"
    return Batching(model, single, random, note)


def relative_spread_error(scores: Tensor, reference: Tensor) -> Tensor:
    """Largest difference ``(b,)`` of two sets of scores, relative to the reference's spread.

    The spread is the median over rows of max - min: adding a constant to a row changes nothing.
    """
    scores, reference = scores.flatten(1).double(), reference.flatten(1).double()
    spread = (reference.amax(1) - reference.amin(1)).median()
    if reference.shape[1] == 1:
        spread = reference.abs().amax()
    tiny = torch.finfo(torch.float32).tiny
    return (scores - reference).abs().amax(1) / spread.clamp_min(tiny)


def discontinuous(model: onnx.ModelProto) -> bool:
    """Whether tiny differences inside the graph can become large ones."""
    return any(
        node.op_type in DISCONTINUOUS or node.op_type.startswith("QLinear")
        for node in model.graph.node
    )


def _agree(
    candidate: Runtime,
    probes: Tensor,
    output: str,
    reference: Tensor,
    tolerance: float,
    *,
    random: bool,
) -> bool:
    """Whether ``candidate`` gives ``reference`` for all probes in one batch."""
    try:
        scores = candidate(probes, output)
    except ModelFileError:
        return False
    if scores.shape != reference.shape:
        return False
    if random:
        return True
    error = relative_spread_error(scores, reference)
    # NaN scores are a finding elsewhere; here equal places of NaN count as equal.
    both_nan = (scores.isnan() == reference.isnan()).flatten(1).all(1)
    return bool(((error <= tolerance) | (error.isnan() & both_nan)).all())
