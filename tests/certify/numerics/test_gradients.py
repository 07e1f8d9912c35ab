"""Input gradients: of each image alone, and laid out like the image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robcert.certify.model.classifier import Classifier
from robcert.certify.numerics.gradients import value_and_gradient


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gradient_is_laid_out_as_usual_whatever_the_network_does(channels: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Flatten(), nn.Linear(36, 1))
    network.to(memory_format=torch.channels_last)
    x = torch.rand(6, channels, 5, 5)
    _, gradient = value_and_gradient(lambda pixels: network(pixels).squeeze(1), x)
    assert gradient.stride() == x.stride()
    (expected,) = torch.autograd.grad(network(leaf := x.requires_grad_()).sum(), leaf)
    torch.testing.assert_close(gradient, expected)


def test_each_image_has_its_own_gradient_and_a_constant_has_none() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, -1.0]])

    def squares(pixels: Tensor) -> Tensor:
        return pixels.square().sum(1)

    value, gradient = value_and_gradient(squares, x)
    assert torch.equal(value, torch.tensor([5.0, 10.0]))
    assert torch.equal(gradient, 2 * x)
    assert not value_and_gradient(lambda pixels: torch.ones(len(pixels)), x)[1].any()


def test_rows_of_large_batches_have_the_bits_of_small_ones() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    model = Classifier.from_module(module, image_shape=(1, 28, 28), num_classes=10)
    x = torch.rand(300, 1, 28, 28)

    def first(pixels: Tensor) -> Tensor:
        return model.twin_logits(pixels)[:, 0]

    value, gradient = value_and_gradient(first, x)
    for count in (1, 16, 64, 65, 128):
        some, slopes = value_and_gradient(first, x[:count])
        assert torch.equal(some, value[:count])
        assert torch.equal(slopes, gradient[:count])
