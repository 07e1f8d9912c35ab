"""Quantised operators.

Quantised values are carried as floats that hold integers, so that gradients pass. The exact
gradient is zero; the straight-through one is that of the identity inside the range (Bengio et al.
2013, arXiv:1308.3432).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robcert.certify.errors import ModelFileError

from ..graph.elements import LIMITS, ROUNDED, rounded_to, type_name
from .common import axis_within, channelwise, with_slope
from .convolution import convolution
from .operator_table import Gradient, operator

if TYPE_CHECKING:
    from collections.abc import Sequence

UINT8 = 2


def limits_of(kind: int) -> tuple[int, int]:
    """Range of the quantised type ``kind``; uint8 where it is not known."""
    if kind and kind not in LIMITS:
        message = f"quantisation to {type_name(kind)} has no counterpart in a twin"
        raise ModelFileError(message)
    return LIMITS[kind or UINT8]


def quantized(
    x: Tensor,
    scale: Tensor,
    zero: Tensor | None,
    limits: tuple[int, int],
    *,
    straight_through: bool,
) -> Tensor:
    """round(x / scale) + zero, saturated to ``limits``; the arguments broadcast."""
    steps = x / scale
    wide = torch.round(steps) if zero is None else torch.round(steps) + zero
    value = torch.clamp(wide, *limits)
    if not straight_through:
        return value
    return with_slope(value, steps, (value == wide).to(steps.dtype).detach())


def _along(parameter: Tensor, x: Tensor, axis: int, block: int) -> Tensor:
    """A scale or zero point, one number, one a slice or one a block, shaped to meet x."""
    parameter = parameter.to(torch.float32)
    if parameter.numel() == 1:
        return parameter.reshape(())
    axis = axis_within(axis, x.ndim)
    if block:
        return parameter.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    return channelwise(parameter, x, axis)


@operator("QuantizeLinear", since=10, gradient=Gradient.NUMBER_FORMAT, ignore=("precision",))
@operator("QuantizeLinear", domain="com.microsoft", gradient=Gradient.NUMBER_FORMAT)
def quantize_linear(
    x: Tensor,
    scale: Tensor,
    zero: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    saturate: int = 1,
    input_types: tuple[int, ...] = (),
    straight_through: bool = False,
) -> Tensor:
    """``x`` on the integer grid, or (8-bit floats) on theirs."""
    kind = input_types[2] if zero is not None and len(input_types) > 2 else output_dtype
    wide = None if zero is None else _along(zero, x, axis, block_size)
    steps = _along(scale, x, axis, block_size)
    if kind in ROUNDED:
        grid = x / steps
        return with_slope(rounded_to(grid, kind, saturate=bool(saturate)), grid)
    return quantized(
        x.to(torch.float32),
        steps,
        wide,
        limits_of(kind),
        straight_through=straight_through,
    )


@operator("DequantizeLinear", since=10, ignore=("output_dtype",))
@operator("DequantizeLinear", domain="com.microsoft")
def dequantize_linear(
    x: Tensor, scale: Tensor, zero: Tensor | None = None, *, axis: int = 1, block_size: int = 0
) -> Tensor:
    """(x - zero) * scale."""
    steps = x if x.is_floating_point() else x.to(torch.float32)
    if zero is not None:
        steps = steps - _along(zero, x, axis, block_size)
    return steps * _along(scale, x, axis, block_size)


@operator("DynamicQuantizeLinear", since=11, gradient=Gradient.NUMBER_FORMAT)
def dynamic_quantize_linear(
    x: Tensor, *, n_outputs: int = 3, straight_through: bool = False
) -> tuple[Tensor, ...]:
    """``x`` on 8 bits over its own range, and that grid's scale and zero point (held constant)."""
    fixed = x.detach()
    low, high = fixed.amin().clamp(max=0.0), fixed.amax().clamp(min=0.0)
    scale = (high - low) / 255
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = torch.clamp(torch.round(-low / scale), 0, 255)
    y = quantized(x, scale, zero, LIMITS[UINT8], straight_through=straight_through)
    return (y, scale, zero)[:n_outputs]


def _centred(x: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    """``x`` minus its zero point, as floats."""
    steps = x if x.is_floating_point() else x.to(torch.float32)
    return steps if zero is None else steps - _along(zero, x, axis, 0)


@operator("QLinearConv", since=10, gradient=Gradient.NUMBER_FORMAT, ignore=("kernel_shape",))
def quantized_convolution(
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    weight_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] = (),
    group: int = 1,
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
    input_types: tuple[int, ...] = (),
    straight_through: bool = False,
) -> Tensor:
    """Convolution of quantised numbers, quantised again; the bias is in units of both scales."""
    steps = convolution(
        _centred(x, x_zero, 1),
        _centred(weight, weight_zero, 0),
        None if bias is None else bias.to(torch.float32),
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        pads=pads,
        strides=strides,
    )
    scale = _along(x_scale, steps, 1, 0) * _along(weight_scale, steps, 1, 0)
    return quantized(
        steps * scale,
        _along(y_scale, steps, 1, 0),
        _along(y_zero, steps, 1, 0),
        limits_of(input_types[7] if input_types else 0),
        straight_through=straight_through,
    )


@operator("ConvInteger", since=10, ignore=("kernel_shape",))
def integer_convolution(
    x: Tensor,
    weight: Tensor,
    x_zero: Tensor | None = None,
    weight_zero: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] = (),
    group: int = 1,
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Tensor:
    """Convolution of quantised numbers."""
    return convolution(
        _centred(x, x_zero, 1),
        _centred(weight, weight_zero, 0),
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        pads=pads,
        strides=strides,
    )


def _rows(parameter: Tensor, x: Tensor) -> Tensor:
    """A scale or zero point of matrix x, one number or one a row."""
    wide = parameter.to(torch.float32)
    if wide.numel() == 1:
        return wide.reshape(())
    return wide.unsqueeze(-1) if wide.ndim == 1 else wide


def _columns(parameter: Tensor) -> Tensor:
    """A scale or zero point, one number or one a column."""
    wide = parameter.to(torch.float32)
    return wide.reshape(()) if wide.numel() == 1 else wide


@operator("MatMulInteger", since=10)
def integer_product(
    a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
) -> Tensor:
    """Matrix product of quantised numbers."""
    left, right = a.to(torch.float32), b.to(torch.float32)
    left = left if a_zero is None else left - _rows(a_zero, left)
    right = right if b_zero is None else right - _columns(b_zero)
    return torch.matmul(left, right)


@operator("QLinearMatMul", since=10, gradient=Gradient.NUMBER_FORMAT)
def quantized_product(
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    *,
    input_types: tuple[int, ...] = (),
    straight_through: bool = False,
) -> Tensor:
    """Matrix product of quantised numbers, quantised again."""
    y = integer_product(a, b, a_zero, b_zero) * _rows(a_scale, a) * _columns(b_scale)
    return quantized(
        y,
        _rows(y_scale, y),
        _rows(y_zero, y),
        limits_of(input_types[7] if input_types else 0),
        straight_through=straight_through,
    )
