"""Each objective against models whose loss, gradient and Hessian are known."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError
from robcert.certify.numerics.losses import Loss, cross_entropy
from robcert.trainers.methods.adversarial import Adversarial
from robcert.trainers.methods.cure import Cure
from robcert.trainers.methods.free import Free
from robcert.trainers.methods.gaussian import Gaussian
from robcert.trainers.methods.gradient import Gradient, equivalent_weight
from robcert.trainers.methods.jacobian import Jacobian
from robcert.trainers.methods.local_linearity import Llr
from robcert.trainers.methods.objective import Losses, Objective, Step, warmed_up
from robcert.trainers.methods.registry import METHODS
from robcert.trainers.methods.smoothadv import SmoothAdv, smoothed_loss
from robcert.trainers.methods.soar import Soar
from robcert.trainers.methods.trades import Trades, kl_divergence
from robcert.trainers.networks.architectures import Architecture
from robcert.trainers.networks.batchnorm import NominalStatistics, prepare_batch_norm
from robcert.trainers.networks.convolve import prepare_convolutions

WEIGHT = torch.tensor([1.0, -2.0, 0.5, 1.5], dtype=torch.float64)


class Logistic(nn.Module):
    """Logits (wᵀx, 0): cross-entropy of class 0 is log(1 + e^-m)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(WEIGHT.clone())

    def forward(self, x: Tensor) -> Tensor:
        margin = x.flatten(1) @ self.weight
        return torch.stack([margin, torch.zeros_like(margin)], dim=1)


X = torch.tensor([[0.5, 0.4, 0.6, 0.3], [0.6, 0.3, 0.5, 0.5]], dtype=torch.float64).view(2, 1, 2, 2)
Y = torch.zeros(2, dtype=torch.int64)
MARGIN = X.flatten(1) @ WEIGHT
SHARE = torch.sigmoid(-MARGIN)  # the loss's slope in the margin is -SHARE


Power = Literal["squared", "norm"]
BatchNormMode = Literal["nominal", "nominal-fixed", "eval"]
POWERS: tuple[Power, ...] = ("squared", "norm")


def step(epoch: float = 100.0, seed: int = 0) -> Step:
    return Step(epoch, torch.Generator().manual_seed(seed))


def of_margin(margin: Tensor) -> Tensor:
    return torch.log1p(torch.exp(-margin))


def call(objective: Objective, model: nn.Module | None = None, epoch: float = 100.0) -> Losses:
    return objective(model or Logistic(), X, Y, step(epoch))


def close(got: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(got.detach(), expected, rtol=tolerance, atol=tolerance)


def test_adversarial_finds_the_corner_of_a_linear_model() -> None:
    objective = Adversarial(epsilon=0.05, steps=7, step_size=0.02)
    close(call(objective).loss, of_margin(MARGIN - 0.05 * WEIGHT.abs().sum()), 1e-6)


def test_adversarial_in_l2_goes_along_the_gradient() -> None:
    objective = Adversarial(norm=Norm.L2, epsilon=0.1, steps=40, step_size=0.05)
    close(call(objective).loss, of_margin(MARGIN - 0.1 * WEIGHT.norm()), 1e-4)


def test_the_adam_margin_variant_finds_the_corner_too() -> None:
    objective = Adversarial(epsilon=0.05, steps=5, step_size=0.1, rule="adam", loss=Loss.MARGIN)
    close(call(objective).loss, of_margin(MARGIN - 0.05 * WEIGHT.abs().sum()), 1e-6)


def test_epsilon_warms_up_linearly() -> None:
    objective = Adversarial(epsilon=0.1, steps=7, step_size=0.1, warmup_epochs=4)
    close(call(objective, epoch=1.0).loss, of_margin(MARGIN - 0.025 * WEIGHT.abs().sum()), 1e-6)
    assert warmed_up(3.0, 4, step(epoch=2)) == 1.5
    assert warmed_up(3.0, 4, step(epoch=5)) == 3.0
    assert warmed_up(3.0, 0, step(epoch=0)) == 3.0


def test_free_moves_its_perturbation_by_the_gradients_sign() -> None:
    objective, now, model = Free(epsilon=0.05, step_size=0.02, replays=3), step(), Logistic()
    for replay in range(3):
        losses = objective(model, X, Y, now)
        close(losses.loss, of_margin(MARGIN - min(0.02 * replay, 0.05) * WEIGHT.abs().sum()), 1e-6)
        torch.autograd.backward(losses.loss.mean())
        assert losses.after_backward is not None
        losses.after_backward()
    close(now.memory["perturbation"][0].flatten(), -0.05 * WEIGHT.sign(), 1e-6)


def test_free_moves_black_and_white_pixels() -> None:
    """They can move inwards, although clipping to [0, 1] stops them outwards."""
    objective, now, model = Free(epsilon=0.05, step_size=0.02), step(), Logistic()
    losses = objective(model, torch.round(X), Y, now)
    torch.autograd.backward(losses.loss.mean())
    assert losses.after_backward is not None
    losses.after_backward()
    assert (now.memory["perturbation"] != 0).all()


def test_trades_adds_the_divergence_at_the_corner() -> None:
    losses = call(Trades(weight=3.0, epsilon=0.05, steps=30, step_size=0.01))
    p = torch.stack([torch.sigmoid(MARGIN), torch.sigmoid(-MARGIN)], 1)
    reach = 0.05 * WEIGHT.abs().sum()
    divergences = []
    for moved in (MARGIN - reach, MARGIN + reach):
        q = torch.stack([torch.sigmoid(moved), torch.sigmoid(-moved)], 1)
        divergences.append((p * (p.log() - q.log())).sum(1))
    expected = of_margin(MARGIN) + 3.0 * torch.maximum(*divergences)
    assert bool((losses.loss <= expected + 1e-9).all())
    lower = of_margin(MARGIN) + 3.0 * torch.minimum(*divergences)
    assert bool((losses.loss >= lower - 1e-9).all())  # ascent ends in one of the two corners


def test_kl_divergence_of_known_distributions() -> None:
    p, q = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    close(kl_divergence(p, q), torch.tensor([0.5 * math.log(2) + 0.5 * math.log(2 / 3)]), 1e-6)
    close(kl_divergence(p, p), torch.zeros(1), 1e-6)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("power", POWERS)
def test_the_gradient_penalty_is_the_dual_norm(norm: Norm, power: Power) -> None:
    dual = SHARE * float(norm.dual.of(WEIGHT.unsqueeze(0)))
    if norm is Norm.LINF:
        dual = dual / 2  # the root of four pixels
    penalty = 0.5 * dual.square() if power == "squared" else dual
    exact = Gradient(norm=norm, weight=3.0, scheme="exact", power=power)
    close(call(exact).loss, of_margin(MARGIN) + 3.0 * penalty)
    forward = replace(exact, scheme="forward", step=1e-3)
    close(call(forward).loss, of_margin(MARGIN) + 3.0 * penalty, 1e-3)
    central = replace(exact, scheme="central", step=1e-3)
    close(call(central).loss, of_margin(MARGIN) + 3.0 * penalty, 1e-6)


def test_the_full_scale_is_the_l1_norm_itself() -> None:
    l1 = SHARE * WEIGHT.abs().sum()
    near = Gradient(weight=1.0, scheme="central", step=1e-3, scale="full")
    close(call(near).loss - of_margin(MARGIN), 0.5 * l1.square(), 1e-5)
    exact = Gradient(weight=1.0, scheme="exact", scale="full")
    close(call(exact).loss - of_margin(MARGIN), 0.5 * l1.square())


def test_finite_differences_of_an_affine_loss_are_exact_for_any_step() -> None:
    # F18: where the loss is affine the step does not matter; far out, -m is all there is.
    x = X - 40 * WEIGHT.view(1, 1, 2, 2)
    for h in (1e-3, 0.1, 10.0):
        losses = Gradient(weight=2.0, step=h)(Logistic(), x, Y, step())
        expected = -(x.flatten(1) @ WEIGHT) + WEIGHT.abs().sum().square() / 4
        close(losses.loss, expected, 1e-6)


def test_equivalent_weight_of_the_specification() -> None:
    assert equivalent_weight(0.4, 0.8) * 1.7**2 / 2 == pytest.approx(0.85)
    assert equivalent_weight(0.4, 1.6) * 1.7**2 / 2 == pytest.approx(1.605556, rel=1e-6)


@pytest.mark.parametrize("power", POWERS)
def test_cure_is_the_change_of_the_gradient(power: Power) -> None:
    objective = Cure(weight=2.0, step=0.3, step_epochs=0.0, power=power)
    # sign of the gradient is -sign(w), of length 2: the margin falls by h |w|_1 / 2
    there = torch.sigmoid(-(MARGIN - 0.3 * WEIGHT.abs().sum() / 2))
    change = (there - SHARE).abs() * WEIGHT.norm()
    penalty = change.square() if power == "squared" else change
    close(call(objective).loss, of_margin(MARGIN) + 2.0 * penalty, 1e-8)


def test_llr_is_gamma_and_the_linear_term() -> None:
    objective = Llr(
        epsilon=0.2,
        gamma_weight=4.0,
        linear_weight=3.0,
        nominal_weight=2.0,
        steps=5,
        step_size=0.1,
        warmup_epochs=0,
    )
    losses = call(objective)
    reach = 0.2 * WEIGHT.abs().sum()
    candidates = []
    for change in (reach, -reach):
        gamma = (of_margin(MARGIN + change) - of_margin(MARGIN) + SHARE * change).abs()
        linear = (SHARE * change).abs()
        candidates.append(2.0 * of_margin(MARGIN) + 4.0 * gamma + 3.0 * linear)
    for row, value in enumerate(losses.loss.tolist()):
        assert any(value == pytest.approx(float(c[row]), rel=1e-6) for c in candidates)


def test_llrs_ratio_is_mu_by_lambda() -> None:
    objective = Llr(epsilon=0.1, gamma_weight=4.0, linear_weight=7.0, ratio=0.5, warmup_epochs=0)
    same = Llr(epsilon=0.1, gamma_weight=4.0, linear_weight=2.0, warmup_epochs=0)
    assert torch.equal(call(objective).total, call(same).total)


def test_llr_without_the_linear_term_is_smaller_by_it() -> None:
    whole = call(Llr(epsilon=0.1, linear_weight=3.0, warmup_epochs=0))
    without = call(Llr(epsilon=0.1, linear_weight=0.0, warmup_epochs=0))
    close(whole.loss - without.loss, 3.0 * SHARE * 0.1 * WEIGHT.abs().sum(), 1e-6)


def quadratic_soar(soar: Soar, count: int) -> tuple[Tensor, Tensor]:
    """Penalties ``(count,)`` of a logistic model at X[0] over draws, and the matrix there."""
    x = X[:1].expand(count, -1, -1, -1)
    losses = soar(Logistic(), x, Y[:1].expand(count), step())
    assert losses.regularizer is not None
    gradient = -SHARE[0] * WEIGHT
    curvature = SHARE[0] * (1 - SHARE[0])
    matrix = torch.zeros(5, 5, dtype=torch.float64)
    matrix[:4, :4] = curvature * torch.outer(WEIGHT, WEIGHT)
    matrix[:4, 4] = matrix[4, :4] = gradient
    matrix[4, 4] = 1.0
    return losses.regularizer.detach(), matrix


SMALL_STEP = Soar(
    epsilon=0.1,
    weight=0.5,
    start="zero",
    step_least=1e-4,
    step_most=1e-4,
    value_clip=1e9,
    gradient_clip=1e9,
)


def test_soar_estimates_the_root_of_the_sum_of_squares() -> None:
    # E |Hz|^2 is the squared Frobenius norm: here of the matrix with its last row.
    soar = replace(SMALL_STEP, last=True, directions=64, estimator="rms")
    values, matrix = quadratic_soar(soar, 300)
    expected = 0.5 * 0.5 * (4 * 0.1**2 + 1) * matrix.norm()
    assert float(values.square().mean().sqrt()) == pytest.approx(float(expected), rel=0.02)


def test_soar_as_published_leaves_out_the_last_row() -> None:
    values, matrix = quadratic_soar(replace(SMALL_STEP, estimator="rms"), 20_000)
    expected = 0.5 * 0.5 * (4 * 0.1**2 + 1) * matrix[:4].norm()
    assert float(values.square().mean().sqrt()) == pytest.approx(float(expected), rel=0.03)


def test_the_mean_norm_of_a_rank_one_matrix_is_below_its_norm() -> None:
    # F15: gradient and Hessian lie along w, the block is rank one, and E|Hz| = sqrt(2/pi) |H|_F.
    values, matrix = quadratic_soar(SMALL_STEP, 20_000)
    ratio = float(values.mean()) / (0.25 * 1.04 * float(matrix[:4].norm()))
    assert ratio == pytest.approx(math.sqrt(2 / math.pi), rel=0.02)


def test_soar_clips_values_image_by_image() -> None:
    soar = replace(SMALL_STEP, value_clip=0.05)
    losses = call(soar)
    assert losses.regularizer is not None
    assert float(losses.regularizer.detach().max()) <= 0.25 * 1.04 * 0.05 + 1e-12
    assert losses.clip_norm == soar.gradient_clip
    assert float(losses.measured["clipped_share"].mean()) == 1.0


def test_soar_starts_where_it_is_told() -> None:
    base, now = replace(SMALL_STEP, epsilon=0.1, step_size=0.03), Logistic()
    zero = replace(base, start="zero").offset(now, X, Y, step())
    noise = replace(base, start="random").offset(now, X, Y, step())
    moved = replace(base, start="pgd1").offset(now, X, Y, step())
    assert not zero.any()
    assert 0.05 < float(noise.abs().max()) <= 0.1
    expected = (noise - 0.03 * WEIGHT.sign().view(1, 1, 2, 2)).clamp(-0.1, 0.1)
    close(moved, expected, 1e-7)


def test_jacobian_of_linear_logits_is_the_frobenius_norm() -> None:
    matrix = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False).double())
    with torch.no_grad():
        next(model.parameters()).copy_(matrix)
    x, y = X[:1].expand(4000, -1, -1, -1), Y[:1].expand(4000)
    losses = Jacobian(weight=2.0, projections=2)(model, x, y, step())
    penalty = losses.loss - cross_entropy(model(x), y)
    assert float(penalty.detach().mean()) == pytest.approx(float(matrix.square().sum()), rel=0.03)


def test_gaussian_noise_has_its_sigma() -> None:
    seen: list[Tensor] = []

    class Spy(Logistic):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return super().forward(x)

    x, y = X[:1].expand(5000, -1, -1, -1), Y[:1].expand(5000)
    Gaussian(0.3)(Spy(), x, y, step())
    assert float((seen[0] - x).std()) == pytest.approx(0.3, rel=0.02)
    assert float(seen[0].min()) < 0  # the noise is not clipped


def test_smoothed_loss_is_that_of_the_mean_probability() -> None:
    noise = 0.3 * torch.randn((5, *X.shape), generator=step().generator, dtype=torch.float64)
    p = torch.stack([torch.sigmoid((X + n).flatten(1) @ WEIGHT) for n in noise]).mean(0)
    close(smoothed_loss(Logistic(), X, Y, noise), -p.log())


def test_smoothadv_moves_against_the_weights() -> None:
    objective = SmoothAdv(sigma=0.1, epsilon=0.2, steps=4, samples=3, warmup_epochs=0)
    noise = 0.1 * torch.randn((3, *X.shape), generator=step().generator, dtype=torch.float64)
    delta = -0.2 * WEIGHT / WEIGHT.norm()
    expected = torch.stack(
        [of_margin((X + n).flatten(1) @ WEIGHT + delta @ WEIGHT) for n in noise]
    ).mean(0)
    close(call(objective).loss, expected, 1e-6)


def small(name: str = "cnn4") -> nn.Module:
    """A smooth network in training mode, with the layers that a run uses."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        architecture = Architecture(name, activation="softplus", width=3)
        model = architecture.build(image_shape=(1, 8, 8), num_classes=3).double()
    prepare_convolutions(model)
    prepare_batch_norm(model, shared=False)
    return model.train()


def images(count: int = 6) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(5)
    x = 0.3 + 0.4 * torch.rand((count, 1, 8, 8), generator=draws, dtype=torch.float64)
    return x, torch.randint(3, (count,), generator=draws)


class HeldSmoothAdv(SmoothAdv):
    """SmoothAdv with a perturbation that does not depend on the parameters."""

    def perturbation(
        self, model: nn.Module, x: Tensor, y: Tensor, noise: Tensor, step: Step
    ) -> Tensor:
        return 0.1 * (x - 0.5)


SMOOTH: dict[str, Objective] = {
    "standard": METHODS["standard"](),
    # sign steps do not change with the parameters but in jumps, nor does Adam's first step
    "adversarial": Adversarial(),
    "free": Free(),
    "trades": Trades(),
    "cure": Cure(weight=0.3, step=0.5, step_epochs=0.0),
    "cure norm": Cure(weight=0.3, step=0.5, step_epochs=0.0, power="norm"),
    "llr": Llr(steps=1, warmup_epochs=0),
    "llr nominal-fixed": Llr(steps=1, warmup_epochs=0, bn="nominal-fixed"),
    "llr eval": Llr(steps=1, warmup_epochs=0, bn="eval"),
    "gradient forward": Gradient(norm=Norm.L2, weight=5.0, step=0.01),
    "gradient central": Gradient(norm=Norm.L2, weight=5.0, step=0.01, scheme="central"),
    "gradient exact": Gradient(norm=Norm.L2, weight=5.0, scheme="exact"),
    "gradient linf": Gradient(weight=5.0, scheme="central"),
    "gradient linf exact": Gradient(weight=5.0, scheme="exact", power="norm"),
    "jacobian": Jacobian(weight=2.0),
    "gaussian": Gaussian(0.2),
    "smoothadv": HeldSmoothAdv(),
    "soar": Soar(start="zero", value_clip=1e9),
    "soar rms": Soar(start="pgd1", value_clip=1e9, directions=2, estimator="rms", last=True),
}


def test_gradients_of_all_methods_are_looked_at() -> None:
    assert {type(objective) for objective in SMOOTH.values()} - {HeldSmoothAdv} | {
        SmoothAdv
    } == set(METHODS.values())


UNCOUPLED = {"gradient forward", "gradient central"}
"""Their direction depends on the parameters, which has no effect only on single images."""


@pytest.mark.parametrize(
    ("network", "name"),
    [("cnn4", name) for name in SMOOTH]
    + [("resnet-small", name) for name in SMOOTH if name not in UNCOUPLED],
)
def test_parameter_gradients_are_those_of_finite_differences(network: str, name: str) -> None:
    # directions that objectives hold constant are functions of the parameters too; their share of
    # the derivative is second order for unit gradients (d is stationary) and absent elsewhere
    objective, model, (x, y) = SMOOTH[name], small(network), images()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.0  # ascents see the averages, which must not move

    def value() -> Tensor:
        return objective(model, x, y, step()).total.sum()

    parameters = list(model.parameters())
    gradients = torch.autograd.grad(value(), parameters)
    draws = torch.Generator().manual_seed(9)
    directions = [torch.randn(p.shape, generator=draws, dtype=p.dtype) for p in parameters]
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    h = 1e-5
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, d in zip(parameters, directions, strict=True):
                p.add_(d, alpha=sign * h)
        values.append(float(value().detach()))
        with torch.no_grad():
            for p, d in zip(parameters, directions, strict=True):
                p.sub_(d, alpha=sign * h)
    assert slope == pytest.approx((values[0] - values[1]) / (2 * h), rel=2e-3)


DETERMINISTIC: dict[str, Objective] = {
    "standard": METHODS["standard"](),
    "adversarial": Adversarial(random_start=False),
    "cure": Cure(step_epochs=0),
    "gradient": Gradient(),
    "gradient exact": Gradient(scheme="exact"),
}


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_an_images_loss_does_not_depend_on_its_batch(name: str) -> None:
    objective, model, (x, y) = DETERMINISTIC[name], small(), images()
    whole = objective(model, x, y, step()).total
    for row in range(len(x)):
        alone = objective(model, x[row : row + 1], y[row : row + 1], step()).total
        close(alone, whole[row : row + 1].detach(), 1e-8)


@pytest.mark.parametrize("name", METHODS)
def test_batch_norm_averages_move_once_a_step(name: str) -> None:
    model, (x, y) = small("resnet-small").train(), images()
    losses = METHODS[name]()(model, x, y, step(epoch=1.0))
    torch.autograd.backward(losses.total.mean())
    layers = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert all(int(layer.num_batches_tracked or 0) == 1 for layer in layers)
    assert all(layer.training and layer.track_running_stats for layer in layers)
    assert all("forward" not in vars(layer) for layer in layers)
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("bn", ["nominal-fixed", "eval"])
def test_each_batch_norm_of_llr_moves_the_averages_once(bn: BatchNormMode) -> None:
    model, (x, y) = small("resnet-small").train(), images()
    Llr(bn=bn)(model, x, y, step())
    layers = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert all(int(layer.num_batches_tracked or 0) == 1 for layer in layers)
    assert all(module.training for module in model.modules())


def test_llr_sees_the_clean_batchs_statistics() -> None:
    # in the replayed pass an image's loss does not depend on the other images' perturbations
    model, (x, _) = small("resnet-small").train(), images()
    statistics = NominalStatistics(model)
    with statistics.recorded():
        clean = model(x)
    with statistics.replayed(detached=False):
        close(model(x), clean.detach(), 1e-9)
        moved = x.clone()
        moved[1:] += 0.1
        close(model(moved)[:1], clean[:1].detach(), 1e-9)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_weights_of_penalties_are_not_negative(value: float) -> None:
    numbers = ("weight", "ratio")
    tried = [
        (method, field.name)
        for method in METHODS.values()
        for field in fields(method)  # type: ignore[arg-type]
        if field.name.endswith(numbers)
    ]
    assert len(tried) > 5
    for method, name in tried:
        with pytest.raises(InvalidParameterError, match=name):
            method(**{name: value})
