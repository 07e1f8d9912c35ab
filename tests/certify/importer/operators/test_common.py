"""Values with a slope that is not their own."""

from __future__ import annotations

import torch

from robcert.certify.importer.operators.common import with_slope


def test_a_value_has_the_same_bits_with_and_without_gradients() -> None:
    value = torch.tensor([-0.0, 0.0, 1.0, -2.0, torch.inf, torch.nan])
    x = torch.tensor([0.1, 0.2, 0.3, torch.inf, torch.nan, 0.4], requires_grad=True)
    with_gradients = with_slope(value, x, torch.full((6,), 3.0))
    with torch.no_grad():
        without = with_slope(value, x, torch.full((6,), 3.0))
    assert torch.equal(with_gradients.view(torch.int32), without.view(torch.int32))
    (slope,) = torch.autograd.grad(with_gradients.nan_to_num().sum(), x)
    assert slope[:3].tolist() == [3.0, 3.0, 3.0]
    assert slope[3:5].tolist() == [0.0, 0.0]
