"""Two-class models whose margin loss is a given function of the pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from robcert.certify.core import Batch
from robcert.certify.model.classifier import Classifier

FlatFunction = Callable[[Tensor], Tensor]
"""Flat pixels ``(b, d)`` to numbers ``(b,)``."""


class TwoLogits(nn.Module):
    """Logits (0, f(x)): for class 0 the margin loss is f, the cross-entropy log(1 + e^f)."""

    def __init__(self, function: FlatFunction) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        value = self.function(x.flatten(1))
        return torch.stack([torch.zeros_like(value), value], dim=1)


class OneRuledOut(nn.Module):
    """The logits of a module, and one of a class that no image has, which is -inf."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.module(x)
        return torch.cat([logits, torch.full_like(logits[:, :1], -torch.inf)], 1)


def two_logits(function: FlatFunction, n_pixels: int) -> Classifier:
    """Classifier of images ``(1, 1, n_pixels)`` whose margin loss for class 0 is ``function``."""
    return Classifier.from_module(TwoLogits(function), image_shape=(1, 1, n_pixels), num_classes=2)


def quadratic(matrix: Tensor, linear: Tensor | None = None, constant: float = 0.0) -> FlatFunction:
    """½ xᵀAx + bᵀx + c."""

    def value(x: Tensor) -> Tensor:
        curved = 0.5 * ((x @ matrix) * x).sum(1)
        return curved + constant + (0 if linear is None else x @ linear)

    return value


def flat_batch(rows: Tensor) -> Batch:
    """Images ``(b, 1, 1, d)`` from ``rows (b, d)``, all of class 0."""
    return Batch(
        np.arange(len(rows)), rows[:, None, None], torch.zeros(len(rows), dtype=torch.int64)
    )
