"""The lines that a tangent chooses: their gradient, and that the gradient changes no number."""

from __future__ import annotations

import pytest
import torch

from robcert.certify.verification.relaxations import relaxation

SMOOTH = ("sigmoid", "tanh", "exp", "gelu", "silu", "softplus", "square", "elu", "reciprocal")


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "abs", "clip", *SMOOTH])
def test_gradient_agrees_with_differences(name: str) -> None:
    function = relaxation(name)
    lower = torch.tensor([-1.0, -2.0, -0.5, -3.0], dtype=torch.float64)
    upper = torch.tensor([1.5, 0.5, 2.5, -1.0], dtype=torch.float64)
    if name == "reciprocal":
        lower, upper = lower.abs(), lower.abs() + upper.abs()
    point = lower + 0.3 * (upper - lower)

    def heights(share: torch.Tensor) -> torch.Tensor:
        lines = function.lines(lower, upper, share, upper_tangent=share)
        low = lines.lower_slope * point + lines.lower_offset
        return torch.stack((low, lines.upper_slope * point + lines.upper_offset))

    share = torch.full_like(lower, 0.45).requires_grad_()
    for side in range(2):
        (found,) = torch.autograd.grad(heights(share)[side].sum(), share)
        with torch.no_grad():
            expected = (heights(share + 1e-4) - heights(share - 1e-4))[side] / 2e-4
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=1e-4)


@pytest.mark.parametrize("name", ["relu", "sign", "floor", "sin", "log", "sqrt", *SMOOTH])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_changes_no_number(name: str, dtype: torch.dtype) -> None:
    function = relaxation(name)
    generator = torch.Generator().manual_seed(5)
    lower = torch.randn(200, generator=generator, dtype=dtype) * 2
    if name in ("log", "sqrt", "reciprocal"):
        lower = lower.abs()
    upper = lower + torch.rand(200, generator=generator, dtype=dtype) * 4
    share = torch.rand(200, generator=generator, dtype=dtype)
    plain = function.lines(lower, upper, share, upper_tangent=share)
    followed = share.clone().requires_grad_()
    lines = function.lines(lower, upper, followed, upper_tangent=followed)
    total = torch.zeros((), dtype=dtype)
    for part in ("lower_slope", "lower_offset", "upper_slope", "upper_offset"):
        assert torch.equal(getattr(plain, part), getattr(lines, part))
        total = total + getattr(lines, part).sum()
    if total.requires_grad:
        (gradient,) = torch.autograd.grad(total, followed)
        assert gradient.isfinite().all()


def test_extreme_tangents_touch_at_the_ends() -> None:
    function = relaxation("exp")
    lower, upper = torch.tensor([-1.0]), torch.tensor([2.0])
    for share, end in ((0.0, lower), (1.0, upper)):
        lines = function.lines(lower, upper, torch.tensor([share]))
        torch.testing.assert_close(lines.lower_slope, end.exp())
        torch.testing.assert_close(lines.lower_slope * end + lines.lower_offset, end.exp())


def test_tangents_outside_their_interval_are_cut() -> None:
    function = relaxation("relu")
    lower, upper = torch.tensor([-1.0, -1.0, -1.0]), torch.tensor([2.0, 2.0, 2.0])
    lines = function.lines(lower, upper, torch.tensor([-0.5, 1.5, torch.nan]))
    assert lines.lower_slope.tolist() == [0, 1, 0]
