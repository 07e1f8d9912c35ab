"""Residuals over a grid of radii: warm starts, undecided images, top-k margins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from known_functions import FlatFunction, flat_batch, quadratic, two_logits
from torch import Tensor, nn

from robcert.certify.core import Batch, Norm
from robcert.certify.local_linearity.deviation import Tangent, tangent
from robcert.certify.model.classifier import Classifier
from robcert.certify.numerics.losses import ImageLoss, Loss, TopMargin
from robcert.certify.radius_bounds.radii import omega_bound
from robcert.certify.radius_bounds.residuals import (
    ResidualSearch,
    forget_decided,
    largest_residuals,
    residuals_while_undecided,
)

GRID = (0.1, 0.2, 0.4, 0.8)


def plane_of(
    function: FlatFunction, rows: Tensor, loss: ImageLoss = Loss.MARGIN
) -> tuple[Tangent, Batch]:
    batch = flat_batch(rows)
    classifier = two_logits(function, rows.shape[1])
    return tangent(classifier, batch.x, batch.y, loss), batch


def wave(x: Tensor) -> Tensor:
    """A bumpy function with several hills, so that the searches matter."""
    return (3 * x).sin().sum(1) + 0.3 * (7 * x[:, 0] * x[:, 1]).cos() - 2.0


def some_rows(n: int = 11) -> Tensor:
    return torch.rand(n, 4, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("norm", Norm)
def test_undecided_images_find_what_the_whole_search_finds(norm: Norm) -> None:
    tangents, batch = plane_of(wave, some_rows())
    search = ResidualSearch(norm, GRID, 6, 2, 0)
    gap = -tangents.value.double().numpy()
    slope = norm.dual.of(tangents.gradient).double().numpy()
    whole = largest_residuals(tangents, batch, search).found.double().numpy()
    while_undecided = residuals_while_undecided(tangents, batch, search, gap=gap, slope=slope)
    expected = forget_decided(whole, gap=gap, slope=slope, epsilons=GRID)
    np.testing.assert_array_equal(while_undecided, expected)
    assert 0 < np.isnan(expected).mean() < 1
    radii, _ = omega_bound(-gap, slope, epsilons=GRID, omegas=whole)
    early, _ = omega_bound(-gap, slope, epsilons=GRID, omegas=expected)
    assert early.tolist() == radii.tolist()


def test_misclassified_images_are_decided_from_the_start() -> None:
    tangents, batch = plane_of(lambda x: 1 + x.sum(1), some_rows(3))
    search = ResidualSearch(Norm.L2, GRID, 2, 1, 0)
    gap = -tangents.value.double().numpy()
    found = residuals_while_undecided(tangents, batch, search, gap=gap, slope=np.ones(3))
    assert np.isnan(found).all()


def test_residuals_do_not_depend_on_the_batch() -> None:
    rows = some_rows()
    tangents, batch = plane_of(wave, rows)
    search = ResidualSearch(Norm.LINF, GRID, 6, 2, 0)
    whole = largest_residuals(tangents, batch, search)
    order = np.array([7, 2, 5])
    part = largest_residuals(tangents.part(order), batch.part(order), search)
    assert torch.equal(whole.found[order], part.found)
    assert torch.equal(whole.random[order], part.random)


def test_a_warm_start_follows_a_narrow_hill() -> None:
    """½v₁² in 400 dimensions, 6 steps: each radius starts where the one before has arrived."""
    curved = torch.zeros(400)
    curved[0] = 1.0
    tangents, batch = plane_of(lambda x: 0.5 * (x * x) @ curved, torch.full((4, 400), 0.5))
    search = ResidualSearch(Norm.L2, GRID, 6, 2, 0)
    found = largest_residuals(tangents, batch, search).found
    assert (found[:, -1] >= 0.999 * 0.5 * GRID[-1] ** 2).all()
    cold = largest_residuals(tangents, batch, ResidualSearch(Norm.L2, GRID[-1:], 6, 2, 0)).found
    assert (found[:, -1] >= cold[:, 0]).all()


def test_one_restart_has_no_warm_start() -> None:
    tangents, batch = plane_of(quadratic(torch.eye(4)), some_rows(2))
    search = ResidualSearch(Norm.L2, GRID, 5, 1, 0)
    assert search.n_gradients == 20
    assert ResidualSearch(Norm.L2, GRID, 5, 3, 0).n_gradients == 15 + 3 * (10 + 2)
    found = largest_residuals(tangents, batch, search).found
    for row in found.tolist():
        assert row == pytest.approx([0.5 * epsilon**2 for epsilon in GRID], rel=1e-4)


def scores(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows)


def test_top_margin_by_hand() -> None:
    logits = scores([[1.0, 4.0, 2.0, 3.0], [5.0, 1.0, 2.0, 0.0]])
    y = torch.tensor([0, 0])
    assert TopMargin(1).of(logits, y).tolist() == Loss.MARGIN.of(logits, y).tolist() == [3, -3]
    assert TopMargin(2).of(logits, y).tolist() == [2, -4]
    assert TopMargin(3).of(logits, y).tolist() == [1, -5]
    p = logits.softmax(1)
    expected = (p[0, 3] - p[0, 0]).item()
    assert TopMargin(2, probability=True).of(logits, y)[0].item() == pytest.approx(expected)


def test_top_margin_of_a_linear_model() -> None:
    """Top 2 of z = (0, 5 + x, x, -x) at x = 1: rank 2 is the third class, of slope 1."""
    layer = nn.Linear(1, 4)
    layer.weight = nn.Parameter(torch.tensor([[0.0], [1.0], [1.0], [-1.0]]))
    layer.bias = nn.Parameter(torch.tensor([0.0, 5.0, 0.0, 0.0]))
    net = nn.Sequential(nn.Flatten(), layer)
    classifier = Classifier.from_module(net, image_shape=(1, 1, 1), num_classes=4)
    batch = flat_batch(torch.tensor([[1.0], [0.25]]))
    tangents = tangent(classifier, batch.x, batch.y, TopMargin(2))
    assert tangents.value.tolist() == [1.0, 0.25]
    assert tangents.gradient.flatten().tolist() == [1.0, 1.0]
    # |x| is the margin, so past 0 the residual within eps of 0.25 is 2 (eps - 0.25); it is flat
    # on the near side, so some start has to lie beyond
    found = largest_residuals(
        tangents, batch, ResidualSearch(Norm.LINF, (0.2, 0.6), 5, 12, 0)
    ).found
    assert found[1].tolist() == pytest.approx([0, 0.7], abs=1e-5)
