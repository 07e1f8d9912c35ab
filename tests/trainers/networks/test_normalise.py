"""Batch norm against torch's own and, differentiated twice, against finite differences."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from robcert.certify.numerics.losses import cross_entropy
from robcert.trainers.networks.batchnorm import BatchNorm, NominalStatistics, prepare_batch_norm
from robcert.trainers.networks.normalise import (
    Channels,
    normalise,
    normalise_by,
    normalise_twice_by,
)

DRAWS = torch.Generator().manual_seed(0)
X = torch.randn((4, 3, 3, 2), generator=DRAWS, dtype=torch.float64).requires_grad_()
G = torch.randn(X.shape, generator=DRAWS, dtype=torch.float64).requires_grad_()
WEIGHT = torch.tensor([1.5, 0.0, -0.7], dtype=torch.float64, requires_grad=True)
BIAS = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64, requires_grad=True)
EPS = 0.1  # large, so that it counts


def whole(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return normalise(x, weight, bias, eps=EPS, channels=Channels.of(x, shared=False))


def test_derivatives_of_images_mean_and_variance() -> None:
    assert gradcheck(whole, (X, WEIGHT, BIAS))


def test_second_derivatives_of_the_images() -> None:
    def gradient(x: Tensor, weight: Tensor, bias: Tensor, g: Tensor) -> Tensor:
        y, _, _ = whole(x, weight, bias)
        return torch.autograd.grad((y * g).sum(), x, create_graph=True)[0]

    assert gradcheck(gradient, (X, WEIGHT, BIAS, G))


def test_derivatives_by_given_statistics() -> None:
    mean, var = X.detach()[0, :, 0, 0].clone(), G.detach()[0, :, 0, 0].exp()
    inputs = (mean.requires_grad_(), var.requires_grad_(), X, WEIGHT, BIAS)
    assert gradcheck(lambda *given: normalise_by(*given, eps=EPS), inputs)


def test_second_derivatives_by_given_statistics() -> None:
    mean, var = X.detach()[0, :, 0, 0].clone(), G.detach()[0, :, 0, 0].exp()
    inputs = (mean.requires_grad_(), var.requires_grad_(), X, WEIGHT, BIAS)
    assert gradgradcheck(lambda *given: normalise_twice_by(*given, eps=EPS), inputs)
    once, twice = normalise_by(*inputs, eps=EPS), normalise_twice_by(*inputs, eps=EPS)
    torch.testing.assert_close(once, twice, rtol=1e-12, atol=1e-12)


def test_statistics_are_summed_to_float32s_precision() -> None:
    # torch's own layer is off by 1e-5 in this memory layout
    x = 1 + torch.randn((64, 4, 32, 32), generator=torch.Generator().manual_seed(1))
    x = x.to(memory_format=torch.channels_last)
    _, mean, var = normalise(
        x, torch.ones(4), torch.zeros(4), eps=1e-5, channels=Channels.of(x, shared=False)
    )
    exact = x.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean.double(), exact.mean(1), rtol=1e-6, atol=0)
    torch.testing.assert_close(var.double(), exact.var(1, correction=0), rtol=1e-6, atol=0)


def pair(**options: float | bool | None) -> tuple[nn.Module, nn.Module]:
    """A small network with torch's layers, and the same network with robcert's layers."""
    torch.manual_seed(2)
    first = nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5, **options))  # type: ignore[arg-type]
    theirs = nn.Sequential(*first, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(80, 3)).double()
    ours = copy.deepcopy(theirs)
    prepare_batch_norm(ours, shared=False)
    assert isinstance(ours[1], BatchNorm)
    return theirs, ours


@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}],
    ids=lambda options: "".join(options) or "default",
)
def test_the_layer_is_torchs(options: dict[str, float | bool | None]) -> None:
    draws = torch.Generator().manual_seed(3)
    x = torch.rand((6, 2, 6, 6), generator=draws, dtype=torch.float64)
    y = torch.arange(6) % 3
    both = pair(**options)
    for model in both:
        for _ in range(2):
            point = x.clone().requires_grad_()
            loss = cross_entropy(model(point), y)
            (slope,) = torch.autograd.grad(loss.sum(), point, create_graph=True)
            (loss + slope.flatten(1).square().sum(1)).mean().backward()  # type: ignore[no-untyped-call]
    theirs, ours = both
    for one, other in zip(theirs.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad)
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer, msg=name)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_layers_in_evaluation_mode_keep_their_averages() -> None:
    _, model = pair()
    model[1].eval()  # type: ignore[index]
    statistics, x = NominalStatistics(model), torch.rand(4, 2, 6, 6).double()
    with statistics.recorded():
        clean = model(x)
    with statistics.replayed(detached=True):
        torch.testing.assert_close(model(x), clean)
    assert int(model[1].num_batches_tracked) == 0  # type: ignore[index]
