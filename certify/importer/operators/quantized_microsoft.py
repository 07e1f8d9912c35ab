"""Quantised operators of the domain com.microsoft: dequantise, compute, quantise again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from .activations import sigmoid, softmax, softmax_of_rows
from .operator_table import Gradient, operator
from .pooling import average_pool, spatial_axes
from .quantized import (
    dequantize_linear,
    dynamic_quantize_linear,
    integer_product,
    limits_of,
    quantized,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

DOMAIN = "com.microsoft"
STEP = Gradient.NUMBER_FORMAT


def _onto_grid(
    y: Tensor,
    scale: Tensor,
    zero: Tensor | None,
    kinds: tuple[int, ...],
    place: int,
    *,
    straight_through: bool,
) -> Tensor:
    """``y`` quantised; ``place`` is the position of the zero point among the node's inputs."""
    kind = kinds[place] if len(kinds) > place and kinds[place] else kinds[0] if kinds else 0
    wide = None if zero is None else zero.to(torch.float32)
    return quantized(y, scale, wide, limits_of(kind), straight_through=straight_through)


@operator("QLinearAdd", domain=DOMAIN, gradient=STEP)
def quantized_sum(
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor | None,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
    *,
    input_types: tuple[int, ...] = (),
    straight_through: bool = False,
) -> Tensor:
    """Sum of two quantised tensors."""
    y = dequantize_linear(a, a_scale, a_zero) + dequantize_linear(b, b_scale, b_zero)
    return _onto_grid(y, y_scale, y_zero, input_types, 7, straight_through=straight_through)


@operator("QLinearMul", domain=DOMAIN, gradient=STEP)
def quantized_multiple(
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor | None,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
    *,
    input_types: tuple[int, ...] = (),
    straight_through: bool = False,
) -> Tensor:
    """Product of two quantised tensors, entry by entry."""
    y = dequantize_linear(a, a_scale, a_zero) * dequantize_linear(b, b_scale, b_zero)
    return _onto_grid(y, y_scale, y_zero, input_types, 7, straight_through=straight_through)


@operator("QLinearSigmoid", domain=DOMAIN, gradient=STEP)
def quantized_sigmoid(
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
    *,
    input_types: tuple[int, ...] = (),
    straight_through: bool = False,
) -> Tensor:
    """Logistic function of a quantised tensor."""
    y = sigmoid(dequantize_linear(x, x_scale, x_zero))
    return _onto_grid(y, y_scale, y_zero, input_types, 4, straight_through=straight_through)


@operator("QLinearLeakyRelu", domain=DOMAIN, gradient=STEP)
def quantized_leaky_relu(
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
    *,
    alpha: float = 0.01,
    input_types: tuple[int, ...] = (),
    straight_through: bool = False,
) -> Tensor:
    """LeakyRelu of a quantised tensor."""
    y = functional.leaky_relu(dequantize_linear(x, x_scale, x_zero), alpha)
    return _onto_grid(y, y_scale, y_zero, input_types, 4, straight_through=straight_through)


@operator("QLinearSoftmax", domain=DOMAIN, gradient=STEP)
def quantized_softmax(
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
    *,
    axis: int = -1,
    opset: int = 13,
    input_types: tuple[int, ...] = (),
    straight_through: bool = False,
) -> Tensor:
    """Softmax of a quantised tensor, in the meaning of an opset."""
    logits = dequantize_linear(x, x_scale, x_zero)
    y = softmax_of_rows(logits, axis=axis) if opset < 13 else softmax(logits, axis=axis)
    return _onto_grid(y, y_scale, y_zero, input_types, 4, straight_through=straight_through)


@operator("QLinearGlobalAveragePool", domain=DOMAIN, gradient=STEP)
def quantized_global_average_pool(
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
    *,
    channels_last: int = 0,
    input_types: tuple[int, ...] = (),
    straight_through: bool = False,
) -> Tensor:
    """Mean of a quantised tensor over its spatial axes."""
    axes = spatial_axes(x, channels_last=bool(channels_last))
    y = dequantize_linear(x, x_scale, x_zero).mean(axes, keepdim=True)
    return _onto_grid(y, y_scale, y_zero, input_types, 4, straight_through=straight_through)


@operator("QLinearAveragePool", domain=DOMAIN, gradient=STEP)
def quantized_average_pool(
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    channels_last: int = 0,
    count_include_pad: int = 0,
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
    input_types: tuple[int, ...] = (),
    straight_through: bool = False,
) -> Tensor:
    """Mean of each window of a quantised tensor."""
    real = dequantize_linear(x, x_scale, x_zero)
    y = average_pool(
        real.movedim(-1, 1) if channels_last else real,
        kernel_shape=kernel_shape,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        pads=pads,
        strides=strides,
    )
    y = y.movedim(1, -1) if channels_last else y
    return _onto_grid(y, y_scale, y_zero, input_types, 4, straight_through=straight_through)


@operator("QLinearConcat", domain=DOMAIN, gradient=STEP)
def quantized_concatenation(
    y_scale: Tensor,
    y_zero: Tensor,
    *values: Tensor,
    axis: int,
    input_types: tuple[int, ...] = (),
    straight_through: bool = False,
) -> Tensor:
    """Quantised tensors (each with scale and zero point) brought to one grid and joined."""
    triples = zip(values[::3], values[1::3], values[2::3], strict=True)
    y = torch.cat([dequantize_linear(x, scale, zero) for x, scale, zero in triples], axis)
    return _onto_grid(y, y_scale, y_zero, input_types, 1, straight_through=straight_through)


@operator("QGemm", domain=DOMAIN, gradient=STEP)
def quantized_gemm(
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor | None,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor | None,
    c: Tensor | None = None,
    y_scale: Tensor | None = None,
    y_zero: Tensor | None = None,
    *,
    alpha: float = 1.0,
    trans_a: int = 0,
    trans_b: int = 0,
    input_types: tuple[int, ...] = (),
    straight_through: bool = False,
) -> Tensor:
    """Alpha A B + C of quantised matrices; C is in units of alpha times both scales.

    Without a scale of its own the result is not quantised again.
    """
    left = dequantize_linear(a, a_scale, a_zero)
    right = dequantize_linear(b, b_scale, b_zero, axis=0 if trans_b else 1)
    y = alpha * torch.matmul(left.t() if trans_a else left, right.t() if trans_b else right)
    if c is not None:
        y = y + c.to(y.dtype) * (alpha * a_scale * b_scale)
    if y_scale is None:
        return y
    return _onto_grid(y, y_scale, y_zero, input_types, 8, straight_through=straight_through)


@operator("MatMulIntegerToFloat", domain=DOMAIN)
def integer_product_to_float(
    a: Tensor,
    b: Tensor,
    a_scale: Tensor,
    b_scale: Tensor,
    a_zero: Tensor | None = None,
    b_zero: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Matrix product of quantised numbers as a real number, plus a bias."""
    y = integer_product(a, b, a_zero, b_zero) * a_scale * b_scale
    return y if bias is None else y + bias


@operator("DynamicQuantizeMatMul", domain=DOMAIN, gradient=STEP)
def dynamically_quantized_product(
    a: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    straight_through: bool = False,
) -> Tensor:
    """``a`` quantised over its own range, times a quantised matrix, plus a bias."""
    y, scale, zero = dynamic_quantize_linear(a, straight_through=straight_through)
    return integer_product_to_float(y, b, scale, b_scale, zero, b_zero, bias)
