"""What float32 has of a number, and errors of constants as tensors of bounds."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

UNIT = 2.0**-24
"""Unit roundoff of float32."""

FUNCTION = 2.0**-20
"""Relative error of an elementary function in float32."""

VANISHING = 1e-37
"""Error where a number is too small for the precision of float32."""

NARROW = (torch.float16, torch.bfloat16)
"""Types to which some runtimes round and others do not, where they lack an operation in them."""

LARGEST = 1e38
"""Beyond it a number, or a partial sum, may overflow in float32."""

Error = Any
"""A bound for each element of a constant; None for one that is exact; lists of these."""


def is_exact(error: Error) -> bool:
    """Whether all of several errors are 0."""
    if isinstance(error, list | tuple):
        return all(map(is_exact, error))
    return error is None or not bool((error != 0).any())


def has_floats(values: Any) -> bool:
    """Whether a tensor of numbers is among arguments."""
    if isinstance(values, list | tuple):
        return any(map(has_floats, values))
    return isinstance(values, Tensor) and values.is_floating_point()


def in_float32(value: Any) -> Tensor:
    """Where numbers, or a number, are those of float32."""
    value = torch.as_tensor(value, dtype=torch.float64)
    return value == value.float().double()


def unknown(result: Tensor) -> Tensor:
    """The error of a tensor of which nothing is known."""
    return torch.full_like(result, math.inf, dtype=torch.float64)


def unknown_error(result: Any) -> Error:
    """The error of a result of which nothing is known."""
    if isinstance(result, list | tuple):
        return [unknown_error(part) for part in result]
    return torch.full(torch.as_tensor(result).shape, math.inf, dtype=torch.float64)
