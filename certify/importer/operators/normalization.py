"""Normalisation layers in inference form."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .arithmetic import raised
from .common import axis_within, channelwise
from .operator_table import operator


@operator("BatchNormalization", since=7)
def batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """Scale (x - mean) / sqrt(variance + epsilon) + bias by channel, with stored statistics.

    ``spatial = 0`` (before version 9) has one statistic an activation instead of one a channel.
    Before version 14 five outputs say training mode, and the runtime takes them so.
    """
    if n_outputs > 1:
        return _by_batch(x, scale, bias, mean, variance, epsilon, momentum)[:n_outputs]
    if not spatial:
        return ((x - mean) * torch.rsqrt(variance + epsilon) * scale + bias,)
    if x.dtype != scale.dtype or x.ndim < 2:
        factor = scale * torch.rsqrt(variance + epsilon)
        shift = bias - mean * factor
        axis = min(1, x.ndim - 1)
        return ((x * channelwise(factor, x, axis) + channelwise(shift, x, axis)).to(x.dtype),)
    return (functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon),)


@operator("BatchNormalization", since=14)
def batch_normalization_with_mode(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """As before; in training mode with the statistics of the batch, which it also returns."""
    if not training_mode:
        return batch_normalization(x, scale, bias, mean, variance, epsilon=epsilon)
    return _by_batch(x, scale, bias, mean, variance, epsilon, momentum)[:n_outputs]


def _by_batch(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    epsilon: float,
    momentum: float,
) -> tuple[Tensor, ...]:
    """Normalised x, the running statistics after it, and those of the batch."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    now, spread = x.mean(axes), x.var(axes, correction=0)
    # Not torch's batch_norm: it has no gradient through statistics that depend on x.
    factor = scale * torch.rsqrt(spread + epsilon)
    y = x * channelwise(factor, x, 1) + channelwise(bias - now * factor, x, 1)
    running = mean * momentum + now * (1 - momentum)
    return y, running, variance * momentum + spread * (1 - momentum), now, spread


@operator("InstanceNormalization", ignore=("consumed_inputs",))
def instance_normalization(
    x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5
) -> Tensor:
    """Each channel of each image to mean 0 and variance 1, then scale and bias."""
    y, _ = _standardised(x, tuple(range(2, x.ndim)), epsilon)
    return y * channelwise(scale, x) + channelwise(bias, x)


def _standardised(x: Tensor, axes: tuple[int, ...], epsilon: float) -> tuple[Tensor, Tensor]:
    """``x`` at mean 0 and variance 1 over ``axes``, and the reciprocal standard deviation."""
    centred = x - x.mean(axes, keepdim=True)
    reciprocal = torch.rsqrt(centred.square().mean(axes, keepdim=True) + epsilon)
    return centred * reciprocal, reciprocal


@operator("LayerNormalization", ignore=("stash_type",))
def layer_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """``axis`` and all after it to mean 0 and variance 1; also mean and 1 / deviation."""
    first = axis_within(axis, x.ndim)
    if n_outputs == 1 and scale.shape == x.shape[first:]:
        return (functional.layer_norm(x, scale.shape, scale, bias, epsilon),)
    axes = tuple(range(first, x.ndim))
    y, reciprocal = _standardised(x, axes, epsilon)
    y = y * scale if bias is None else y * scale + bias
    return (y, x.mean(axes, keepdim=True), reciprocal)[:n_outputs]


@operator("RMSNormalization", ignore=("stash_type",))
def rms_normalization(x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5) -> Tensor:
    """``x`` over the root of its mean square along ``axis`` and all after it, times scale."""
    axes = tuple(range(axis_within(axis, x.ndim), x.ndim))
    return x * torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon) * scale


@operator("GroupNormalization", since=18)
def group_normalization_by_group(
    x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5
) -> Tensor:
    """Groups of channels to mean 0 and variance 1; one scale and bias a group (version 18)."""
    repeats = x.shape[1] // num_groups
    wide = [v.repeat_interleave(repeats) if len(v) == num_groups else v for v in (scale, bias)]
    return group_normalization(x, *wide, num_groups=num_groups, epsilon=epsilon)


@operator("GroupNormalization", since=21, ignore=("stash_type",))
def group_normalization(
    x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5
) -> Tensor:
    """Groups of channels to mean 0 and variance 1; one scale and bias a channel."""
    return functional.group_norm(x, num_groups, scale, bias, epsilon)


@operator("LRN")
def local_response_normalization(
    x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Tensor:
    """``x`` / (bias + alpha / size * sum of squares over ``size`` neighbouring channels)^beta."""
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    planes = x.square().flatten(2).unsqueeze(1)
    wide = functional.pad(planes, (0, 0, before, after))
    sums = wide.unfold(2, size, 1).sum(-1).reshape(x.shape)
    return x / raised(bias + alpha / size * sums, beta)


@operator("LpNormalization")
def lp_normalization(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """``x`` over its lp norm along an axis; zero where the norm is zero."""
    norm = torch.linalg.vector_norm(x, p, axis, keepdim=True)
    return x / torch.where(norm == 0, torch.ones_like(norm), norm)


@operator("MeanVarianceNormalization", since=9)
def mean_variance_normalization(x: Tensor, *, axes: tuple[int, ...] = (0, 2, 3)) -> Tensor:
    """``x`` at mean 0 and variance 1 over ``axes``.

    The standard adds 1e-9 to the deviation, the runtime does not.
    """
    centred = x - x.mean(tuple(axes), keepdim=True)
    return centred / centred.square().mean(tuple(axes), keepdim=True).sqrt()


@operator("Dropout", since=7, ignore=("ratio",))
def dropout_left_out(x: Tensor, *, n_outputs: int = 1) -> tuple[Tensor, ...]:
    """x: dropout does nothing in inference; the runtime's mask is empty before 12."""
    return (x, torch.zeros_like(x, dtype=torch.bool))[:n_outputs]


@operator("Dropout", since=12, ignore=("seed",), host=("ratio", "training"))
def dropout(
    x: Tensor,
    ratio: Tensor | float | None = None,
    training: Tensor | bool | None = None,
    *,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """``x``, or in training mode x with a share of entries set to zero at random."""
    if training is None or not bool(training) or (ratio is not None and float(ratio) == 0.0):
        return (x, torch.ones_like(x, dtype=torch.bool))[:n_outputs]
    share = 0.5 if ratio is None else float(ratio)
    keep = torch.rand_like(x) >= share
    return (x * keep / (1 - share) if share < 1 else x * 0, keep)[:n_outputs]
