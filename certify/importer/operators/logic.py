"""Comparisons, logic, bits and types: operators without a useful gradient."""

from __future__ import annotations

import operator as python
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.importer.elements import LIMITS, ROUNDED, carrier
from robcert.certify.importer.table import Gradient, operator

from .common import with_slope

if TYPE_CHECKING:
    from collections.abc import Callable


def _enter(name: str, function: Callable[[Tensor, Tensor], Tensor], since: int) -> None:
    def compare(x: Tensor, y: Tensor) -> Tensor:
        return function(x, y)

    operator(name, since=since, gradient=Gradient.NONE)(compare)


for _name, _function, _since in (
    ("Equal", torch.eq, 7),
    ("Greater", torch.gt, 7),
    ("GreaterOrEqual", torch.ge, 12),
    ("Less", torch.lt, 7),
    ("LessOrEqual", torch.le, 12),
    ("And", torch.logical_and, 7),
    ("Or", torch.logical_or, 7),
    ("Xor", torch.logical_xor, 7),
    ("BitwiseAnd", python.and_, 18),
    ("BitwiseOr", python.or_, 18),
    ("BitwiseXor", python.xor, 18),
):
    _enter(_name, _function, _since)


@operator("Not", gradient=Gradient.NONE)
def negation(x: Tensor) -> Tensor:
    """True where x is false."""
    return torch.logical_not(x)


@operator("IsNaN", since=9, gradient=Gradient.NONE)
def is_nan(x: Tensor) -> Tensor:
    """Where x is not a number."""
    return torch.isnan(x)


@operator("IsInf", since=10, gradient=Gradient.NONE)
def is_infinite(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    """Where x is infinite, with the signs asked for."""
    negative = torch.isneginf(x) if detect_negative else torch.zeros_like(x, dtype=torch.bool)
    return negative | torch.isposinf(x) if detect_positive else negative


@operator("BitwiseNot", since=18, gradient=Gradient.NONE)
def bitwise_negation(x: Tensor, *, input_types: tuple[int, ...] = ()) -> Tensor:
    """Every bit turned over, in the type's own width."""
    y = torch.bitwise_not(x)
    low, high = LIMITS.get(input_types[0], (-1, 0)) if input_types else (-1, 0)
    return y if low < 0 else y & high


@operator("Cast", since=6, ignore=("saturate", "round_mode"))
def cast(x: Tensor, *, to: int) -> Tensor:
    """``x`` in another element type; half precision is rounded to, with slope 1."""
    kind = carrier(to)
    if to in ROUNDED and x.is_floating_point():
        return with_slope(x.to(ROUNDED[to]).to(kind), x.to(kind))
    if to in LIMITS and x.is_floating_point():
        return x.to(torch.int64).to(kind)  # straight to 8 bits is undefined where it overflows
    return x.to(ROUNDED[to]).to(kind) if to in ROUNDED else x.to(kind)


@operator("CastLike", since=15, ignore=("saturate", "round_mode"))
def cast_like(x: Tensor, like: Tensor, *, input_types: tuple[int, ...] = ()) -> Tensor:
    """``x`` in the element type of another tensor."""
    kind = input_types[1] if len(input_types) > 1 else 0
    return cast(x, to=kind) if kind else x.to(like.dtype)
