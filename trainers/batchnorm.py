"""Batch norm in passes other than the nominal one: its averages move exactly once a step."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm

from robcert.certify.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def frozen_averages(model: nn.Module) -> Iterator[None]:
    """Batch norm uses the statistics of its batch, and its moving averages stay as they are."""
    layers = [layer for layer in _layers(model) if layer.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False  # in training mode: batch statistics, no update
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


class NominalStatistics:
    """Statistics of the clean batch, used again for the perturbed one (Qin et al. 2019, F.2).

    Inside ``recorded`` batch norm works as ever and its statistics are kept, as functions of the
    batch and the parameters; inside ``replayed`` it normalises by them. An image's logits then do
    not depend on the perturbations of the others.
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers = _layers(model)
        self._kept: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keep the statistics of the next pass."""
        hooks = [layer.register_forward_pre_hook(self._keep) for layer in self._layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def replayed(self, *, detached: bool) -> Iterator[None]:
        """Normalise by the kept statistics, as constants if ``detached``."""
        for layer in self._layers:
            vars(layer)["forward"] = self._replay(layer, detached=detached)
        try:
            yield
        finally:
            for layer in self._layers:
                del vars(layer)["forward"]

    def _keep(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._kept[layer] = _moments(inputs[0], shared=isinstance(layer, SharedBatchNorm))

    def _replay(self, layer: _BatchNorm, *, detached: bool) -> Replay:
        mean, var = self._kept[layer]
        if detached:
            mean, var = mean.detach(), var.detach()
        return Replay(layer, mean, var)


class Replay:
    """Forward pass of a batch norm layer by given statistics."""

    def __init__(self, layer: _BatchNorm, mean: Tensor, var: Tensor) -> None:
        scale = torch.rsqrt(var + layer.eps)
        weight = scale * layer.weight if layer.affine else scale
        shift = layer.bias - mean * weight if layer.affine else -mean * weight
        self.weight = weight.view(1, -1, 1, 1)
        self.shift = shift.view(1, -1, 1, 1)

    def __call__(self, x: Tensor) -> Tensor:
        """Normalised ``x (b, c, h, w)``."""
        return x * self.weight + self.shift


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm by the statistics of the whole batch, whose rows several processes share.

    Unlike torch's own it works on a CPU and can be differentiated twice.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalised ``x (b, c, h, w)``; in training mode all processes must take part."""
        if not self.training:
            return super().forward(x)
        mean, var = _moments(x, shared=True)
        if self.track_running_stats:
            self._follow(mean.detach(), var.detach(), x.numel() // x.shape[1])
        return Replay(self, mean, var)(x)

    @torch.no_grad()
    def _follow(self, mean: Tensor, var: Tensor, own: int) -> None:
        """Move the averages as torch does, the variance by its unbiased estimate."""
        if self.running_mean is None or self.running_var is None:
            return
        count = own * dist.get_world_size()
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
        weight = self.momentum
        if weight is None:
            weight = 1.0 / float(self.num_batches_tracked or 1)
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(var * (count / max(1, count - 1)), weight)


def share_batch_norm(model: nn.Module) -> None:
    """Let the batch norm of ``model`` see the whole batch that several processes share.

    Raises:
        TrainingError: it is of a kind that cannot.
    """
    for layer in _layers(model):
        if not isinstance(layer, nn.BatchNorm2d):
            message = f"{type(layer).__name__} cannot be shared by several processes"
            raise TrainingError(message, hint="train in one process")
        layer.__class__ = SharedBatchNorm  # same parameters, buffers and names


def _moments(x: Tensor, *, shared: bool) -> tuple[Tensor, Tensor]:
    """Mean and variance ``(c,)`` of ``x (b, c, h, w)``; of all processes' rows if ``shared``."""
    if not shared:
        var, mean = torch.var_mean(x, dim=(0, 2, 3), unbiased=False)
        return mean, var
    parts, x = dist.get_world_size(), x.to(torch.promote_types(x.dtype, torch.float32))
    mean = _sum(x.mean((0, 2, 3))) / parts
    var = _sum((x - mean.view(1, -1, 1, 1)).square().mean((0, 2, 3))) / parts
    return mean, var


class _Sum(Function):
    """Sum over the processes; the derivative of all their losses, again such a sum."""

    @staticmethod
    def forward(_context: object, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: object, gradient: Tensor) -> Tensor:
        return _sum(gradient)


def _sum(part: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(part)
    return total


def _layers(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]
