"""Whether the model accepts batches, decided by running it; the declared shape is not trusted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.errors import ModelFileError

from ..graph.graph_edits import with_free_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

    from .runtime import GraphRuntime


@dataclass(frozen=True, slots=True)
class Batching:
    """The decision.

    Attributes:
        model: the graph to use, with its batch axis freed if that was possible.
        runtime: a session of it.
        random: whether the same image gives different scores each time.
        note: the reason, in one line.
    """

    model: onnx.ModelProto
    runtime: GraphRuntime
    random: bool
    note: str


@dataclass(frozen=True, slots=True)
class BatchTrial:
    """How batches are compared with single images.

    Attributes:
        output: tensor to compare.
        probes: different model inputs ``(b, ...)``.
        tolerance: largest difference, relative to the range (max - min) of the scores.
        draws: whether the graph has nodes with random outputs.
    """

    output: str
    probes: Tensor
    tolerance: float
    draws: bool


def decide_batching(
    model: onnx.ModelProto,
    runtime: GraphRuntime,
    trial: BatchTrial,
    *,
    reopen: Callable[[onnx.ModelProto], GraphRuntime],
) -> Batching:
    """Whether ``model`` runs on batches of any size, unchanged or with its batch axis freed.

    The scores of the probes in one batch are compared with those of the same images alone.

    Args:
        model: the graph.
        runtime: a session of it; its ``fixed_batch`` is what the file declares, None if free.
        trial: what is compared.
        reopen: opens a session of an edited graph.
    """
    if not runtime.batched:
        note = "the input has no batch axis: the runtime processes one image at a time"
        return Batching(model, runtime, False, note)
    single = replace(runtime, fixed_batch=runtime.fixed_batch or 1)
    reference = single(trial.probes, trial.output)
    # NaN equals NaN here: a model whose scores are NaN is not random for that reason
    again = single(trial.probes, trial.output)
    same_again = torch.allclose(again, reference, rtol=0.0, atol=0.0, equal_nan=True)
    random = trial.draws or not same_again
    declared = runtime.fixed_batch
    if declared is None and _agree(runtime, trial, reference, random=random):
        return Batching(model, runtime, random, "the batch axis is free in the file")
    freed = with_free_batch(model, runtime.input_name)
    try:
        candidate = reopen(freed)
    except ModelFileError:
        candidate = None
    if candidate is not None and _agree(candidate, trial, reference, random=random):
        note = (
            "the batch axis was freed in memory: batches give the same scores "
            f"(declared batch size: {declared or 'any'})"
        )
        return Batching(freed, candidate, random, note)
    if (declared or 1) > 1:
        note = (
            f"fixed batch size {declared}, which cannot be changed: each call is filled with "
            "copies of one image"
        )
    else:
        note = "batches fail or change the scores: the runtime processes one image at a time"
    return Batching(model, single, random, note)


def relative_spread_error(scores: Tensor, reference: Tensor) -> Tensor:
    """Largest difference ``(b,)`` of two sets of scores, relative to the reference's range.

    The range of a row is max - min of its finite entries, which a constant added to the row does
    not change; the median over rows where that is larger. So a row whose scores are all multiplied
    by a large factor, which leaves its class as it is and rounds as much coarser, is compared on
    its own scale. Finite entries are compared; where one of the two is NaN or infinite the
    other must be the same, else the difference is infinite.
    """
    scores, reference = scores.flatten(1).double(), reference.flatten(1).double()
    both = scores.isfinite() & reference.isfinite()
    same = both | (scores == reference) | (scores.isnan() & reference.isnan())
    apart = torch.where(both, (scores - reference).abs(), 0.0).amax(1)
    spread = _ranges(reference).clamp_min(torch.finfo(torch.float32).tiny)
    return torch.where(same.all(1), apart / spread, torch.inf)


def _ranges(scores: Tensor) -> Tensor:
    """Range ``(b,)`` of each row, at least the median one; of one column, the largest size."""
    finite = scores.isfinite()
    if scores.shape[1] == 1:
        return torch.where(finite, scores.abs(), 0.0).amax().expand(len(scores))
    widths = torch.where(finite, scores, -torch.inf).amax(1) - torch.where(
        finite, scores, torch.inf
    ).amin(1)
    known = widths[widths.isfinite()]
    least = known.median() if len(known) else scores.new_zeros(())
    return torch.where(widths.isfinite(), widths, least).maximum(least)


def _agree(candidate: GraphRuntime, trial: BatchTrial, reference: Tensor, *, random: bool) -> bool:
    """Whether ``candidate`` gives ``reference`` for all probes in one batch."""
    try:
        scores = candidate(trial.probes, trial.output)
    except ModelFileError:
        return False
    if scores.shape != reference.shape:
        return False
    if random:
        return True
    return bool((relative_spread_error(scores, reference) <= trial.tolerance).all())
