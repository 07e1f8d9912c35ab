"""Convolutions against torch's own, differentiated once and twice."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.profiler import profile

from robcert.trainers.methods.input_ascent import frozen_parameters
from robcert.trainers.methods.objective import Step
from robcert.trainers.methods.registry import METHODS
from robcert.trainers.networks.convolve import Convolution, prepare_convolutions

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"bias": False},
    "padded": {"padding": 1, "stride": 2},
    "uneven": {"padding": (0, 2), "stride": (3, 1), "dilation": (1, 2)},
    "grouped": {"groups": 2},
    "same": {"padding": "same"},
}


def both(**options: Any) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    theirs = nn.Sequential(nn.Conv2d(2, 4, 3, **options), nn.Softplus()).double()
    ours = copy.deepcopy(theirs)
    prepare_convolutions(ours)
    assert isinstance(ours[0], Convolution)
    return theirs, ours


@pytest.mark.parametrize("kind", KINDS)
def test_the_layer_is_torchs(kind: str) -> None:
    x = torch.rand((3, 2, 8, 7), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = []
    for model in both(**KINDS[kind]):
        point = x.clone().requires_grad_()
        values = model(point).square().flatten(1).sum(1)
        (slope,) = torch.autograd.grad(values.sum(), point, create_graph=True)
        torch.autograd.backward((values + slope.flatten(1).square().sum(1)).sum())
        gradients.append([slope.detach(), point.grad, *(p.grad for p in model.parameters())])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other, one)


@pytest.mark.parametrize("channels", [2, 5, 16])
def test_a_layer_that_leaves_pixels_out_has_the_same_right_gradient_each_time(
    channels: int,
) -> None:
    torch.manual_seed(channels)
    model = nn.Sequential(nn.Conv2d(channels, 8, 1, stride=2, bias=False))
    exact = copy.deepcopy(model).double()
    model.to(memory_format=torch.channels_last)
    prepare_convolutions(model, twice=False)
    assert isinstance(model[0], Convolution)
    x = torch.randn(8, channels, 8, 8).contiguous(memory_format=torch.channels_last)

    def gradient(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        loss = network(images).square().sum()
        return torch.autograd.grad(loss, list(network.parameters()))[0]

    first, truth = gradient(model, x), gradient(exact, x.double())
    torch.testing.assert_close(first.double(), truth, rtol=1e-5, atol=1e-3)
    for size in range(5):
        torch.full((1000 * size + 1,), 1e6)  # what lies around in memory
        assert torch.equal(gradient(model, x), first)


def test_methods_of_first_order_keep_torchs_other_layers() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2), nn.Conv2d(4, 4, 1))
    prepare_convolutions(model, twice=False)
    assert not any(isinstance(layer, Convolution) for layer in model)


@pytest.mark.parametrize("frozen", [False, True])
def test_the_gradient_by_the_images_does_without_that_by_the_parameters(frozen: bool) -> None:
    _, model = both()
    point = torch.rand((3, 2, 8, 7), dtype=torch.float64).requires_grad_()
    with profile() as seen:
        if frozen:
            with frozen_parameters(model):
                torch.autograd.grad(model(point).sum(), point)
        else:
            torch.autograd.grad(model(point).sum(), point, create_graph=True)
    calls = [event for event in seen.events() or [] if event.name == "aten::convolution_backward"]
    assert len(calls) == 1
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_methods_that_differentiate_twice_say_so(name: str) -> None:
    """Detected by a call of torch's autograd for a gradient by the images that keeps its graph."""
    asked: list[bool] = []
    gradient = torch.autograd.grad

    def spy(*given: Any, **options: Any) -> Any:
        asked.append(bool(options.get("create_graph")))
        return gradient(*given, **options)

    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Softplus(), nn.Flatten(), nn.Linear(108, 2))
    step = Step(1.0, torch.Generator().manual_seed(0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd, "grad", spy)
        METHODS[name]()(model, torch.rand(4, 1, 8, 8), torch.arange(4) % 2, step)
    assert getattr(METHODS[name](), "differentiates_twice", False) == any(asked)
