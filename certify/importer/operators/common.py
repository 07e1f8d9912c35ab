"""What several operators share: Python numbers out of tensors, limits, straight-through slopes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from robcert.certify.errors import ModelFileError

from ..graph.graph import MAX_ELEMENTS

Ints = Tensor | Sequence[int] | int | None
"""Numbers as an attribute, a constant or a tensor computed from shapes gives them."""


def ints(value: Ints) -> tuple[int, ...]:
    """The numbers in ``value`` as Python integers."""
    if value is None:
        return ()
    if isinstance(value, Tensor):
        value = value.flatten().tolist()
    return (int(value),) if isinstance(value, int | float) else tuple(int(n) for n in value)


def floats(value: Tensor | Sequence[float] | float | None) -> tuple[float, ...]:
    """The numbers in ``value`` as Python floats."""
    if value is None:
        return ()
    if isinstance(value, Tensor):
        value = value.flatten().tolist()
    return (float(value),) if isinstance(value, int | float) else tuple(float(n) for n in value)


def scalar(value: Tensor | Sequence[float] | float | None, like: Tensor) -> Tensor | None:
    """The one number in ``value`` as a tensor without axes, of the type of ``like``."""
    if not isinstance(value, Tensor):
        numbers = floats(value)
        return like.new_tensor(numbers[0]) if numbers else None
    return value.reshape(()).to(like) if value.numel() else None


def axis_within(axis: int, n_axes: int) -> int:
    """``axis`` counted from the front."""
    if not -n_axes <= axis < max(n_axes, 1):
        message = f"axis {axis} does not exist in a tensor of {n_axes} axes"
        raise ModelFileError(message)
    return axis + n_axes if axis < 0 else axis


def axes_within(axes: Iterable[int], n_axes: int) -> tuple[int, ...]:
    """``axes`` counted from the front."""
    return tuple(axis_within(axis, n_axes) for axis in axes)


def checked_size(shape: Sequence[int]) -> tuple[int, ...]:
    """``shape``, unless a tensor of it would be absurdly large."""
    if any(n < 0 for n in shape) or math.prod(shape) > MAX_ELEMENTS:
        message = f"a node makes a tensor of shape {list(shape)}, more than {MAX_ELEMENTS} elements"
        raise ModelFileError(message)
    return tuple(shape)


def with_slope(value: Tensor, x: Tensor, slope: Tensor | float = 1.0) -> Tensor:
    """Exactly ``value``, with the gradient ``slope`` with respect to ``x``."""
    if not torch.is_grad_enabled():
        return value.detach() + 0.0  # no -0.0, as below
    zero = torch.where(x.isfinite(), x - x.detach(), 0.0)
    return value.detach() + zero * slope


def channelwise(vector: Tensor, like: Tensor, axis: int = 1) -> Tensor:
    """``vector (c,)`` shaped to broadcast along ``axis`` of ``like``."""
    shape = [1] * like.ndim
    shape[axis] = -1
    return vector.reshape(shape)
