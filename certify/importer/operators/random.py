"""Operators that draw: another output each time, from torch's global generator.

A ``seed`` attribute is not followed: it would give the runtime's numbers neither way.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from onnx import helper
from torch import Tensor

from ..graph.elements import carrier
from .common import checked_size
from .operator_table import Gradient, operator

if TYPE_CHECKING:
    from collections.abc import Sequence

FLOAT = 1


@operator("RandomNormal", gradient=Gradient.RANDOM, ignore=("seed",))
def random_normal(
    *, shape: Sequence[int], dtype: int = FLOAT, mean: float = 0.0, scale: float = 1.0
) -> Tensor:
    """Normal draws of the given shape."""
    return torch.randn(checked_size(shape), dtype=carrier(dtype)) * scale + mean


@operator("RandomNormalLike", gradient=Gradient.RANDOM, ignore=("seed",))
def random_normal_like(
    x: Tensor, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0
) -> Tensor:
    """Normal draws in the shape of x."""
    return torch.randn_like(x, dtype=_kind(x, dtype)) * scale + mean


@operator("RandomUniform", gradient=Gradient.RANDOM, ignore=("seed",))
def random_uniform(
    *, shape: Sequence[int], dtype: int = FLOAT, low: float = 0.0, high: float = 1.0
) -> Tensor:
    """Uniform draws of the given shape."""
    return torch.rand(checked_size(shape), dtype=carrier(dtype)) * (high - low) + low


@operator("RandomUniformLike", gradient=Gradient.RANDOM, ignore=("seed",))
def random_uniform_like(
    x: Tensor, *, dtype: int | None = None, low: float = 0.0, high: float = 1.0
) -> Tensor:
    """Uniform draws in the shape of x."""
    return torch.rand_like(x, dtype=_kind(x, dtype)) * (high - low) + low


@operator("Bernoulli", gradient=Gradient.RANDOM, ignore=("seed",))
def bernoulli(x: Tensor, *, dtype: int | None = None) -> Tensor:
    """1 with probability x, else 0; with probability 1 - x where the runtime has it that way."""
    drawn = torch.rand_like(x) < (1 - x if _bernoulli_is_reversed() else x)
    return drawn.to(x.dtype if dtype is None else carrier(dtype))


@operator("Multinomial", gradient=Gradient.RANDOM, since=7, ignore=("seed",))
def multinomial(x: Tensor, *, dtype: int = 6, sample_size: int = 1) -> Tensor:
    """Classes drawn with replacement, with log-probabilities x."""
    drawn = torch.multinomial(torch.softmax(x, 1), sample_size, replacement=True)
    return drawn.to(carrier(dtype))


@cache
def _bernoulli_is_reversed() -> bool:
    """Whether ONNX Runtime's Bernoulli gives 1 where it should give 0.

    It expands the operator into "a uniform draw is greater than x" (seen in 1.31 at opset 15). The
    twin must do as the runtime does, not as the standard says.
    """
    import onnxruntime

    vector = helper.make_tensor_value_info("x", FLOAT, [1])
    drawn = helper.make_tensor_value_info("y", FLOAT, [1])
    node = helper.make_node("Bernoulli", ["x"], ["y"])
    graph = helper.make_graph([node], "one", [vector], [drawn])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)])
    model.ir_version = 8
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return bool(session.run(None, {"x": np.ones(1, np.float32)})[0][0] == 0)


def _kind(x: Tensor, dtype: int | None) -> torch.dtype:
    if dtype is not None:
        return carrier(dtype)
    return x.dtype if x.is_floating_point() else torch.float32
