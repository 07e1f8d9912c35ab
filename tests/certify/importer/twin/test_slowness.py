"""A twin that takes longer than a call may is not used, whatever makes it slow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_models
import pytest
import torch
from torch import Tensor

from robcert.certify.importer import LoadOptions, load_classifier, onnx_twin
from robcert.certify.importer.runtime.limits import RunLimits
from robcert.certify.importer.twin.slowness import slowness
from robcert.certify.model import Twin

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

LIMITS = RunLimits(seconds=0.2)
CPU = torch.device("cpu")


class SlowBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        time.sleep(0.3)
        return gradient


def slow_forward(x: Tensor) -> Tensor:
    time.sleep(0.3)
    return x.flatten(1)


def slow_backward(x: Tensor) -> Tensor:
    slow: Tensor = SlowBackward.apply(x)
    return slow.flatten(1)


def constant(x: Tensor) -> Tensor:
    return torch.zeros(len(x), 3)


def unrelated(x: Tensor) -> Tensor:
    return torch.zeros(len(x), 3, requires_grad=True) * 2


@pytest.mark.parametrize("function", [slow_forward, slow_backward])
def test_a_slow_twin_is_named(function: Any) -> None:
    found = slowness(Twin(function), (1, 2, 2), CPU, LIMITS)
    assert found.startswith("one gradient of one image takes 0.")
    assert "more than the 0.2 s of a call (--call-limit)" in found
    assert slowness(Twin(function), (1, 2, 2), CPU, RunLimits(seconds=60)) == ""


@pytest.mark.parametrize("function", [lambda x: x.flatten(1), constant, unrelated])
def test_a_fast_twin_is_not(function: Any) -> None:
    assert slowness(Twin(function), (1, 2, 2), CPU, RunLimits(seconds=60)) == ""


def recurrent() -> ModelProto:
    node = onnx_models.node
    nodes = [
        node("ReduceMean", "x", "rows", axes=[1], keepdims=0),
        node("Transpose", "rows", "steps", perm=[1, 0, 2]),
        node("RNN", "steps w r", "all last", hidden_size=5),
        node("Squeeze", "last axis", "out"),
    ]
    return onnx_models.model(
        nodes,
        inputs={"x": ("n", 3, 4, 4)},
        outputs={"out": ("n", 5)},
        weights={
            "w": onnx_models.weights(4, 5)[None],
            "r": onnx_models.weights(5, 5)[None],
            "axis": np.array([0]),
        },
    )


@pytest.mark.parametrize(
    ("made", "calls", "timed"),
    [(onnx_models.linear, 100, 0), (onnx_models.linear, 10**9, 1), (recurrent, 100, 1)],
)
def test_a_gradient_is_timed_where_the_trial_does_not_tell(
    made: Any, calls: int, timed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RunLimits] = []

    def recorded(*given: Any) -> str:
        asked.append(given[-1])
        return ""

    monkeypatch.setattr(onnx_twin, "slowness", recorded)
    monkeypatch.setattr(onnx_twin, "TWIN_CALLS", calls)
    path = onnx_models.saved(tmp_path, made())
    model = load_classifier(path, LoadOptions(device="cpu", threads=1))
    assert model.twin is not None
    assert len(asked) == timed
