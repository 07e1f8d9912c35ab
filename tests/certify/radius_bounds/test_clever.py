"""Lipschitz constants around single images from random points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from known_functions import flat_batch, quadratic, two_logits

from robcert.certify.core import Norm
from robcert.certify.local_linearity.deviation import tangent
from robcert.certify.numerics.losses import Loss
from robcert.certify.numerics.sampling import generator, points_in_ball
from robcert.certify.radius_bounds.clever import local_lipschitz


@pytest.mark.parametrize(("norm", "dual"), [(Norm.L2, 5.0), (Norm.LINF, 7.0), (Norm.L1, 4.0)])
def test_a_linear_model_has_one_slope(norm: Norm, dual: float) -> None:
    weight = torch.tensor([3.0, -4.0])
    batch = flat_batch(torch.tensor([[0.2, 0.5]]))
    tangents = tangent(two_logits(lambda x: x @ weight, 2), batch.x, batch.y, Loss.MARGIN)
    (fit,) = local_lipschitz(tangents, batch, norm=norm, radius=0.3, blocks=30, seed=0)
    assert fit is not None
    assert fit.status == "degenerate"
    assert fit.point == fit.upper == pytest.approx(dual)


def test_endpoint_of_a_paraboloid_in_a_plane() -> None:
    """½‖x‖² has the slope ‖x‖: within 0.5 of a point of length 1 at most 1.5."""
    batch = flat_batch(torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    tangents = tangent(two_logits(quadratic(torch.eye(2)), 2), batch.x, batch.y, Loss.MARGIN)
    fits = local_lipschitz(tangents, batch, norm=Norm.L2, radius=0.5, blocks=60, seed=0)
    for fit, truth in zip(fits, (1.5, 0.5), strict=True):
        assert fit is not None
        assert fit.max <= truth * (1 + 1e-6)
        assert fit.max == pytest.approx(truth, rel=0.03)
        assert fit.upper == pytest.approx(truth, rel=0.05)
        assert fit.shape < 0


def test_rows_do_not_depend_on_their_batch() -> None:
    batch = flat_batch(torch.rand(5, 3, generator=torch.Generator().manual_seed(0)))
    model = two_logits(lambda x: (x**3).sum(1), 3)
    tangents = tangent(model, batch.x, batch.y, Loss.MARGIN)
    whole = local_lipschitz(tangents, batch, norm=Norm.LINF, radius=0.2, blocks=4, seed=0)
    order = np.array([3, 1])
    part = tangents.part(order), batch.part(order)
    some = local_lipschitz(*part, norm=Norm.LINF, radius=0.2, blocks=4, seed=0)
    assert some == [whole[3], whole[1]]


def test_a_gradient_that_is_no_number_leaves_no_fit() -> None:
    """√(x₁ − 0.5) has no slope left of 0.5, which the second image's ball alone reaches."""
    batch = flat_batch(torch.tensor([[0.9, 0.1], [0.6, 0.1]]))
    model = two_logits(lambda x: (x[:, 0] - 0.5).sqrt() - 0.1, 2)
    tangents = tangent(model, batch.x, batch.y, Loss.MARGIN)
    fits = local_lipschitz(tangents, batch, norm=Norm.LINF, radius=0.2, blocks=4, seed=0)
    assert fits[0] is not None
    assert fits[1] is None


def test_few_linear_pieces_leave_no_estimate() -> None:
    """Two slopes, the steeper one in a corner: its blocks tie, which no continuous law does."""
    batch = flat_batch(torch.tensor([[0.5, 0.5]]))
    model = two_logits(lambda x: x[:, 0] + 5 * (x[:, 0] - 0.5995).relu(), 2)
    tangents = tangent(model, batch.x, batch.y, Loss.MARGIN)
    (fit,) = local_lipschitz(tangents, batch, norm=Norm.LINF, radius=0.1, blocks=30, seed=0)
    assert fit is not None
    assert fit.status == "atom"
    assert np.isnan(fit.point)
    assert fit.max == pytest.approx(6)


@pytest.mark.parametrize("norm", Norm)
def test_points_fill_the_ball_evenly(norm: Norm) -> None:
    """The norm of a uniform point has the law r^d: a share 0.5^d within half the radius.

    4000 points, d = 3: a standard deviation is 0.005, so 0.025 fails one time in a million.
    """
    points = points_in_ball(norm, 2.0, 4000, (1, 1, 3), generator=generator(0, "test", 0))
    lengths = norm.of(points)
    assert (lengths <= 2 * (1 + 1e-6)).all()
    assert float((lengths <= 1).double().mean()) == pytest.approx(0.125, abs=0.025)
    assert points.mean(0).abs().max() < 0.1
