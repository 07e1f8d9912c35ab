"""Errors of single operations on constants, at the edges of float32 and of integers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from robcert.certify.verification.network.constant_errors import ConstantCall
from robcert.certify.verification.network.precision import UNIT, is_exact

aten = torch.ops.aten


def error_of(name: str, target: Any, *arguments: Any, **keywords: Any) -> Any:
    call = ConstantCall(name, target, arguments, keywords, [None] * len(arguments))
    return call.error_of(target(*arguments, **keywords), moves=False)


def wide(*values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_sums_that_overflow_on_the_way_have_no_bound() -> None:
    """2e38 + 2e38 - 3.4e38 is 6e37, but infinite in float32."""
    large, ones = wide([2e38, 2e38]), wide([1.0], [1.0])
    assert error_of("addmm", aten.addmm, wide([-3.4e38]), large, ones) == torch.inf
    assert error_of("addmm", aten.addmm, wide([-3.4e7]), large * 1e-31, ones) < 1e3
    zero = torch.zeros(2, dtype=torch.long)
    added = error_of("scatter_add", aten.scatter_add, wide(-3.4e38), 0, zero, large[0])
    assert added == torch.inf


@pytest.mark.parametrize(
    ("value", "kind", "known"),
    [
        (255.9, torch.uint8, True),
        (256.0, torch.uint8, False),
        (-0.9, torch.uint8, True),
        (-1.0, torch.uint8, False),
        (2.0**31, torch.int32, False),
        (-(2.0**31), torch.int32, True),
        (2.0**63, torch.int64, False),
        (-(2.0**63), torch.int64, True),
        (float("nan"), torch.int64, False),
        (float("inf"), torch.bool, True),
    ],
)
def test_numbers_that_an_integer_cannot_hold_have_no_bound(
    value: float, kind: torch.dtype, known: bool
) -> None:
    assert is_exact(error_of("_to_copy", aten._to_copy, wide(value), dtype=kind)) == known


def test_numbers_of_python_are_rounded_to_float32() -> None:
    """0.1 is 0.1 + 1.5e-9 there; 0.5 is itself."""
    x = wide(-1.0, 1.0)
    for number, exact in ((0.1, False), (0.5, True)):
        single = float(torch.tensor(number))
        for name, arguments in {
            "new_full": (x, [2], number),
            "full_like": (x, number),
            "clamp": (x, number, 3.0),
            "clamp_min": (x, number),
        }.items():
            error = error_of(name, getattr(aten, name), *arguments)
            assert is_exact(error) == exact
            assert exact or UNIT * number >= float(error.max()) >= abs(single - number)
    assert error_of("full", aten.full, [2], 0.1, dtype=torch.float32) is None  # 0.1 as it is there
    power = error_of("pow", aten.pow, wide(3.0), 0.1)
    assert abs(3**0.1 - 3 ** float(torch.tensor(0.1))) < float(power) < 1e-3
