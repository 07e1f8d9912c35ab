"""Comparisons, logic, bits and types: operators without a useful gradient."""

from __future__ import annotations

import operator as python
from typing import TYPE_CHECKING

import torch
from onnx import TensorProto
from torch import Tensor

from ..graph.elements import LIMITS, ROUNDED, carrier, rounded_to
from .common import with_slope
from .operator_table import Gradient, operator

if TYPE_CHECKING:
    from collections.abc import Callable


WIDE = frozenset({TensorProto.INT32, TensorProto.INT64})


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
    """Where x is infinite, with the requested signs."""
    negative = torch.isneginf(x) if detect_negative else torch.zeros_like(x, dtype=torch.bool)
    return negative | torch.isposinf(x) if detect_positive else negative


@operator("BitwiseNot", since=18, gradient=Gradient.NONE)
def bitwise_negation(x: Tensor, *, input_types: tuple[int, ...] = ()) -> Tensor:
    """Every bit turned over, in the type's own width."""
    y = torch.bitwise_not(x)
    low, high = LIMITS.get(input_types[0], (-1, 0)) if input_types else (-1, 0)
    return y if low < 0 else y & high


@operator("BitShift", since=11, gradient=Gradient.NONE)
def bit_shift(x: Tensor, y: Tensor, *, direction: str, input_types: tuple[int, ...] = ()) -> Tensor:
    """``x`` shifted by y bits, in the type's own width."""
    if direction == "RIGHT":
        return torch.bitwise_right_shift(x, y)
    shifted = torch.bitwise_left_shift(x.to(torch.int64), y.to(torch.int64))
    kind = input_types[0] if input_types else 0
    return _wrapped(shifted, kind) if kind in LIMITS else shifted.to(x.dtype)


@operator("Cast", since=6, ignore=("round_mode",))
def cast(x: Tensor, *, to: int, saturate: int = 1, input_types: tuple[int, ...] = ()) -> Tensor:
    """``x`` in another element type; narrow floats are rounded to, with slope 1.

    Integers that are carried as floats (pixels, quantised numbers) stay floats in a type that
    holds them all, so that their gradient is not lost.
    """
    kind = carrier(to)
    if x.is_floating_point() and _holds(to, input_types[0] if input_types else 0):
        return x.clone()  # proofs refuse what follows: integers may wrap around
    if to in ROUNDED:
        wide = x.to(kind)
        return with_slope(rounded_to(wide, to, saturate=bool(saturate)), wide)
    if to in LIMITS and x.dtype != torch.bool:
        return _wrapped(x.to(torch.int64), to)
    return x.to(kind)


def _holds(wide: int, narrow: int) -> bool:
    """Whether the integer type ``wide`` has every value of the integer type ``narrow``."""
    if narrow not in LIMITS:
        return False
    low, high = LIMITS.get(wide, (-(2**31), 2**31 - 1) if wide in WIDE else (0, 0))
    return low <= LIMITS[narrow][0] and LIMITS[narrow][1] <= high


def _wrapped(x: Tensor, kind: int) -> Tensor:
    """Integers ``x`` modulo the range of a narrow type, as a cast that overflows gives them."""
    low, high = LIMITS[kind]
    return ((x - low) % (high - low + 1) + low).to(carrier(kind))


@operator("CastLike", since=15, ignore=("round_mode",))
def cast_like(
    x: Tensor, like: Tensor, *, saturate: int = 1, input_types: tuple[int, ...] = ()
) -> Tensor:
    """``x`` in the element type of another tensor."""
    kind = input_types[1] if len(input_types) > 1 else 0
    return cast(x, to=kind, saturate=saturate) if kind else x.to(like.dtype)
