"""Activation functions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from robcert.certify.numerics import saturated, whole_vectors
from robcert.certify.numerics import softmax as row_softmax

from .operator_table import elementwise, operator
from .shaping import flatten

elementwise(torch.relu, "Relu")
elementwise(functional.hardswish, "HardSwish")


@operator("Sigmoid", ignore=("consumed_inputs",))
@whole_vectors
def sigmoid(x: Tensor) -> Tensor:
    """The logistic function 1 / (1 + e^-x)."""
    return torch.sigmoid(x)


@operator("Softplus")
@whole_vectors
def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x)."""
    return functional.softplus(x)


@operator("Mish")
@whole_vectors
def mish(x: Tensor) -> Tensor:
    """``x`` times the hyperbolic tangent of its softplus."""
    return functional.mish(x)


@operator("LeakyRelu", ignore=("consumed_inputs",))
def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """``x``, or alpha x where negative."""
    return functional.leaky_relu(x, alpha)


@operator("PRelu", since=7)
def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """``x``, or slope x where negative; the slope broadcasts."""
    return torch.where(x < 0, slope * x, x)


@operator("Elu", ignore=("consumed_inputs",))
@whole_vectors
def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """``x``, or alpha (e^x - 1) where negative."""
    return functional.elu(x, alpha)


@operator("Selu", since=6)
@whole_vectors
def selu(
    x: Tensor, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.0507010221481323
) -> Tensor:
    """Gamma times Elu."""
    return gamma * functional.elu(x, alpha)


@operator("Celu")
@whole_vectors
def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """``x``, or alpha (e^(x / alpha) - 1) where negative."""
    return functional.celu(x, alpha)


@operator("ThresholdedRelu")
def thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """``x`` where above alpha, else 0."""
    return functional.threshold(x, alpha, 0.0)


@operator("HardSigmoid", ignore=("consumed_inputs",))
def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """Alpha x + beta between 0 and 1."""
    return saturated(alpha * x + beta, 0.0, 1.0)


@operator("Gelu")
@operator("Gelu", domain="com.microsoft")
@whole_vectors
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """``x`` times the normal distribution function of x."""
    return functional.gelu(x, approximate=approximate)


@operator("Swish")
def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """``x`` times the logistic function of alpha x."""
    return x * sigmoid(alpha * x)


@operator("Shrink")
def shrink(x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    """0 where |x| <= lambd, else x moved towards zero by ``bias``."""
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, zero)).to(x.dtype)


@operator("Softmax", since=13)
def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Softmax along one axis."""
    return row_softmax(x, axis)


@operator("LogSoftmax", since=13)
def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Logarithm of the softmax along one axis."""
    return torch.log_softmax(x, axis)


@operator("Hardmax", since=13)
def hardmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """1 at the first greatest entry along an axis, 0 elsewhere."""
    best = x.argmax(axis, keepdim=True)
    return torch.zeros_like(x).scatter(axis, best, 1.0)


def _as_rows(x: Tensor, axis: int) -> Tensor:
    """``x`` as a matrix whose rows run over ``axis`` and all axes after it."""
    return flatten(x, axis=axis)


@operator("Softmax")
def softmax_of_rows(x: Tensor, *, axis: int = 1) -> Tensor:
    """Softmax over ``axis`` and all axes after it together (before version 13)."""
    return row_softmax(_as_rows(x, axis), 1).reshape(x.shape)


@operator("LogSoftmax")
def log_softmax_of_rows(x: Tensor, *, axis: int = 1) -> Tensor:
    """Logarithm of the softmax of rows (before version 13)."""
    return torch.log_softmax(_as_rows(x, axis), 1).reshape(x.shape)


@operator("Hardmax")
def hardmax_of_rows(x: Tensor, *, axis: int = 1) -> Tensor:
    """Hardmax of rows (before version 13)."""
    return hardmax(_as_rows(x, axis), axis=1).reshape(x.shape)
