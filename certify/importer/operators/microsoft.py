"""Operators that ONNX Runtime's quantiser and optimiser write, of the domain com.microsoft."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from robcert.certify.errors import ModelFileError
from robcert.certify.numerics import batch_invariant as rows
from robcert.certify.numerics import saturated

from .activations import gelu, sigmoid
from .convolution import convolution
from .linear import gemm, gemm_of_same_rows
from .normalization import layer_normalization, rms_normalization
from .operator_table import operator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

DOMAIN = "com.microsoft"

ALPHAS = {"LeakyRelu": 0.01, "HardSigmoid": 0.2}
"""Defaults of the first parameter of an activation."""

operator("SimplifiedLayerNormalization", ignore=("stash_type",))(rms_normalization)


def activated(x: Tensor, name: str, parameters: Sequence[float]) -> Tensor:
    """``x`` through an activation that was fused with the operator before it."""
    first = parameters[0] if parameters else ALPHAS.get(name, 0.0)
    second = parameters[1] if len(parameters) > 1 else 0.5
    simple = {"": lambda v: v, "Relu": torch.relu, "Tanh": torch.tanh, "Sigmoid": sigmoid}
    if name in simple:
        return simple[name](x)
    if name == "LeakyRelu":
        return functional.leaky_relu(x, first)
    if name == "HardSigmoid":
        return saturated(first * x + second, 0.0, 1.0)
    if name == "Clip" and len(parameters) > 1:
        return saturated(x, first, second)
    message = f"the fused activation {name!r} has no counterpart in a twin"
    raise ModelFileError(message)


@operator("FusedConv", domain=DOMAIN, ignore=("kernel_shape",))
def fused_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    addend: Tensor | None = None,
    *,
    activation: str = "",
    activation_params: Sequence[float] = (),
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] = (),
    group: int = 1,
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Tensor:
    """Convolution, plus ``addend``, through an activation."""
    y = convolution(
        x,
        weight,
        bias,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        pads=pads,
        strides=strides,
    )
    return activated(y if addend is None else y + addend, activation, activation_params)


@operator("FusedGemm", domain=DOMAIN, ignore=("activation_gamma",))
def fused_gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    activation: str = "",
    activation_alpha: float | None = None,
    activation_beta: float = 0.5,
    alpha: float = 1.0,
    beta: float = 1.0,
    trans_a: int = 0,
    trans_b: int = 0,
) -> Tensor:
    """Gemm through an activation."""
    y = gemm(a, b, c, alpha=alpha, beta=beta, trans_a=trans_a, trans_b=trans_b)
    return _activated_gemm(y, activation, activation_alpha, activation_beta)


def fused_gemm_of_same_rows(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    activation: str = "",
    activation_alpha: float | None = None,
    activation_beta: float = 0.5,
    **attributes: Any,
) -> Tensor:
    """:func:`fused_gemm` for a batch, whose rows do not depend on one another."""
    y = gemm_of_same_rows(a, b, c, **attributes)
    return _activated_gemm(y, activation, activation_alpha, activation_beta)


def _activated_gemm(y: Tensor, activation: str, alpha: float | None, beta: float) -> Tensor:
    return activated(y, activation, () if alpha is None else (alpha, beta))


@operator("FusedMatMul", domain=DOMAIN)
@operator("TransposeMatMul", domain=DOMAIN)
def fused_product(
    a: Tensor,
    b: Tensor,
    *,
    alpha: float = 1.0,
    trans_a: int = 0,
    trans_b: int = 0,
    trans_batch_a: int = 0,
    trans_batch_b: int = 0,
) -> Tensor:
    """Alpha A B, the factors transposed on request."""
    if trans_batch_a or trans_batch_b:
        message = "FusedMatMul with a transposed batch has no counterpart in a twin"
        raise ModelFileError(message)
    return alpha * torch.matmul(*_turned(a, b, trans_a, trans_b))


def fused_product_of_same_rows(
    a: Tensor,
    b: Tensor,
    *,
    alpha: float = 1.0,
    trans_a: int = 0,
    trans_b: int = 0,
    **_untransposed: int,
) -> Tensor:
    """:func:`fused_product` for a batch, whose rows do not depend on one another."""
    return alpha * rows.matmul(*_turned(a, b, trans_a, trans_b))


def _turned(a: Tensor, b: Tensor, trans_a: int, trans_b: int) -> tuple[Tensor, Tensor]:
    left = a.transpose(-1, -2) if trans_a and a.ndim > 1 else a
    right = b.transpose(-1, -2) if trans_b and b.ndim > 1 else b
    return left, right


@operator("BiasGelu", domain=DOMAIN)
def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """Gelu of ``x`` + bias."""
    return gelu(x + bias)


@operator("FastGelu", domain=DOMAIN)
def fast_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Gelu of ``x`` + bias by its approximation with tanh."""
    return gelu(x if bias is None else x + bias, approximate="tanh")


@operator("QuickGelu", domain=DOMAIN)
def quick_gelu(x: Tensor, *, alpha: float = 1.702) -> Tensor:
    """``x`` times the logistic function of alpha x."""
    return x * sigmoid(alpha * x)


@operator("SkipLayerNormalization", domain=DOMAIN)
def skip_layer_normalization(
    x: Tensor,
    skip: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """Layer normalisation of ``x`` + skip + bias; the fourth output is that sum."""
    total = x + skip if bias is None else x + skip + bias
    parts = layer_normalization(
        total, scale, shift, epsilon=epsilon, n_outputs=3 if n_outputs > 1 else 1
    )
    return (*parts, total)[:n_outputs]
