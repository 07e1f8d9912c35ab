"""Certificates against exact answers: linear models, sign patterns, mixed-integer programs."""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from linear_models import SHAPE, exact_distance, linear_classifier, near_grey
from mixed_integer import SOLVER_GAP, Residual, least_product
from mixed_integer import exact_distance as distance
from relu_nets import ReluNet
from scipy.optimize import linprog
from torch import nn

from robcert.certify.core import Ball, Norm
from robcert.certify.verification import Arithmetic, Method, Prover

if TYPE_CHECKING:
    from torch import Tensor

PROVED_SHARE = {Norm.LINF: 0.99, Norm.L1: 0.9}
"""Share of the exact distance up to which branch and bound has to come."""

ROUNDING = 1e-3
"""Share of a small net's distance that float32's rounding may cost."""


def function_of(net: nn.Module) -> Prover:
    shapes = {nn.Linear: lambda layer: (1, 1, layer.in_features)}
    first = next(layer for layer in net.modules() if type(layer) in (nn.Linear, nn.Conv2d))
    shape = shapes[nn.Linear](first) if isinstance(first, nn.Linear) else (1, 4, 4)
    return Prover.of_function(net, shape)


# --- linear models -------------------------------------------------------------------------


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("arithmetic", list(Arithmetic))
def test_a_linear_model_is_certified_up_to_its_exact_distance(
    norm: Norm, arithmetic: Arithmetic
) -> None:
    classifier = linear_classifier(3)
    batch = near_grey(classifier, 6)
    prover = Prover.of(classifier, arithmetic)
    below = 0.98 if arithmetic is Arithmetic.FLOAT32 else 1 - 1e-9
    for x, y, exact in zip(batch.x, batch.y, exact_distance(3, batch, norm), strict=True):
        assert prover.decide(x, int(y), Ball(norm, below * float(exact))).proved
        assert not prover.decide(x, int(y), Ball(norm, 1.000001 * float(exact))).proved


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L1])
def test_the_pixel_box_is_used(norm: Norm) -> None:
    """Images at the edge of the box, radii so large that the box cuts the ball."""
    classifier = linear_classifier(5)
    draws = torch.Generator().manual_seed(2)
    images = (torch.rand(4, *SHAPE, generator=draws) * 1.6 - 0.3).clamp(0, 1)
    prover = Prover.of(classifier, Arithmetic.REAL)
    eye = torch.eye(4, dtype=torch.float64)
    scores = prover.network(images.double())
    units = torch.eye(20, dtype=torch.float64).view(20, *SHAPE)
    offset = prover.network(torch.zeros(1, *SHAPE, dtype=torch.float64))[0]
    weight = prover.network(units) - offset
    for x, y in zip(images, scores.argmax(1).tolist(), strict=True):
        for radius in (0.02, 0.1, 0.3, 1.0, 3.0):
            least = min(
                least_product(
                    (weight @ (eye[y] - eye[j])).numpy(),
                    x.double().flatten().numpy(),
                    norm,
                    radius,
                )
                + float(offset[y] - offset[j])
                for j in range(4)
                if j != y
            )
            found = prover.decide(x, y, Ball(norm, radius), method=Method.CROWN)
            assert found.proved == (least > 0)
            assert found.bound <= least + 1e-9
            if found.method is Method.CROWN:
                assert found.bound == pytest.approx(least, rel=1e-6, abs=1e-9)


def test_the_radius_found_lies_below_the_exact_one() -> None:
    classifier = linear_classifier(1)
    batch = near_grey(classifier, 4)
    prover = Prover.of(classifier)
    for norm in Norm:
        for x, y, exact in zip(batch.x, batch.y, exact_distance(1, batch, norm), strict=True):
            found = prover.largest_radius(x, int(y), norm, limit=2 * float(exact))
            assert 0.97 * exact <= found.radius <= exact


# --- two layers, by enumeration -------------------------------------------------------------


def nearest(net: ReluNet, x: np.ndarray, y: int, norm: Norm, limit: float) -> float:
    """Distance to another class in [0, 1]: a linear program for each pattern of signs and class.

    Variables are the image, the change of each pixel and the radius.
    """
    best, d = math.inf, len(x)
    eye = np.eye(d)
    column = np.ones((d, 1))
    size = [np.hstack([eye, -eye, 0 * column]), np.hstack([-eye, -eye, 0 * column])]
    limits = [x, -x]
    if norm is Norm.LINF:
        size.append(np.hstack([0 * eye, eye, -column]))
        limits.append(np.zeros(d))
    else:
        size.append(np.hstack([np.zeros(d), np.ones(d), [-1.0]])[None])
        limits.append(np.zeros(1))
    for pattern in itertools.product((0.0, 1.0), repeat=len(net.a)):
        active = np.array(pattern)
        slope, constant = (net.v * active) @ net.w, (net.v * active) @ net.a + net.b
        direction = np.where(active, -1.0, 1.0)
        signs = np.hstack([direction[:, None] * net.w, np.zeros((len(active), d + 1))])
        for j in range(len(net.b)):
            if j == y:
                continue
            margin = np.append(slope[y] - slope[j], np.zeros(d + 1))[None]
            answer = linprog(
                np.eye(2 * d + 1)[-1],
                A_ub=np.vstack([*size, signs, margin]),
                b_ub=np.concatenate([*limits, -direction * net.a, [constant[j] - constant[y]]]),
                bounds=[(0, 1)] * d + [(0, limit)] * (d + 1),
            )
            if answer.status == 0:
                best = min(best, answer.fun)
    return best


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L1])
@pytest.mark.parametrize("seed", range(6))
def test_two_layers_are_decided_on_both_sides_of_the_exact_distance(seed: int, norm: Norm) -> None:
    net = ReluNet.random(seed, 3, 5, 3)
    draws = np.random.default_rng(seed)
    x = draws.random(3).astype(np.float32)
    y = int(net(x[None].astype(np.float64)).argmax())
    exact = nearest(net, x.astype(np.float64), y, norm, 3.0)
    tensors = {name: torch.from_numpy(getattr(net, name)).float() for name in "wavb"}

    def function(image: Tensor) -> Tensor:
        hidden = torch.relu(image.flatten(1) @ tensors["w"].t() + tensors["a"])
        return hidden @ tensors["v"].t() + tensors["b"]

    prover = Prover.of_function(function, (1, 1, 3))
    image = torch.from_numpy(x).view(1, 1, 3)
    inside = min(exact, 1.5) * (1 - ROUNDING)
    assert prover.decide(image, y, Ball(norm, inside), deadline=time.monotonic() + 20).proved
    if exact < 2:
        beyond = exact * (1 + 1e-4) + 1e-7
        for method in Method:
            found = prover.decide(
                image, y, Ball(norm, beyond), method=method, deadline=time.monotonic() + 5
            )
            assert not found.proved


# --- random nets, by a mixed-integer program ------------------------------------------------


def dense(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)
    )


def convolutional(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Conv2d(2, 2, 2, groups=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2, 3),
    )


def residual(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 2, 2, stride=2),
        nn.BatchNorm2d(2).eval(),
        nn.ReLU(),
        Residual(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1)),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def pooling(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.MaxPool2d(2, padding=1),
        nn.AvgPool2d(2, stride=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


NETS = {"dense": dense, "convolutional": convolutional, "residual": residual, "pooling": pooling}


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L1])
@pytest.mark.parametrize("kind", list(NETS))
@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_random_nets_agree_with_the_mixed_integer_program(kind: str, seed: int, norm: Norm) -> None:
    net = NETS[kind](seed).requires_grad_(requires_grad=False)
    prover = function_of(net)
    shape = tuple(prover.network.nodes[0].shape[1:])
    x = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    y = int(net(x[None]).argmax())
    limit = 1.0 if norm is Norm.LINF else 4.0
    exact = distance(net, x, y, norm, limit)
    inside = min(exact, limit) * PROVED_SHARE[norm]
    found = prover.decide(x, y, Ball(norm, inside), deadline=time.monotonic() + 20)
    assert found.proved
    if math.isinf(exact):
        return
    for factor in (1 + 10 * SOLVER_GAP, 1.02, 1.3):
        found = prover.decide(
            x, y, Ball(norm, exact * factor + 1e-6), deadline=time.monotonic() + 3
        )
        assert not found.proved
        if found.counterexample is not None:
            _check_counterexample(
                net, x, found.counterexample, y, Ball(norm, exact * factor + 1e-6)
            )


def _check_counterexample(net: nn.Module, x: Tensor, other: Tensor, y: int, ball: Ball) -> None:
    change = (other.double() - x.double()).flatten()
    assert float(ball.norm.of(change[None])) <= ball.epsilon * (1 + 1e-5)
    assert float(other.min()) >= 0
    assert float(other.max()) <= 1
    scores = net.double()(other.double()[None])[0]
    net.float()
    assert float(scores[y] - scores.max()) <= 0 or int(scores.argmax()) != y
