"""Taylor curves, finite differences and SOAR's regulariser against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from known_functions import flat_batch, quadratic, two_logits

from robcert.certify.core import Norm
from robcert.certify.landscape.taylor import (
    exact_curvature,
    finite_curvature,
    finite_gradient_norm,
    second_order_penalties,
    taylor_curves,
)
from robcert.certify.local_linearity.deviation import tangent
from robcert.certify.numerics.losses import Loss

MATRIX = torch.diag(torch.tensor([3, -1, 0.5, -4]))
LINEAR = torch.tensor([0.5, -1, 2, 0.1])
IMAGES = flat_batch(torch.tensor([[0.2, 0.4, 0.6, 0.8], [0.5, 0.5, 0.5, 0.5]]))
ETA = torch.tensor([[0.1, 0.2, -0.1, 0.05], [0.0, 0.1, 0.0, 0.3]])[:, None, None]


def test_quadratic_loss_is_its_own_approximation() -> None:
    """F15b: the finite difference of gradients is exact at any step."""
    classifier = two_logits(quadratic(MATRIX, LINEAR), 4)
    tangents = tangent(classifier, IMAGES.x, IMAGES.y, Loss.MARGIN)
    expected = ((ETA.flatten(1) @ MATRIX) * ETA.flatten(1)).sum(1)
    assert torch.allclose(exact_curvature(tangents, ETA), expected, rtol=1e-5)
    for step in (0.01, 0.1, 1.0):
        assert torch.allclose(finite_curvature(tangents, ETA, step=step), expected, rtol=1e-3)
    curves = taylor_curves(tangents, ETA, steps=(0.1, 1.0), resolution=5)
    assert curves.t.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curves.finite.shape == (2, 2, 5)
    assert (curves.errors() < 1e-5).all()
    assert torch.allclose(curves.loss[:, 0], tangents.value)


def test_kinks_have_curvature_only_for_a_finite_step() -> None:
    """2 ReLU(x - 0.6) from 0.5 by 0.4: slope 0 here, the loss ends at 2 · 0.3."""
    classifier = two_logits(lambda x: 2 * (x[:, 0] - 0.6).relu(), 1)
    batch = flat_batch(torch.tensor([[0.5]]))
    tangents = tangent(classifier, batch.x, batch.y, Loss.MARGIN)
    eta = torch.full((1, 1, 1, 1), 0.4)
    assert exact_curvature(tangents, eta).item() == 0
    assert finite_curvature(tangents, eta, step=0.2).item() == pytest.approx(0.4 * 2 * 0.4 / 0.2)
    curves = taylor_curves(tangents, eta, steps=(0.2,), resolution=41)
    exact, finite = curves.errors()[0].tolist()
    assert curves.loss[0, -1].item() == pytest.approx(0.6)
    assert finite < exact


def test_affine_loss_has_no_curvature() -> None:
    classifier = two_logits(lambda x: x @ LINEAR, 4)
    tangents = tangent(classifier, IMAGES.x, IMAGES.y, Loss.MARGIN)
    assert exact_curvature(tangents, ETA).tolist() == [0, 0]
    curves = taylor_curves(tangents, ETA, steps=(0.1,), resolution=3)
    assert (curves.errors() < 1e-5).all()


@pytest.mark.parametrize(("norm", "dual"), [(Norm.LINF, 3.6), (Norm.L1, 2.0), (Norm.L2, 2.2935)])
def test_finite_gradient_norm_of_an_affine_loss(norm: Norm, dual: float) -> None:
    """F18 without its factor: the difference is the dual norm at any step."""
    tangents = tangent(two_logits(lambda x: x @ LINEAR, 4), IMAGES.x, IMAGES.y, Loss.MARGIN)
    for step in (0.01, 1.0):
        values = finite_gradient_norm(tangents, norm, step=step)
        assert values.tolist() == pytest.approx([dual] * 2, rel=1e-3)


def test_finite_gradient_norm_overshoots_by_the_curvature() -> None:
    """½ (3x²) at 0.2: slope 0.6, one step of h adds 3h/2."""
    classifier = two_logits(lambda x: 1.5 * x[:, 0] ** 2, 1)
    batch = flat_batch(torch.tensor([[0.2]]))
    tangents = tangent(classifier, batch.x, batch.y, Loss.MARGIN)
    assert finite_gradient_norm(tangents, Norm.L2, step=0.1).item() == pytest.approx(0.75, rel=1e-4)


def test_penalty_of_an_affine_loss() -> None:
    """F15c: ½(d eps² + 1) |z₁| ‖g‖, so its mean over z is ½(d eps² + 1) sqrt(2/π) ‖g‖."""
    tangents = tangent(two_logits(lambda x: x @ LINEAR, 4), IMAGES.x, IMAGES.y, Loss.MARGIN)
    values = second_order_penalties(tangents, IMAGES, epsilon=0.3, step=0.1, directions=600, seed=0)
    expected = 0.5 * (4 * 0.09 + 1) * (2 / np.pi) ** 0.5 * float(LINEAR.norm())
    # sd of |z| is 0.6, so the mean of 600 has sd 0.031 of 0.8: four of them
    assert values.mean(1).tolist() == pytest.approx([expected] * 2, rel=0.13)
    first = second_order_penalties(tangents, IMAGES, epsilon=0.3, step=0.1, directions=2, seed=0)
    assert first[:, 0].tolist() == values[:, 0].tolist()
