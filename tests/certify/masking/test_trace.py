"""The watched attack on models where its course is known."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.masking.trace import bend, high_frequency_share, trace
from robcert.certify.model.classifier import Classifier

SHAPE = (1, 4, 4)


class Linear(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        margin = x.flatten(1).sum(1) - 8
        return torch.stack([torch.zeros_like(margin), margin], 1)


class Poisoned(nn.Module):
    """The same value, and a gradient of zero over zero."""

    def forward(self, x: Tensor) -> Tensor:
        poison = 0 * (x - x.detach()).sqrt().flatten(1).sum(1, keepdim=True)
        return Linear()(x) + poison


def batch(n: int = 5) -> Batch:
    x = torch.full((n, *SHAPE), 0.6)
    return Batch(np.arange(n), x, torch.ones(n, dtype=torch.int64))


def classifier(module: nn.Module) -> Classifier:
    return Classifier.from_module(module, image_shape=SHAPE, num_classes=2)


def test_on_a_linear_model_it_climbs_to_the_vertex() -> None:
    seen = trace(classifier(Linear()), batch(), Ball(Norm.LINF, 0.05), steps=10, seed=0)
    assert seen.moved.all()
    assert not seen.not_a_number.any()
    assert (seen.margins.diff(dim=1) >= -1e-6).all()
    # the margin loss is -(9.6 - 8) at the image and rises by 16 * 0.05 up to the vertex
    assert torch.allclose(seen.margins[:, -1], torch.tensor(-0.8), atol=1e-4)
    assert torch.allclose(seen.losses, nn.functional.softplus(seen.margins), atol=1e-5)


def test_a_gradient_that_is_no_number_moves_no_pixel_and_is_told() -> None:
    seen = trace(classifier(Poisoned()), batch(), Ball(Norm.LINF, 0.05), steps=3, seed=0)
    assert seen.not_a_number.all()
    assert not seen.moved.any()


def test_a_linear_margin_has_no_gamma() -> None:
    gamma, linear = bend(classifier(Linear()), batch(), norm=Norm.LINF, epsilon=0.05, seed=0)
    assert torch.allclose(gamma, torch.zeros(5), atol=1e-5)
    assert torch.allclose(linear, torch.full((5,), 0.8, dtype=torch.float64), atol=1e-5)


def test_frequencies_of_known_patterns() -> None:
    steps = torch.arange(16)
    slow = torch.cos(2 * math.pi * steps / 16).expand(16, 16)
    board = ((steps.view(-1, 1) + steps) % 2 * 2 - 1).float()
    noise = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    both = torch.stack([slow, board, noise, torch.ones(16, 16)])[:, None]
    share = high_frequency_share(both)
    assert share[0] < 1e-9
    assert share[1] > 1 - 1e-9
    assert abs(float(share[2]) - 0.80) < 0.1
    assert share[3].isnan()
