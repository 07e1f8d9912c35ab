"""Gradients of every claimed operator against central differences in float64."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import onnx
import pytest
import torch
from onnx_cases.node_cases import as_array, as_tensor, cases_of, claimed, node_cases
from onnx_cases.skips import DIFFERENT, NOT_RUN, reason

from robcert.certify.importer.operators.operator_table import OPERATORS, Gradient, lookup
from robcert.certify.importer.twin.twin import CONTROL, TwinModule, build_twin

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

NOT_SMOOTH = {
    "Cast": "between types of different precision",
    "CastLike": "between types of different precision",
    "DequantizeLinear": "computes in float32",
}

CASES = {
    "Pow": "test_pow_example",
    "MaxPool": "test_maxpool_2d_default",
    "Resize": "test_resize_upsample_scales_cubic",
    "Clip": "test_clip",
}
"""Cases better suited than an operator's first."""


def smooth_operators() -> list[str]:
    """Claimed operators whose gradient is meant to be the true one."""
    names = [name for name in claimed() if name not in CONTROL and name not in NOT_SMOOTH]
    return [name for name in names if OPERATORS["", name][0].gradient is Gradient.TRUE]


def usable(name: str) -> bool:
    """Whether a case begins with an input of single or double precision."""
    inputs, outputs = node_cases()[name].data_sets[0]
    arrays = [as_array(value) for value in (inputs[0], outputs[0])]
    listed = reason(name, DIFFERENT) or reason(name, NOT_RUN)
    return not listed and all(a.dtype.name in {"float32", "float64"} and a.size for a in arrays)


def jittered(x: Tensor) -> Tensor:
    """``x`` in float64, moved off corners and ties."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(x.shape, generator=generator, dtype=torch.float64)
    return (x.double() + 1e-2 * noise - 4e-3).requires_grad_()


def first_output(twin: TwinModule, rest: list[Tensor], x: Tensor) -> Tensor:
    """The twin's first output as a function of its first input."""
    result = twin(x, *rest, straight_through=False)
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize("operator", smooth_operators())
def test_the_gradient_is_that_of_central_differences(operator: str) -> None:
    names = [CASES[operator]] if operator in CASES else list(filter(usable, cases_of(operator)))
    if not names:
        pytest.skip("no case with a float input and output")
    case = node_cases()[names[0]]
    tensors = [as_tensor(value) for value in case.data_sets[0][0]]
    wide = [t.double() if t.is_floating_point() else t for t in tensors]
    function: Callable[[Tensor], Tensor] = functools.partial(
        first_output, build_twin(case.model), wide[1:]
    )
    assert torch.autograd.gradcheck(function, (jittered(wide[0]),), fast_mode=True, atol=1e-4)


@pytest.mark.parametrize("operator", ["Round", "Floor", "Ceil"])
def test_steps_have_gradient_zero_and_a_stand_in(operator: str) -> None:
    twin = build_twin(node_cases()[cases_of(operator)[0]].model)
    assert len(twin.straight_through) == 1
    x = torch.tensor([-1.7, -0.3, 0.4, 2.6], requires_grad=True)
    exact = torch.autograd.grad(twin(x, straight_through=False).sum() + 0 * x.sum(), x)[0]
    (stand_in,) = torch.autograd.grad(twin(x).sum(), x)
    assert exact.tolist() == [0.0] * 4
    assert stand_in.tolist() == [1.0] * 4
    assert torch.equal(twin(x), twin(x, straight_through=False))


def test_the_stand_in_of_sign_is_the_slope_of_its_mean_under_noise() -> None:
    twin = build_twin(node_cases()["test_sign"].model)
    x = torch.tensor([[3.0, -4.0], [0.3, 0.4]], dtype=torch.float64, requires_grad=True)
    size = torch.tensor([[12.5], [0.125]], dtype=torch.float64).sqrt()
    (stand_in,) = torch.autograd.grad(twin(x).sum(), x)
    (slope,) = torch.autograd.grad((2 / math.pi * torch.atan(x / (0.01 * size))).sum(), x)
    assert torch.allclose(stand_in, slope)
    assert twin(x).tolist() == [[1.0, -1.0], [1.0, 1.0]]


def test_quantisation_passes_the_gradient_inside_its_range_only() -> None:
    twin = build_twin(node_cases()["test_quantizelinear"].model)
    x = torch.tensor([-10.0, 3.0, 2.0, 600.0], requires_grad=True)  # scale 2, zero point 128
    y = twin(x, torch.tensor(2.0), torch.tensor(128, dtype=torch.uint8))
    (stand_in,) = torch.autograd.grad(y.sum(), x)
    assert y.tolist() == [123.0, 130.0, 129.0, 255.0]
    assert stand_in.tolist() == [0.5, 0.5, 0.5, 0.0]


def test_rows_of_the_table_say_what_kind_of_gradient_they_have() -> None:
    kinds = {name: lookup("", name, 20) for name in ("ArgMax", "RandomNormal", "Round", "Relu")}
    assert [row.gradient for row in kinds.values() if row is not None] == [
        Gradient.NONE,
        Gradient.RANDOM,
        Gradient.STRAIGHT_THROUGH,
        Gradient.TRUE,
    ]


def clip(low: float, high: float, opset: int = 13) -> TwinModule:
    """The twin of a graph that clips five pixels."""
    limits: dict[str, Any] = {"min": low, "max": high} if opset == 6 else {}
    names = ["x"] if opset == 6 else ["x", "low", "high"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Clip", names, ["y"], **limits)],
        "clip",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 5])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 5])],
        [
            onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, [], [value])
            for name, value in (("low", low), ("high", high))
        ],
    )
    opsets = [onnx.helper.make_opsetid("", opset)]
    return build_twin(onnx.helper.make_model(graph, opset_imports=opsets))


def slope_and_value(twin: TwinModule, x: Tensor) -> tuple[Tensor, Tensor]:
    value = first_output(twin, [], x.requires_grad_())
    return torch.autograd.grad(value.sum(), x)[0], value.detach()


@pytest.mark.parametrize("opset", [6, 13])
def test_pixels_at_the_limits_of_a_clip_keep_their_gradient(opset: int) -> None:
    """Black and white pixels can move inwards, so a graph that clips them has their slope."""
    slope, value = slope_and_value(clip(0, 1, opset), torch.tensor([[-0.5, 0, 0.5, 1, 1.5]]))
    assert slope.tolist() == [[0.0, 1.0, 1.0, 1.0, 0.0]]
    assert value.tolist() == [[0.0, 0.0, 0.5, 1.0, 1.0]]


def test_pixels_beyond_a_clip_by_their_rounding_keep_their_gradient() -> None:
    """(0 - mean) / std is -0.81019837 in float32, the limit of the clip -0.8101983."""
    low, high = -0.2860 / 0.3530, 0.7140 / 0.3530
    black = torch.tensor(low).nextafter(torch.tensor(-9.0))
    white = torch.tensor(high).nextafter(torch.tensor(9.0))
    inf = torch.inf
    x = torch.stack([black, white, torch.tensor(low - 1e-3), torch.tensor(-inf), torch.tensor(inf)])
    slope, value = slope_and_value(clip(low, high), x[None])
    assert slope.tolist() == [[1.0, 1.0, 0.0, 0.0, 0.0]]
    assert value[0].tolist() == torch.tensor([low, high, low, low, high]).tolist()
