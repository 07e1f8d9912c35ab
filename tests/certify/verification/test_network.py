"""The network of a function computes the function."""

from __future__ import annotations

import pytest
import torch
from operator_cases import CASES, OperatorCase
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.verification.network import Network, Relu, traced, translated
from robcert.certify.verification.network.nodes import Affine


def network_of(case: OperatorCase) -> Network:
    return translated(*traced(case.function, case.shape))


def images(case: OperatorCase, n: int, *, seed: int = 0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.rand(n, *case.shape, generator=draws)


@pytest.mark.parametrize("name", list(CASES))
def test_every_operator_is_translated(name: str) -> None:
    case = CASES[name]
    network = network_of(case)
    x = images(case, 32).double()
    x[:2] = torch.tensor([0.0, 1.0]).view(2, *[1] * len(case.shape))
    expected = case.function(x)
    assert network(x).shape == expected.shape
    assert torch.allclose(network(x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", list(CASES))
def test_affine_operations_agree_with_their_transpose(name: str) -> None:
    """<rows, A x + c> = <A^T rows, x> + <rows, c> for every affine operation."""
    case = CASES[name]
    network = network_of(case)
    values = network.values(images(case, 1).double())
    draws = torch.Generator().manual_seed(3)
    for at, node in enumerate(network.nodes):
        if not isinstance(node, Affine):
            continue
        rows = torch.randn(3, *node.shape, generator=draws, dtype=torch.float64)
        parts = node.transpose(rows)
        left = (rows * values[at]).flatten(1).sum(1)
        right = node.constant(rows)
        size = torch.zeros(3, dtype=torch.float64)
        for parent, part in zip(node.parents, parts, strict=True):
            right = right + (part * values[parent]).flatten(1).sum(1)
            size = size + (part * values[parent]).flatten(1).abs().sum(1)
        assert torch.allclose(left, right, rtol=1e-9, atol=1e-9 * float(1 + size.max()))


def test_numbers_of_terms_and_uses_are_not_understated() -> None:
    """``terms`` and ``uses`` bound the non-zero coefficients of each output and each argument."""
    for name, case in CASES.items():
        network = network_of(case)
        for node in network.nodes:
            if not isinstance(node, Affine) or node.size * 4 > 4000:
                continue
            rows = torch.eye(node.size, dtype=torch.float64).view(node.size, *node.shape)
            parts = [part.flatten(1) != 0 for part in node.transpose(rows)]
            terms = sum(part.sum(1) for part in parts)
            assert int(torch.as_tensor(terms).max()) <= node.terms, name
            assert max(int(part.sum(0).max()) for part in parts) <= node.uses, name


def test_in_place_operations_of_views_change_what_they_view() -> None:
    def function(x: Tensor) -> Tensor:
        y = x.flatten(1) * 1.0
        y[:, :2].clamp_(0, 0.9)
        return y

    network = translated(*traced(function, (1, 2, 2)))
    assert float(network(torch.ones(1, 1, 2, 2).double())[0, 0]) == pytest.approx(0.9)


def test_a_view_of_what_is_changed_later_sees_the_change() -> None:
    def function(x: Tensor) -> Tensor:
        y = x.flatten(1) * 2 - 1
        view = y[:, :2]
        y.clamp_(0, 0.1)
        return view + 0

    network = translated(*traced(function, (1, 2, 2)))
    assert float(network(torch.ones(1, 1, 2, 2).double()).max()) == pytest.approx(0.1)


def test_unused_operations_are_left_out() -> None:
    def function(x: Tensor) -> Tensor:
        torch.relu(x - 2)
        return x.flatten(1)

    network = translated(*traced(function, (1, 2, 2)))
    assert not any(isinstance(node, Relu) for node in network.nodes)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.flatten(1) if float(x.sum()) > 1 else -x.flatten(1),
        lambda x: x.flatten(1).sort(1).values,
        lambda x: x.flatten(1).to(torch.float16).float(),
        lambda x: x.flatten(1)[:, x.flatten(1).argmax(1)],
        lambda x: F.softplus(x.flatten(1), threshold=1.0),
        lambda x: torch.ops.aten.elu(x.flatten(1), 1.0, 1.0, 2.0),
        lambda x: x.flatten(1) * torch.rand_like(x.flatten(1)),
        lambda x: x.flatten(1) + 1e-6 * torch.rand(4),
        lambda x: torch.zeros(len(x), 3),
        lambda x: nn.BatchNorm2d(1)(x).flatten(1),
        lambda x: torch.where(~(x < 0), x, 0 * x).flatten(1),
        lambda x: (x * (x < 0).float()).flatten(1),
        lambda x: torch.cat([x < 0, x < 0]).float().flatten(1),
        lambda x: torch.where(x < 0, 1 - x, x).flatten(1),
        lambda x: torch.div(x, 2.0, rounding_mode="floor").flatten(1),
        lambda x: F.pad(x.flatten(1)[:, :0], (0, 2), value=0.25) + x.flatten(1)[:, :2],
        lambda x: F.max_pool2d(F.pad(x, [2, 2, 2, 2], value=-torch.inf), 2).flatten(1),
    ],
    ids=[
        "depends on values",
        "sort",
        "half",
        "argmax",
        "softplus",
        "elu",
        "random",
        "a little random",
        "constant",
        "training",
        "negated comparison",
        "mask of a comparison",
        "comparisons together",
        "choice by a comparison",
        "rounded division",
        "constants of an empty tensor",
        "window in the padding",
    ],
)
def test_what_cannot_be_bounded_is_refused(function: object) -> None:
    with pytest.raises(UnsupportedOperatorError):
        translated(*traced(function, (1, 2, 2)))  # type: ignore[arg-type]
