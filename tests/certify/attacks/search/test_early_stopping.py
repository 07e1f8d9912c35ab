"""Ascents stop early where the boundary is unattainable, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_functions import two_logits
from linear_models import exact_distance, linear_classifier, near_grey
from torch import nn

from robcert.certify.attacks.gradient.pgd import PgdConfig, pgd
from robcert.certify.attacks.gradient.targeted import multi_targeted
from robcert.certify.attacks.search.early_stopping import (
    CAUTION,
    EarlyStopping,
    loss_margin,
    unit_slope,
)
from robcert.certify.attacks.search.state import SearchState
from robcert.certify.auditing.open import bundled
from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.data.load import load_images
from robcert.certify.importer.load import load_classifier
from robcert.certify.model.classifier import Classifier
from robcert.certify.numerics.losses import Loss

STEPS = 20
FIRST = 8
"""Gradients of an image that stops as early as possible: seven steps of 0.3 radii were taken."""


@pytest.mark.parametrize("loss", [Loss.MARGIN, Loss.CE])
@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_on_a_linear_model_unattainable_boundaries_stop_the_ascent_at_once(
    norm: Norm, loss: Loss
) -> None:
    classifier = linear_classifier(2, classes=2)
    batch = near_grey(classifier, 30)
    distance = exact_distance(2, batch, norm, classes=2)
    epsilon = float(distance.median())
    found = pgd(classifier, batch, Ball(norm, epsilon), PgdConfig(loss=loss, early_stopping=True))
    beyond = distance > 1.2 * epsilon
    assert beyond.any()
    assert (found.n_backward[beyond] == FIRST).all()
    assert found.found[distance < 0.99 * epsilon].all()
    patient = pgd(classifier, batch, Ball(norm, epsilon), PgdConfig(loss=loss))
    assert (patient.n_backward[beyond] == STEPS).all()


def test_margins_that_deviate_from_their_tangents_are_tried_to_the_end() -> None:
    classifier = two_logits(lambda x: torch.sin(400 * x.mean(1)) - 1.5, 6)
    batch = Batch(
        np.arange(5), torch.linspace(0.3, 0.6, 30).view(5, 1, 1, 6), torch.zeros(5).long()
    )
    found = pgd(classifier, batch, Ball(Norm.LINF, 0.1), PgdConfig(early_stopping=True))
    assert (found.n_backward == STEPS).all()


def early_stopping_at(norm: Norm, epsilon: float) -> EarlyStopping:
    classifier = two_logits(lambda x: x.sum(1), 4)
    batch = Batch(np.arange(1), torch.full((1, 1, 1, 4), 0.5), torch.zeros(1).long())
    state = SearchState(classifier, batch, norm)
    margin = loss_margin(state, Loss.MARGIN)
    return EarlyStopping(state, torch.tensor([epsilon]), STEPS, margin)


def continues(
    at: EarlyStopping, t: int, margin: float, slope: float, predicted: float = 0.0
) -> bool:
    """Whether an ascent at the centre of its ball continues; all gradients are ``slope``."""
    gradient = torch.full((1, 1, 1, 4), slope)
    step = torch.full((1, 1, 1, 4), predicted / (4 * slope))
    logits = torch.tensor([[0.0, margin]])
    row, delta = torch.tensor([0]), torch.zeros(1, 1, 1, 4)
    return bool(at.continues(row, torch.tensor([float(t)]), delta, logits, gradient, step))


@pytest.mark.parametrize(("norm", "reach"), [(Norm.LINF, 4 * 0.1), (Norm.L2, 2 * 0.1)])
def test_the_gap_is_what_a_linear_margin_rises_by(norm: Norm, reach: float) -> None:
    for margin, goes_on in ((-CAUTION * reach * 1.01, False), (-CAUTION * reach * 0.99, True)):
        at = early_stopping_at(norm, 0.1)
        assert continues(at, 1, margin, 1.0)  # too early to stop
        assert continues(at, FIRST, margin, 1.0) is goes_on


def test_errors_of_tangents_and_growing_slopes_are_added_to_the_possible_rise() -> None:
    at = early_stopping_at(Norm.LINF, 0.1)
    assert continues(at, 1, -2.0, 1.0, predicted=0.1)
    assert continues(at, FIRST, -1.9, 1.0) is False
    assert continues(at, FIRST + 1, -1.6, 1.0)  # the tangent had predicted -1.9
    flat = early_stopping_at(Norm.LINF, 0.1)
    assert continues(flat, 1, -2.0, 0.1)
    assert continues(flat, FIRST, -2.0, 0.5)  # five times as steep: the rise of 0.2 counts as 1.0
    steady = early_stopping_at(Norm.LINF, 0.1)
    assert continues(steady, 1, -2.0, 0.5)
    assert continues(steady, FIRST, -2.0, 0.5) is False


def test_the_margin_behind_the_cross_entropy_has_its_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 6, generator=generator, requires_grad=True)
    y = torch.arange(40) % 6
    state = SearchState(
        Classifier.from_module(nn.Flatten(), image_shape=(1, 1, 6), num_classes=6),
        Batch(np.arange(40), torch.rand(40, 1, 1, 6, generator=generator), y),
        Norm.LINF,
    )
    margin, slope = loss_margin(state, Loss.CE)(logits, torch.arange(40))
    loss = Loss.CE.of(logits, y)
    torch.testing.assert_close(torch.log1p(margin.exp()), loss.double())
    of_margin = torch.autograd.grad(margin.sum(), logits, retain_graph=True)[0]
    of_loss = torch.autograd.grad(loss.sum(), logits)[0]
    torch.testing.assert_close(of_margin * slope[:, None].detach().float(), of_loss)
    sure = torch.tensor([[30.0, 0, 0, 0, 0, 0]])
    assert loss_margin(state, Loss.CE)(sure, torch.tensor([0]))[1].isnan().all()
    assert (unit_slope(loss)[1] == 1).all()


def network(seed: int) -> Classifier:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 3))
    return Classifier.from_module(module, image_shape=(1, 4, 4), num_classes=3)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    norm=st.sampled_from(list(Norm)),
    share=st.floats(0.1, 1.5),
    loss=st.sampled_from([Loss.MARGIN, Loss.CE]),
)
def test_until_an_ascent_stops_early_nothing_changes(
    seed: int, norm: Norm, share: float, loss: Loss
) -> None:
    classifier = network(seed)
    x = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    batch = Batch(np.arange(8), x, classifier.logits(x).argmax(1))
    epsilon = share * {Norm.LINF: 0.1, Norm.L2: 0.3, Norm.L1: 1.0}[norm]
    patient = pgd(classifier, batch, Ball(norm, epsilon), PgdConfig(loss=loss))
    hasty = pgd(classifier, batch, Ball(norm, epsilon), PgdConfig(loss=loss, early_stopping=True))
    assert torch.equal(hasty.x_adv[hasty.found], patient.x_adv[hasty.found])
    assert torch.equal(hasty.n_backward[hasty.found], patient.n_backward[hasty.found])
    assert (hasty.n_backward <= patient.n_backward).all()
    stopped = hasty.n_backward < patient.n_backward
    assert (hasty.n_backward[stopped] >= FIRST).all()
    if norm is Norm.L1:
        assert not stopped.any()


@pytest.mark.parametrize("name", ["fashion-honest.onnx", "fashion-gaussian.onnx"])
def test_a_real_model_costs_less_and_is_broken_as_often(name: str) -> None:
    classifier, images = load_classifier(bundled(name)), load_images("fashion-mnist-2000")
    assert images.labels is not None
    index = np.arange(60)
    batch = Batch(index, images.pixels(index), torch.from_numpy(images.labels[index]))
    epsilon = {"fashion-honest.onnx": 0.01}.get(name, 0.06)
    hasty, patient = (
        multi_targeted(
            classifier,
            batch,
            Ball(Norm.LINF, epsilon),
            PgdConfig(early_stopping=early_stopping),
            targets=3,
        )
        for early_stopping in (True, False)
    )
    assert hasty.n_backward.sum() < 0.7 * patient.n_backward.sum()
    assert torch.equal(hasty.found, patient.found)
