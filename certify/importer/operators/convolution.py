"""Convolutions of one to three dimensions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from robcert.certify.errors import ModelFileError

from .operator_table import operator

if TYPE_CHECKING:
    from collections.abc import Sequence

CONVOLUTIONS = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def padding_of(
    size: Sequence[int],
    window: Sequence[int],
    *,
    strides: Sequence[int],
    auto_pad: str,
    pads: Sequence[int],
) -> list[tuple[int, int]]:
    """Padding before and after each spatial axis.

    ``SAME_UPPER`` and ``SAME_LOWER`` make the output ceil(size / stride) long and put the odd
    element after or before.

    Args:
        size: spatial shape of the input.
        window: extent of the kernel, dilation included.
        strides: step along each axis.
        auto_pad: ONNX's word.
        pads: explicit padding, all begins and then all ends; empty for none.
    """
    n = len(size)
    if auto_pad in {"NOTSET", ""}:
        return [(pads[i], pads[n + i]) for i in range(n)] if pads else [(0, 0)] * n
    if auto_pad == "VALID":
        return [(0, 0)] * n
    result = []
    for length, extent, stride in zip(size, window, strides, strict=True):
        needed = max(0, (math.ceil(length / stride) - 1) * stride + extent - length)
        less, more = needed // 2, needed - needed // 2
        result.append((less, more) if auto_pad == "SAME_UPPER" else (more, less))
    return result


def padded(x: Tensor, padding: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """``x`` with its last axes padded by ``value``; negative padding crops."""
    if not any(pair != (0, 0) for pair in padding):
        return x
    return functional.pad(x, [n for pair in reversed(padding) for n in pair], value=value)


def extent_of(kernel: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """Input elements that a dilated kernel spans along each axis."""
    return [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]


def _rank(x: Tensor) -> int:
    n = x.ndim - 2
    if n not in CONVOLUTIONS:
        message = f"convolution and pooling need 1 to 3 spatial axes, got {n}"
        raise ModelFileError(message)
    return n


@operator("Conv", ignore=("kernel_shape",))
def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] = (),
    group: int = 1,
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Tensor:
    """Cross-correlation of ``x (b, c, ...)`` with ``weight (m, c / group, ...)``."""
    n = _rank(x)
    strides, dilations = tuple(strides) or (1,) * n, tuple(dilations) or (1,) * n
    window = extent_of(weight.shape[2:], dilations)
    padding = padding_of(x.shape[2:], window, strides=strides, auto_pad=auto_pad, pads=pads)
    inner = [0] * n
    if all(before == after >= 0 for before, after in padding):
        inner = [before for before, _ in padding]
    else:
        x = padded(x, padding)
    return CONVOLUTIONS[n](x, weight, bias, strides, inner, dilations, group)


@operator("ConvTranspose", ignore=("kernel_shape",))
def transposed_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] = (),
    group: int = 1,
    output_padding: Sequence[int] = (),
    output_shape: Sequence[int] = (),
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Tensor:
    """Transpose of the convolution with ``weight (c, m / group, ...)``, cropped by the padding."""
    n = _rank(x)
    strides, dilations = tuple(strides) or (1,) * n, tuple(dilations) or (1,) * n
    extra = tuple(output_padding) or (0,) * n
    full = TRANSPOSED[n](x, weight, None, strides, 0, 0, group, dilations)
    lengths = [length + more for length, more in zip(full.shape[2:], extra, strict=True)]
    target: Sequence[int] = output_shape[-n:]
    if not target and auto_pad.startswith("SAME"):
        target = [length * stride for length, stride in zip(x.shape[2:], strides, strict=True)]
    crop = padding_of(lengths, [1] * n, strides=[1] * n, auto_pad="NOTSET", pads=pads)
    if target:
        crop = [
            _split(length - wanted, upper=auto_pad == "SAME_UPPER")
            for length, wanted in zip(lengths, target, strict=True)
        ]
    y = padded(full, [(-b, more - e) for (b, e), more in zip(crop, extra, strict=True)])
    return y if bias is None else y + bias.reshape(-1, *[1] * n)


def _split(total: int, *, upper: bool) -> tuple[int, int]:
    """``total`` in two halves, the odd element after if ``upper``."""
    less, more = total // 2, total - total // 2
    return (less, more) if upper else (more, less)
