"""Residuals over a grid of radii: warm starts, undecided images, top-k margins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from known_functions import FlatFunction, flat_batch, quadratic, two_logits
from torch import Tensor, nn

from robcert.certify.core import Batch, Norm
from robcert.certify.local_linearity.deviation import (
    Search,
    Sided,
    Tangent,
    halving_rule,
    largest_deviation,
    tangent,
)
from robcert.certify.model.classifier import Classifier
from robcert.certify.numerics.losses import ImageLoss, Loss, TopMargin
from robcert.certify.radius_bounds.excess import Excesses, ExcessSearch, largest_excesses
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
    search = ResidualSearch(norm, GRID, 6, 0, repeats=True)
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
    search = ResidualSearch(Norm.L2, GRID, 2, 0)
    gap = -tangents.value.double().numpy()
    found = residuals_while_undecided(tangents, batch, search, gap=gap, slope=np.ones(3))
    assert np.isnan(found).all()


def test_residuals_do_not_depend_on_the_batch() -> None:
    rows = some_rows()
    tangents, batch = plane_of(wave, rows)
    search = ResidualSearch(Norm.LINF, GRID, 6, 0, repeats=True)
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
    search = ResidualSearch(Norm.L2, GRID, 6, 0, repeats=True)
    found = largest_residuals(tangents, batch, search).found
    assert (found[:, -1] >= 0.999 * 0.5 * GRID[-1] ** 2).all()
    cold = largest_residuals(
        tangents, batch, ResidualSearch(Norm.L2, GRID[-1:], 6, 0, repeats=True)
    ).found
    assert (found[:, -1] >= cold[:, 0]).all()


def test_a_quadratic_is_found_at_every_radius() -> None:
    tangents, batch = plane_of(quadratic(torch.eye(4)), some_rows(2))
    search = ResidualSearch(Norm.L2, GRID, 5, 0)
    assert search.n_gradients == 4 * (8 + 2 + 5)
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
        tangents, batch, ResidualSearch(Norm.LINF, (0.2, 0.6), 5, 0, repeats=True)
    ).found
    assert found[1].tolist() == pytest.approx([0, 0.7], abs=1e-5)


def one_start(tangents: Tangent, batch: Batch, steps: int) -> Tensor:
    """Residuals of one ascent from a random point at each radius."""
    found = [
        largest_deviation(
            tangents,
            batch,
            Search(Norm.L2, Sided.UPPER, steps, halving_rule(Norm.L2, steps), box=False),
            epsilon=epsilon,
            seed=0,
            stream="one",
        ).value
        for epsilon in GRID
    ]
    return torch.stack(found, 1).cummax(1).values


def excesses_of(tangents: Tangent, batch: Batch, steps: int = 8) -> Excesses:
    search = ExcessSearch(Norm.L2, GRID, Loss.MARGIN, steps, rounds=1, seed=0)
    return largest_excesses(tangents, batch, search)


def three_classes() -> Classifier:
    """A small network of ReLU whose margin turns towards a third class behind the first."""
    draws = torch.Generator().manual_seed(2)
    first, second = nn.Linear(30, 40), nn.Linear(40, 3)
    for layer in (first, second):
        layer.weight = nn.Parameter(torch.randn(layer.weight.shape, generator=draws))
        layer.bias = nn.Parameter(torch.randn(layer.bias.shape, generator=draws))
    net = nn.Sequential(nn.Flatten(), first, nn.ReLU(), second)
    return Classifier.from_module(net, image_shape=(1, 1, 30), num_classes=3)


def net_and_images(loss: Loss, n: int = 9) -> tuple[Tangent, Batch]:
    classifier = three_classes()
    batch = flat_batch(torch.rand(n, 30, generator=torch.Generator().manual_seed(5)))
    y = classifier.twin_logits(batch.x).argmax(1)
    batch = Batch(batch.index, batch.x, y)
    return tangent(classifier, batch.x, y, loss), batch


@pytest.mark.parametrize("loss", [Loss.MARGIN, Loss.PROBABILITY_MARGIN])
def test_more_is_found_than_from_one_start(loss: Loss) -> None:
    """One start per radius misses most of the residual of some image; starts at attacks do not."""
    tangents, batch = net_and_images(loss)
    search = ResidualSearch(Norm.L2, GRID, 8, 0)
    several = largest_residuals(tangents, batch, search, excesses_of(tangents, batch)).found
    one = one_start(tangents, batch, 8)
    assert (several >= 0.8 * one - 1e-5).all()
    assert (one < 0.5 * several).any()
    assert several.mean() > 1.05 * one.mean()


def test_the_search_is_monotone_and_ignores_batch_and_order() -> None:
    tangents, batch = net_and_images(Loss.PROBABILITY_MARGIN)
    search = ResidualSearch(Norm.L2, GRID, 6, 0, repeats=True)
    whole = largest_residuals(tangents, batch, search, excesses_of(tangents, batch)).found
    assert (whole.diff(dim=1) >= 0).all()
    order = np.array([7, 2, 5])
    part, some = tangents.part(order), batch.part(order)
    assert torch.equal(
        largest_residuals(part, some, search, excesses_of(part, some)).found, whole[order]
    )


def test_a_saturated_loss_is_left_by_way_of_an_attack() -> None:
    """Probability margin of 60 (x₁ - 0.5): at x₁ = 0.3 it is -1 and flat, beyond 0.5 it is 1."""
    rows = torch.full((3, 50), 0.3)
    tangents, batch = plane_of(lambda x: 60 * (x[:, 0] - 0.5), rows, Loss.PROBABILITY_MARGIN)
    search = ResidualSearch(Norm.L2, GRID, 8, 0)
    found = largest_residuals(tangents, batch, search, excesses_of(tangents, batch)).found
    assert (found[:, 2:] > 1.99).all()
    assert (found[:, 0] < 0.01).all()
