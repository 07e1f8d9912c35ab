from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

from robcert.certify.errors import InvalidParameterError
from robcert.trainers.networks.architectures import Architecture, describe, names
from robcert.trainers.networks.blocks import Denoise, SmoothRelu

ActivationName = Literal["relu", "softplus", "c2relu"]
ACTIVATIONS: tuple[ActivationName, ...] = ("relu", "softplus", "c2relu")


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def build(name: str, *, shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10) -> nn.Module:
    with torch.device("meta"):
        return Architecture(name).build(image_shape=shape, num_classes=classes)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "parameters"),
    [
        # torchvision's counts, and those of the papers in millions
        ("resnet50", (3, 224, 224), 1000, 25_557_032),
        ("resnet152", (3, 224, 224), 1000, 60_192_808),
        ("resnet18", (3, 224, 224), 1000, 11_689_512),
        ("wrn-28-10", (3, 32, 32), 10, 36_479_194),
        ("cnn4", (3, 32, 32), 10, 896 + 9248 + 18496 + 36928 + 40970),
    ],
)
def test_parameter_counts_are_the_published_ones(
    name: str, shape: tuple[int, int, int], classes: int, parameters: int
) -> None:
    assert count(build(name, shape=shape, classes=classes)) == parameters


@pytest.mark.parametrize("name", names())
def test_every_architecture_maps_images_to_logits(name: str) -> None:
    assert describe(name)
    network = build(name, shape=(1, 28, 28), classes=7)
    with torch.device("meta"):
        assert network.eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 7)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_denoising_block_begins_as_the_identity(activation: ActivationName) -> None:
    outputs = []
    for denoise in (False, True):
        torch.manual_seed(0)
        arch = Architecture("resnet-small", activation=activation, width=4, denoise=denoise)
        network = arch.build(image_shape=(1, 8, 8), num_classes=3).eval()
        assert any(isinstance(m, Denoise) for m in network.modules()) == denoise
        outputs.append(sum(1 for m in network.modules() if isinstance(m, nn.Conv2d)))
    assert outputs[1] == outputs[0] + 3
    block, x = Denoise(4), torch.rand(2, 4, 3, 3)
    torch.testing.assert_close(block(x), x)


def test_denoising_averages_over_all_places() -> None:
    block, x = Denoise(3).eval(), torch.rand(1, 3, 2, 2)
    with torch.no_grad():
        mix, scale, _ = block.mix.parameters()
        mix.copy_(torch.eye(3).view(3, 3, 1, 1))
        scale.fill_(1.0)
    places = x.flatten(2)[0]  # (c, places)
    weights = places.T @ places / 4
    mean = places @ weights
    torch.testing.assert_close(block(x)[0].flatten(1), places + mean, rtol=1e-4, atol=1e-4)


def test_the_smooth_relu_has_two_continuous_derivatives() -> None:
    at = torch.tensor([-0.5, 0.5], dtype=torch.float64)
    for side in (-1e-6, 1e-6):
        x = (at + side).requires_grad_()
        value = SmoothRelu()(x)
        (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), x, allow_unused=True, materialize_grads=True)
        torch.testing.assert_close(value.detach(), at.clamp_min(0), atol=1e-5, rtol=0)
        torch.testing.assert_close(slope.detach(), at.sign().clamp_min(0), atol=1e-5, rtol=0)
        torch.testing.assert_close(bend, torch.zeros(2, dtype=torch.float64), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("mobilenet_v3_small", (3, 32, 32)), ("resnet18", (1, 28, 28)), ("googlenet", (3, 64, 64))],
)
def test_models_of_torchvision_go_by_name(name: str, shape: tuple[int, int, int]) -> None:
    network = build(f"torchvision:{name}", shape=shape, classes=5).train()
    with torch.device("meta"):
        assert network(torch.zeros(2, *shape)).shape == (2, 5)


def test_images_that_a_model_of_torchvision_does_not_take_are_named() -> None:
    with pytest.raises(InvalidParameterError, match="alexnet does not accept images of 1x8x8"):
        build("torchvision:alexnet", shape=(1, 8, 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cnn5"}, "no architecture named 'cnn5'"),
        ({"name": "cnn4", "denoise": True}, "cnn4 is not a residual network"),
        ({"activation": "tanh"}, "no activation named 'tanh'"),
        ({"width": 0}, "width must be at least 1"),
    ],
)
def test_bad_architectures_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        Architecture(**arguments)  # type: ignore[arg-type]


def test_unknown_torchvision_models_are_named() -> None:
    with pytest.raises(InvalidParameterError, match="no classification model named 'nothing'"):
        build("torchvision:nothing")
