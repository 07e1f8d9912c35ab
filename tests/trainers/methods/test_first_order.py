"""What the linearity residual is of: one function of the image, or two that differ.

The residual of a differentiable function is of second order: divided by the length of the
perturbation it vanishes with it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import pytest
import torch
from torch import Tensor, nn

from robcert.certify.numerics.losses import cross_entropy
from robcert.trainers.methods.cure import Cure
from robcert.trainers.methods.gradient import Gradient
from robcert.trainers.methods.local_linearity import Llr, Tangent
from robcert.trainers.methods.objective import Step
from robcert.trainers.methods.soar import Soar
from robcert.trainers.networks.architectures import Architecture
from robcert.trainers.networks.batchnorm import prepare_batch_norm
from robcert.trainers.networks.convolve import prepare_convolutions

if TYPE_CHECKING:
    from robcert.trainers.methods.layer_draws import Logits

BatchNormMode = Literal["nominal", "nominal-fixed", "eval"]
LENGTHS = (1e-2, 1e-3, 1e-4)


class Along(Llr):
    """LLR with given perturbations."""

    length = 1.0

    def perturbation(self, model: Logits, tangent: Tangent, y: Tensor, step: Step) -> Tensor:
        return type(self).length * direction(tangent.x)


def direction(x: Tensor) -> Tensor:
    """A direction of length 1 for each image."""
    drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    return drawn / drawn.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def with_batch_norm() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        architecture = Architecture("resnet-small", activation="softplus", width=4)
        model = architecture.build(image_shape=(1, 8, 8), num_classes=3).double()
    prepare_convolutions(model)
    prepare_batch_norm(model, shared=False)
    model.train()(images()[0])
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.0  # keeps the averages, so that every pass is of one function
    return model


def with_dropout() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = (nn.Linear(64, 32), nn.Softplus(), nn.Dropout(0.5), nn.Linear(32, 3))
        return nn.Sequential(nn.Flatten(), *layers).double().train()


def images() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(5)
    x = 0.3 + 0.4 * torch.rand((6, 1, 8, 8), generator=draws, dtype=torch.float64)
    return x, torch.randint(3, (6,), generator=draws)


def step() -> Step:
    return Step(9.0, torch.Generator().manual_seed(0))


def ratios(model: nn.Module, bn: BatchNormMode) -> list[float]:
    """The column of the training log, over the length of the perturbations."""
    found = []
    x, y = images()
    for length in LENGTHS:
        Along.length = length
        torch.manual_seed(1)  # dropout
        losses = Along(bn=bn, warmup_epochs=0)(model, x, y, step())
        (name,) = losses.measured
        assert name == f"gamma_{bn.replace('-', '_')}"
        found.append(float(losses.measured[name].mean()) / length)
    return found


@pytest.mark.parametrize("bn", ["nominal-fixed", "eval"])
def test_at_fixed_statistics_the_residual_vanishes_with_the_perturbation(bn: BatchNormMode) -> None:
    found = ratios(with_batch_norm(), bn)
    for longer, shorter in pairwise(found):
        assert shorter == pytest.approx(longer / 10, rel=0.2)


def test_a_gradient_through_the_statistics_leaves_a_part_of_first_order() -> None:
    """The released code: the perturbed loss has these statistics fixed, the gradient has not."""
    found = ratios(with_batch_norm(), "nominal")
    assert found[-1] == pytest.approx(found[-2], rel=1e-2)
    assert found[-1] > 20 * ratios(with_batch_norm(), "nominal-fixed")[-1]


def test_statistics_of_the_perturbed_batch_leave_one_too() -> None:
    """The gradient at fixed statistics is not that of a loss with statistics of its own."""
    model, (x, y) = with_batch_norm(), images()
    held = with_batch_norm()
    own = []
    losses = Along(bn="nominal-fixed", warmup_epochs=0)
    for length in LENGTHS[-2:]:
        Along.length = length
        delta = length * direction(x)
        fixed = losses(held, x, y, step())
        linear = fixed.loss - losses.nominal_weight * cross_entropy(model(x), y)
        gamma = fixed.measured["gamma_nominal_fixed"]
        size = (linear.detach() - losses.gamma_weight * gamma) / losses.mu  # |delta . gradient|
        change = (cross_entropy(model(x + delta), y) - cross_entropy(model(x), y)).detach()
        own.append(float(((change.abs() - size).abs()).mean()) / length)
    assert own[1] == pytest.approx(own[0], rel=1e-2)
    assert own[1] > 1e-3


def test_without_batch_norm_all_three_are_the_same() -> None:
    (x, y), found = images(), []
    for bn in ("nominal", "nominal-fixed", "eval"):
        layer = nn.Linear(64, 3)
        with torch.no_grad():
            layer.weight.copy_(torch.linspace(-1, 1, 192).view(3, 64))
            layer.bias.zero_()
        model = nn.Sequential(nn.Flatten(), layer).double().train()
        found.append(Llr(bn=bn, warmup_epochs=0)(model, x, y, step()).total.detach())
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("bn", ["nominal", "nominal-fixed", "eval"])
def test_with_dropout_too_the_residual_vanishes(bn: BatchNormMode) -> None:
    first, *_, last = ratios(with_dropout(), bn)
    assert last == pytest.approx(first / 100, rel=0.1)


def test_differences_of_losses_have_one_dropout() -> None:
    """With other units dropped at the second point, these quotients would be of order 1 / h."""
    torch.manual_seed(1)
    x, y = images()
    forward = Gradient(step=1e-6)(with_dropout(), x, y, step()).measured["gradient_norm"]
    assert float(forward.max()) < 1
    change = Cure(step=1e-6, step_epochs=0)(with_dropout(), x, y, step())
    assert float(change.measured["gradient_change"].max()) < 1e-4
    soar = Soar(start="zero", step_least=1e-6, step_most=1e-6, value_clip=1e9)
    norm = soar(with_dropout(), x, y, step()).measured["matrix_norm"]
    assert float(norm.max()) < 1e3


def test_later_steps_draw_on_as_if_nothing_had_been_repeated() -> None:
    x, y = images()
    drawn = []
    for bn in ("nominal", "eval"):
        torch.manual_seed(2)
        Llr(bn=bn)(with_dropout(), x, y, step())
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
