from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from onnx_models import linear, model, node, weights

from robcert.certify.errors import ModelFileError
from robcert.certify.importer.graph.facts import GraphFacts
from robcert.certify.importer.runtime.batching import (
    Batching,
    BatchTrial,
    decide_batching,
    relative_spread_error,
)
from robcert.certify.importer.runtime.runtime import GraphRuntime
from robcert.certify.importer.runtime.runtime_session import open_session

if TYPE_CHECKING:
    import onnx


def runtime_of(made: onnx.ModelProto) -> GraphRuntime:
    session = open_session(made.SerializeToString(), path=Path("model"), threads=1)
    first = session.get_inputs()[0].shape[0]
    return GraphRuntime(session, "x", "float32", first if isinstance(first, int) else None)


def decided(made: onnx.ModelProto, output: str = "y") -> Batching:
    probes = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    draws = GraphFacts.of(made).draws
    trial = BatchTrial(output=output, probes=probes, tolerance=1e-4, draws=draws)
    return decide_batching(made, runtime_of(made), trial, reopen=runtime_of)


def reshaping(batch: int | str, target: list[int], *, opset: int = 17) -> onnx.ModelProto:
    """Reshape to ``target`` and multiply."""
    return model(
        [node("Reshape", "x shape", "flat"), node("MatMul", "flat w", "y")],
        inputs={"x": [batch, 3, 4, 4]},
        outputs={"y": [batch, 5]},
        weights={"shape": np.array(target, np.int64), "w": weights(5, 48)},
        opset=opset,
    )


def test_a_free_batch_is_taken_as_it_is() -> None:
    batching = decided(linear(), "logits")
    assert batching.runtime.fixed_batch is None
    assert batching.note == "the batch axis is free in the file"


@pytest.mark.parametrize("target", [[1, 48], [1, -1], [-1, 48], [0, -1]])
def test_a_batch_of_one_inside_a_reshape_is_freed(target: list[int]) -> None:
    batching = decided(reshaping(1, target))
    assert batching.runtime.fixed_batch is None
    assert "freed in memory" in batching.note
    x = torch.rand(3, 3, 4, 4)
    expected = x.flatten(1).numpy() @ weights(5, 48)
    np.testing.assert_allclose(batching.runtime(x, "y").numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_free_axis_with_a_one_behind_it_is_freed_too() -> None:
    assert "freed in memory" in decided(reshaping("batch", [1, 48])).note


def test_a_class_token_is_repeated_for_every_image() -> None:
    token = weights(4, 4).reshape(1, 1, 16)
    made = model(
        [
            node("Reshape", "x shape", "tokens"),
            node("Concat", "token tokens", "all", axis=1),
            node("Flatten", "all", "flat"),
            node("MatMul", "flat w", "y"),
        ],
        inputs={"x": [1, 3, 4, 4]},
        outputs={"y": [1, 5]},
        weights={
            "shape": np.array([1, 3, 16], np.int64),
            "token": token,
            "w": weights(5, 64),
        },
    )
    batching = decided(made)
    assert batching.runtime.fixed_batch is None
    x = torch.rand(3, 3, 4, 4)
    joined = np.concatenate([np.repeat(token.reshape(1, 16), 3, 0), x.flatten(1).numpy()], 1)
    expected = joined @ weights(5, 64)
    np.testing.assert_allclose(batching.runtime(x, "y").numpy(), expected, rtol=1e-4, atol=1e-4)


def test_a_larger_fixed_batch_is_freed() -> None:
    assert decided(reshaping(4, [4, 48])).runtime.fixed_batch is None


def test_a_larger_fixed_batch_that_couples_images_is_filled_with_one() -> None:
    made = model(
        [
            node("Reshape", "x shape", "flat"),
            node("ReduceMean", "flat", "mean", axes=[0], keepdims=1),
            node("Add", "flat mean", "sum"),
            node("MatMul", "sum w", "y"),
        ],
        inputs={"x": [4, 3, 4, 4]},
        outputs={"y": [4, 5]},
        weights={"w": weights(5, 48), "shape": np.array([4, 48], np.int64)},
    )
    batching = decided(made)
    assert not batching.random
    assert batching.runtime.fixed_batch == 4
    assert "filled with copies of one image" in batching.note
    x = torch.rand(6, 3, 4, 4)
    expected = 2 * x.flatten(1).numpy() @ weights(5, 48)  # an image is its own mean
    np.testing.assert_allclose(batching.runtime(x, "y").numpy(), expected, rtol=1e-4, atol=1e-4)


def test_a_one_that_is_no_batch_leaves_the_model_image_by_image() -> None:
    # (1, 48) holds all images in one row if the batch is larger: the mean couples them.
    made = model(
        [
            node("Flatten", "x", "flat"),
            node("ReduceMean", "flat", "mean", axes=[0], keepdims=1),
            node("Sub", "flat mean", "centred"),
            node("Add", "centred flat", "sum"),
            node("MatMul", "sum w", "y"),
        ],
        inputs={"x": [1, 3, 4, 4]},
        outputs={"y": [1, 5]},
        weights={"w": weights(5, 48)},
    )
    batching = decided(made)
    assert batching.runtime.fixed_batch == 1
    x = torch.rand(3, 3, 4, 4)
    together = batching.runtime(x, "y")
    assert torch.equal(together[1:2], batching.runtime(x[1:2], "y"))


def test_random_scores_are_found_out() -> None:
    made = model(
        [
            node("Flatten", "x", "flat"),
            node("RandomNormalLike", "flat", "noise"),
            node("Add", "flat noise", "sum"),
            node("MatMul", "sum w", "y"),
        ],
        inputs={"x": ["n", 3, 4, 4]},
        outputs={"y": None},
        weights={"w": weights(5, 48)},
    )
    batching = decided(made)
    assert batching.random
    assert batching.runtime.fixed_batch is None
    assert not decided(linear(), "logits").random


def test_relative_error_by_hand() -> None:
    reference = torch.tensor([[0.0, 4.0], [1.0, 3.0], [0.0, 1.0]])
    scores = reference + torch.tensor([[0.0, 1.0], [0.5, 0.0], [0.0, 0.0]])
    # the ranges (max - min) are 4, 2 and 1, their median is 2
    assert relative_spread_error(scores, reference).tolist() == [0.25, 0.25, 0.0]


@pytest.mark.parametrize("rows", [1, 5])
def test_inputs_handed_over_where_they_lie_give_the_same_scores(rows: int) -> None:
    """What a GPU does; a processor's memory can be bound likewise."""
    runtime = runtime_of(linear())
    bound = replace(runtime, bound=True)
    x = torch.rand(rows, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(bound(x, "logits"), runtime(x, "logits"))
    across = x.permute(0, 1, 3, 2)
    assert torch.equal(bound(across, "logits"), runtime(across, "logits"))


def test_a_bound_input_that_does_not_fit_is_one_line() -> None:
    bound = replace(runtime_of(linear()), bound=True)
    with pytest.raises(ModelFileError, match="the runtime fails on a batch of 2"):
        bound(torch.rand(2, 3, 5, 5), "logits")
