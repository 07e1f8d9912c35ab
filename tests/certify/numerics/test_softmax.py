"""The softmax of twins and margins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from robcert.certify.numerics.batch_invariant import softmax

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPES = [
    *(((64, classes), 1) for classes in (10, 37, 1000)),
    *(((8, 4, 17, 17), axis) for axis in (1, 2, 3)),
    ((4, 3, 197, 197), 3),
]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def gradient(x: Tensor, weight: Tensor, axis: int, number: int) -> Tensor:
    torch.set_num_threads(number)
    x = x.clone().requires_grad_()
    return torch.autograd.grad((softmax(x, axis) * weight).sum(), x)[0]


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_bits_do_not_depend_on_threads_nor_on_the_batch(shape: tuple[int, ...], axis: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(shape), torch.randn(shape)
    whole = gradient(x, weight, axis, 1)
    for number in (2, 3):
        assert torch.equal(gradient(x, weight, axis, number), whole)
    assert torch.equal(gradient(x[2:8], weight[2:8], axis, 2), whole[2:8])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_value_gradient_and_its_gradient(axis: int) -> None:
    x = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(softmax(x, axis), torch.softmax(x, axis), rtol=1e-14, atol=0)
    assert torch.autograd.gradcheck(lambda z: softmax(z, axis), (x,))
    assert torch.autograd.gradgradcheck(lambda z: softmax(z, axis), (x,))


def test_it_can_be_mapped_over_a_batch() -> None:
    x = torch.randn(3, 4, 17, requires_grad=True)
    mapped = torch.vmap(lambda z: softmax(z, -1))(x)
    assert torch.equal(mapped, torch.softmax(x, -1))
    (got,) = torch.autograd.grad(mapped[..., 0].sum(), x)
    (want,) = torch.autograd.grad(torch.softmax(x, -1)[..., 0].sum(), x)
    assert torch.allclose(got, want, atol=1e-7)
