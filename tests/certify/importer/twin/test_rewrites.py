"""Rewritten graphs: the same values and gradients as the operators one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from onnx_cases.small_graphs import model_of, node
from torch import Tensor
from torch.nn import functional

from robcert.certify.importer.operators.pooling import max_pool
from robcert.certify.importer.twin.twin import TwinModule, build_twin

if TYPE_CHECKING:
    from onnx import NodeProto

SHAPE = ["n", 2, 7, 7]
KERNEL: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}


def images(*, steps: bool = False) -> Tensor:
    """Random pixels; in ``steps`` of a half, most windows of which hold ties."""
    x = torch.randn(3, 2, 7, 7, generator=torch.Generator().manual_seed(0))
    return (2 * x).round() / 2 if steps else x


def value_and_slope(function: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    point = x.clone().requires_grad_()
    value = function(point)
    weight = torch.linspace(-1, 1, value.numel()).view_as(value)
    return value.detach(), torch.autograd.grad((value * weight).sum(), point)[0]


def targets(twin: TwinModule) -> list[object]:
    return [n.target for n in twin.module.graph.nodes if n.op == "call_function"]


def relu_and_pool(*more: NodeProto, outputs: list[str] | None = None, **pool: Any) -> TwinModule:
    nodes = [node("Relu", ["x"], ["r"]), node("MaxPool", ["r"], ["y"], **(KERNEL | pool)), *more]
    return build_twin(model_of(nodes, shape=SHAPE, outputs=outputs))


@pytest.mark.parametrize("steps", [False, True])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 1, 1]])
def test_the_maximum_comes_before_relu_and_all_stays_the_same(steps: bool, pads: list[int]) -> None:
    twin = relu_and_pool(pads=pads)

    def plain(x: Tensor) -> Tensor:
        padding = (pads[1], pads[3], pads[0], pads[2])
        return functional.max_pool2d(functional.pad(x.relu(), padding, value=-torch.inf), 2)

    order = targets(twin)
    assert order.index(max_pool) < order.index(torch.relu_)
    value, slope = value_and_slope(twin, images(steps=steps))
    expected, expected_slope = value_and_slope(plain, images(steps=steps))
    assert torch.equal(value, expected)
    assert torch.equal(slope, expected_slope)


def test_relu_stays_first_where_others_read_it() -> None:
    total = node("ReduceMean", ["r"], ["m"], axes=[1, 2, 3])
    twin = relu_and_pool(total, outputs=["y", "m"])
    pooled, mean = twin(images())
    assert torch.equal(pooled, functional.max_pool2d(images().relu(), 2))
    torch.testing.assert_close(mean.flatten(), images().relu().mean((1, 2, 3)))
    assert targets(twin).index(torch.relu) < targets(twin).index(max_pool)


def test_relu_stays_first_where_a_window_may_lie_in_the_padding() -> None:
    twin = relu_and_pool(ceil_mode=1)
    assert targets(twin).index(torch.relu) < targets(twin).index(max_pool)


def test_positions_of_the_maximum_are_those_in_the_output_of_relu() -> None:
    pool = node("MaxPool", ["r"], ["y", "where"], **KERNEL)
    twin = build_twin(
        model_of([node("Relu", ["x"], ["r"]), pool], shape=SHAPE, outputs=["y", "where"])
    )
    _, where = twin(-images().abs())
    assert torch.equal(where[0, 0, 0], torch.tensor([0, 2, 4]))  # of zeros the first, not the least


@pytest.mark.parametrize("channels", [1, 2])
def test_overwriting_and_layout_change_no_gradient(channels: int) -> None:
    draw = np.random.default_rng(0)
    weight = draw.normal(size=(4, channels, 3, 3)).astype(np.float32)
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("Add", ["r", "r"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "v"], ["y"]),
    ]
    back = draw.normal(size=(2, 4, 3, 3)).astype(np.float32)
    twin = build_twin(
        model_of(nodes, constants={"w": weight, "v": back}, shape=["n", channels, 7, 7])
    )
    assert targets(twin).count(torch.relu_) == 2
    x = images()[:, :channels]

    def plain(pixels: Tensor) -> Tensor:
        first = functional.conv2d(pixels, torch.from_numpy(weight), padding=1).relu()
        return functional.conv2d(2 * first, torch.from_numpy(back))

    for mine, expected in zip(value_and_slope(twin, x), value_and_slope(plain, x), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5)
    assert twin(x).stride()[1] == 1  # channels last


def test_a_convolution_that_the_graph_gives_out_is_not_overwritten() -> None:
    nodes = [node("Conv", ["x", "w"], ["c"]), node("Relu", ["c"], ["y"])]
    weight = np.ones((1, 2, 1, 1), dtype=np.float32)
    twin = build_twin(model_of(nodes, constants={"w": weight}, shape=SHAPE, outputs=["c", "y"]))
    convolved, positive = twin(images())
    torch.testing.assert_close(convolved, images().sum(1, keepdim=True))
    torch.testing.assert_close(positive, convolved.relu())
