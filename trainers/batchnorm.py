"""Batch norm in passes other than the nominal one: its averages move exactly once a step."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

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
        var, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), unbiased=False)
        self._kept[layer] = mean, var

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


def _layers(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]
