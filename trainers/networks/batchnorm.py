"""Batch norm in training: cheap to differentiate twice, averages updated once per step."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robcert.certify.errors import TrainingError

from .normalise import Channels, normalise, normalise_by, normalise_twice_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class BatchNorm(nn.BatchNorm2d):
    """torch's layer, computed by :func:`normalise` in training mode."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalised ``x (b, c, h, w)``."""
        return _normalised(self, x)[0] if self.training else super().forward(x)


class SharedBatchNorm(BatchNorm):
    """Batch norm with the statistics of the whole batch, which several processes share.

    In training mode all processes must take part. Unlike torch's own layer it works on a CPU and
    can be differentiated twice.
    """


def prepare_batch_norm(model: nn.Module, *, shared: bool) -> None:
    """Replace the batch norm of ``model`` by one of the two layers above, with the same parameters.

    Args:
        model: changed in place; batch norm over one or three dimensions stays as it is.
        shared: whether several processes share the batch.

    Raises:
        TrainingError: they do, and the model has batch norm over one or three dimensions.
    """
    for layer in _layers(model):
        if shared and not isinstance(layer, nn.BatchNorm2d):
            message = f"{type(layer).__name__} is not supported in several processes"
            raise TrainingError(message, hint="train in one process")
        if shared:
            layer.__class__ = SharedBatchNorm
        elif type(layer) is nn.BatchNorm2d:
            layer.__class__ = BatchNorm


@contextmanager
def frozen_averages(model: nn.Module) -> Iterator[None]:
    """Context in which batch norm uses batch statistics and does not update its averages."""
    layers = [layer for layer in _layers(model) if layer.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False  # in training mode: batch statistics, no update
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


class NominalStatistics:
    """Batch-norm statistics of the clean batch for the perturbed one (Qin et al. 2019, F.2).

    Inside ``recorded`` batch norm works as usual and its statistics are kept, as functions of the
    batch and the parameters; inside ``replayed`` it normalises by these statistics. The logits of
    an image then do not depend on the perturbations of other images of the batch.
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers = [layer for layer in _layers(model) if layer.training]
        self._kept: dict[_BatchNorm, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Context that keeps the statistics of the next forward pass."""
        with self._instead(self._record):
            yield

    @contextmanager
    def replayed(self, *, detached: bool, twice: bool = False) -> Iterator[None]:
        """Context that normalises by the kept statistics.

        Args:
            detached: as constants, else as functions of the batch and the parameters.
            twice: whether the input gradient of the pass will be differentiated again.
        """
        with self._instead(partial(self._replay, detached=detached, twice=twice)):
            yield

    @contextmanager
    def _instead(self, forward: Callable[[_BatchNorm, Tensor], Tensor]) -> Iterator[None]:
        for layer in self._layers:
            vars(layer)["forward"] = partial(forward, layer)
        try:
            yield
        finally:
            for layer in self._layers:
                del vars(layer)["forward"]

    def _record(self, layer: _BatchNorm, x: Tensor) -> Tensor:
        y, mean, var = _normalised(layer, x)
        self._kept[layer] = mean, var
        return y

    def _replay(self, layer: _BatchNorm, x: Tensor, *, detached: bool, twice: bool) -> Tensor:
        mean, var = self._kept[layer]
        if detached:
            mean, var = mean.detach(), var.detach()
        if twice:
            return normalise_twice_by(mean, var, x, *_affine(layer, x), eps=layer.eps)
        return normalise_by(mean, var, x, *_affine(layer, x), eps=layer.eps)


def _normalised(layer: _BatchNorm, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``x (b, c, ...)`` normalised, its mean and variance ``(c,)``; updates the averages."""
    channels = Channels.of(x, shared=isinstance(layer, SharedBatchNorm))
    y, mean, var = normalise(x, *_affine(layer, x), eps=layer.eps, channels=channels)
    if layer.track_running_stats:
        _follow(layer, mean.detach(), var.detach(), channels.count)
    return y, mean, var


def _affine(layer: _BatchNorm, x: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias ``(c,)``; one and zero if ``layer`` has none."""
    if layer.affine:
        return layer.weight, layer.bias
    one = torch.ones(layer.num_features, dtype=x.dtype, device=x.device)
    return one, torch.zeros_like(one)


@torch.no_grad()
def _follow(layer: _BatchNorm, mean: Tensor, var: Tensor, count: int) -> None:
    """Update the averages as torch does, with the unbiased estimate of the variance."""
    if layer.running_mean is None or layer.running_var is None:
        return
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked += 1
    weight = layer.momentum
    if weight is None:
        weight = 1.0 / float(layer.num_batches_tracked or 1)
    layer.running_mean.lerp_(mean, weight)
    layer.running_var.lerp_(var * (count / max(1, count - 1)), weight)


def _layers(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]
