"""Coefficients go backward through a convolution as its derivative says."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest
import torch
from torch import Tensor

from robcert.certify.verification.network import Convolution, cut, widened
from robcert.certify.verification.network.weights import Weight

if TYPE_CHECKING:
    from robcert.certify.verification.network import Window


class How(NamedTuple):
    """How a convolution reads its argument."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1


CASES = [
    How((3,), (2,), (1,), (1,)),
    How((2,), (5,), (0,), (1,), 2),
    How((3, 3), (1, 1), (1, 1)),
    How((3, 3), (2, 2), (1, 1)),
    How((1, 1), (2, 2), (0, 0)),
    How((4, 3), (2, 3), (2, 0), groups=2),
    How((3, 2), (1, 4), (0, 1), groups=3),
    How((2, 2), (4, 3), (1, 1)),
    How((7, 7), (3, 2), (3, 3)),
    How((3, 3), (2, 2), (2, 1), (2, 3)),
    How((3, 3), (1, 1), (2, 2), (2, 2), 2),
    How((2, 3, 2), (2, 1, 3), (1, 1, 0), (1, 1, 1), 2),
]
SIDES = (11, 9, 7)


def convolution(how: How, dtype: torch.dtype) -> Convolution:
    """A convolution of images of 6 channels with random weights, drawn in ``dtype``."""
    axes = len(how.kernel)
    source, none = (1, 6, *SIDES[:axes]), (0,) * axes
    weight = torch.randn(12, 6 // how.groups, *how.kernel, dtype=dtype).double()
    found = torch.convolution(
        torch.zeros(source, dtype=torch.float64),
        weight,
        None,
        how.stride,
        how.padding,
        how.dilation,
        False,
        none,
        how.groups,
    )
    return Convolution(
        (0,),
        tuple(found.shape),
        "convolution",
        1,
        1,
        Weight(weight),
        how.stride,
        how.padding,
        how.dilation,
        transposed=False,
        output_padding=none,
        groups=how.groups,
        source=source,
    )


def derivative(node: Convolution, rows: Tensor) -> Tensor:
    """Derivative of ``<rows, output>`` by the argument, by torch."""
    x = torch.zeros(len(rows), *node.source, dtype=rows.dtype, requires_grad=True)
    (found,) = torch.autograd.grad((node.apply([x]) * rows).sum(), x)
    return found


def windows(shape: tuple[int, ...]) -> list[Window]:
    """Windows in the corners and in the middle of an output ``(1, c, ...)``."""
    ranges = [
        {(0, max(1, n // 2)), (n // 3, max(n // 3 + 1, n // 2)), (n - max(1, n // 3), n)}
        for n in shape[2:]
    ]
    return [((0, 1), (0, shape[1]), *chosen) for chosen in itertools.product(*map(sorted, ranges))]


@pytest.mark.parametrize("how", CASES, ids=str)
def test_the_transposed_map_is_the_derivative(how: How) -> None:
    torch.manual_seed(0)
    node = convolution(how, torch.float64)
    rows = torch.randn(5, *node.shape, dtype=torch.float64)
    (found,) = node.transpose(rows)
    torch.testing.assert_close(found, derivative(node, rows), rtol=1e-12, atol=1e-12)
    for window in windows(node.shape):
        part = cut(rows, window).contiguous()
        whole = widened(part, window, None, node.shape)
        (read,) = node.reads(window)
        (found,) = node.transpose(part, window)
        expected = derivative(node, whole)
        torch.testing.assert_close(found, cut(expected, read), rtol=1e-12, atol=1e-12)
        assert float(expected.abs().sum()) == pytest.approx(float(found.abs().sum()))


@pytest.mark.parametrize("how", CASES, ids=str)
def test_the_transposed_map_has_a_gradient(how: How) -> None:
    torch.manual_seed(1)
    node = convolution(how, torch.float64)
    rows = torch.randn(2, *node.shape, dtype=torch.float64, requires_grad=True)
    other = torch.randn(2, *node.source, dtype=torch.float64)
    (found,) = node.transpose(rows)
    (gradient,) = torch.autograd.grad((found * other).sum(), rows)
    torch.testing.assert_close(gradient, node.apply([other]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("how", CASES, ids=str)
def test_in_float32_each_coefficient_is_off_by_its_roundings(how: How) -> None:
    torch.manual_seed(2)
    node = convolution(how, torch.float32)
    rows = torch.randn(3, *node.shape).exp() * torch.randn(3, *node.shape).sign()
    (found,) = node.transpose(rows)
    exact = derivative(node, rows.double())
    positive = replace(node, weight=Weight(node.weight.exact.abs()), phases={})
    size = derivative(positive, rows.double().abs())
    uses = node.weight.exact[:, 0].numel()
    assert bool(((found.double() - exact).abs() <= uses * 2.0**-24 * size).all())
