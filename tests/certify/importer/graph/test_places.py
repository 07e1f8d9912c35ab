"""Rows of every operator have the same bits wherever in a batch they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from onnx_cases.small_graphs import model_of, node
from torch import Tensor

from robcert.certify.importer.operators.operator_table import OPERATORS, Gradient, lookup
from robcert.certify.importer.twin.twin import build_twin
from robcert.certify.numerics.batch_invariant import whole_vectors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

ROWS = 64
PARTS = ((0, 16), (1, 24), (7, 40), (8, 56))
"""First row and number of rows; batches of these sizes are what twins are asked about."""

SHAPES = ((5,), (3, 7, 7))
"""Of one row; neither is a whole number of vectors."""

NODES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Pow": ({}, {"e": np.array(0.75, np.float32)}),
    "Pow a row": ({}, {"e": np.array([0.3, 1.0, 1.2, 2.0, 3.0, 0.7, 0.4], np.float32)}),
    "Gelu by tanh": ({"approximate": "tanh"}, {}),
    "LRN": ({"size": 3, "alpha": 0.1, "beta": 0.6}, {}),
    "LpPool": ({"kernel_shape": [2, 2], "p": 3}, {}),
    "GlobalLpPool": ({"p": 3}, {}),
    "ReduceL2": ({"axes": [1]}, {}),
    "ReduceMean": ({"axes": [1]}, {}),
    "ReduceLogSumExp": ({"axes": [1]}, {}),
    "Div": ({}, {"e": np.array(0.3, np.float32)}),
    "Mod": ({"fmod": 1}, {"e": np.array(0.3, np.float32)}),
    "PRelu": ({}, {"e": np.array([0.3], np.float32)}),
}
SPATIAL = ("LRN", "LpPool", "Pow a row", "GlobalLpPool")

NOT_BY_ROWS = {
    *("Shape", "Size", "Det", "ConstantOfShape", "DynamicQuantizeLinear", "Resize", "Trilu"),
    *("Transpose", "Squeeze", "MeanVarianceNormalization"),
}
"""Operators of one input whose output has no rows, or rows that depend on one another."""


def simple() -> list[str]:
    """Operators of one input that need no attributes and keep images apart."""
    found = set()
    for domain, name in OPERATORS:
        row = lookup(domain, name, 17)
        if domain or row is None or row.gradient in {Gradient.NONE, Gradient.RANDOM}:
            continue
        if row.n_required == 1 and not (row.required or row.variadic or name.startswith("Reduce")):
            found.add(name)
    return sorted(found - {*NOT_BY_ROWS, *NODES})


def rows(shape: tuple[int, ...]) -> Tensor:
    """Numbers that every function is defined at but acosh's, and that no rounding leaves alone."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(ROWS, *shape, generator=generator) * 0.9 + 0.05


def value_and_gradient(twin: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    y = twin(x)
    y = y[0] if isinstance(y, tuple) else y
    weights = torch.cos(torch.arange(y[0].numel(), dtype=y.dtype)).reshape(y.shape[1:])
    if not y.requires_grad:
        return y, torch.zeros_like(x)
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    return y.detach(), gradient


@pytest.fixture(params=[1, 2])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("name", [*simple(), *NODES])
def test_bits_of_a_row_do_not_depend_on_its_place(name: str) -> None:
    attributes, constants = NODES.get(name, ({}, {}))
    kind = name.split(maxsplit=1)[0]
    made = node(kind, ["x", *constants], ["y"], **attributes)
    for shape in SHAPES[1:] if name in SPATIAL or kind.startswith("Global") else SHAPES:
        graph = model_of([made], constants=constants, shape=["n", *shape], opset=17)
        twin, x = build_twin(graph), rows(shape)
        x = 1 + x if kind == "Acosh" else x - 0.5 if kind in {"Elu", "Selu", "Celu"} else x
        for laid_out in (x, x.movedim(1, -1).contiguous().movedim(-1, 1)):
            value, gradient = value_and_gradient(twin, laid_out)
            for first, count in PARTS:
                part = value_and_gradient(twin, laid_out[first : first + count])
                assert torch.equal(part[0], value[first : first + count]), (shape, first, count)
                assert torch.equal(part[1], gradient[first : first + count]), (shape, first, count)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("name", ["Gelu", "Gelu by tanh", "Sigmoid", "Softplus"])
@pytest.mark.parametrize("count", [20064, 32768, 65600])
def test_bits_do_not_depend_on_the_number_of_threads(name: str, count: int) -> None:
    attributes, _ = NODES.get(name, ({}, {}))
    made = node(name.split(maxsplit=1)[0], ["x"], ["y"], **attributes)
    twin = build_twin(model_of([made], shape=["n", count // 32]))
    x = 4 * torch.rand(32, count // 32, generator=torch.Generator().manual_seed(0)) - 2
    value, gradient = value_and_gradient(twin, x)
    torch.set_num_threads(3)
    again = value_and_gradient(twin, x)
    assert torch.equal(again[0], value)
    assert torch.equal(again[1], gradient)


@pytest.mark.parametrize("axis", [1, -1])
def test_a_row_of_whole_vectors_is_not_copied(axis: int) -> None:
    seen = []

    @whole_vectors
    def kept(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    x = torch.rand(4, 3, 8, 8).movedim(1, axis).contiguous().movedim(axis, 1)
    assert kept(x).data_ptr() == seen[0].data_ptr() == x.data_ptr()
    assert torch.equal(kept(x), x)
    assert seen[0].shape == (768,)


def test_a_row_of_whole_vectors_keeps_layout_and_both_derivatives() -> None:
    @whole_vectors
    def cube(x: Tensor) -> Tensor:
        return x**3

    x = rows((3, 5, 1)).movedim(1, -1).contiguous().movedim(-1, 1).double().requires_grad_()
    y = cube(x)
    assert y.stride() == x.stride()
    assert torch.equal(y, x**3)
    assert torch.autograd.gradcheck(cube, (x[:2],))
    assert torch.autograd.gradgradcheck(cube, (x[:2],))
