"""Linear classifiers: the distance to the boundary is known (F1, F1b)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from linear_models import exact_distance, linear_classifier, linear_module, near_grey

from robcert.certify.attacks import suites
from robcert.certify.attacks.black_box.boundary import run_boundary
from robcert.certify.attacks.catalogue import CATALOGUE
from robcert.certify.attacks.gradient.pgd import PgdConfig, pgd
from robcert.certify.attacks.search.adversarial_starts import run_gaussian
from robcert.certify.attacks.search.budget import AttackBudget
from robcert.certify.attacks.search.state import SearchState
from robcert.certify.core import Ball, Batch, Norm

BUDGET = AttackBudget(steps=20, restarts=1, targets=9, descent_steps=100, halvings=8, queries=50)
NEAREST = (
    *("fmn", "ddn", "deepfool", "cw", "pgd", "pgd-ce", "pgd-adam"),
    *("multi-targeted", "apgd-targeted", "apgd-ce", "apgd-dlr"),
)
SEEDS = {"cw": 1, "multi-targeted": 1, "apgd-targeted": 1, "apgd-ce": 1, "apgd-dlr": 1}
"""Models, where not three: these take a thousand gradients per image."""

SLOWER = [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
"""Models of attacks that take seconds: the first in every run."""

CLASSES = [pytest.param(2, marks=pytest.mark.slow), 4, pytest.param(10, marks=pytest.mark.slow)]

FLOAT32 = 5e-4
"""Relative error of distances of 1e-4, from the rounding of float32 pixels and logits."""


@pytest.mark.parametrize(
    ("name", "norm", "seed"),
    [
        pytest.param(name, norm, seed, marks=pytest.mark.slow if seed else ())
        for name in NEAREST
        for norm in CATALOGUE[name].norms
        if (name, norm) != ("cw", Norm.LINF)  # below: its last values of tau are 0.7 % apart
        for seed in range(SEEDS.get(name, 3))
    ],
)
@pytest.mark.parametrize("classes", CLASSES)
def test_every_distance_is_within_one_percent_of_the_exact_one(
    name: str, norm: Norm, seed: int, classes: int
) -> None:
    """Each image, also where the nearest class is not the one of the steepest ascent."""
    classifier = linear_classifier(seed, classes=classes)
    batch = near_grey(classifier, 16)
    state = SearchState(classifier, batch, norm)
    suites.run(state, (name,), BUDGET)
    ratio = state.distance / exact_distance(seed, batch, norm, classes=classes)
    assert ratio.min() >= 1 - FLOAT32
    assert ratio.max() <= 1.01


@pytest.mark.parametrize("classes", CLASSES)
def test_carlini_wagner_in_linf_comes_within_three_percent(classes: int) -> None:
    """The paper's search for tau alone would end up to a tenth above the exact distance."""
    classifier = linear_classifier(1, classes=classes)
    batch = near_grey(classifier, 16)
    state = SearchState(classifier, batch, Norm.LINF)
    suites.run(state, ("cw",), BUDGET)
    ratio = state.distance / exact_distance(1, batch, Norm.LINF, classes=classes)
    assert ratio.min() >= 1 - FLOAT32
    assert ratio.max() <= 1.03


def test_carlini_wagner_in_linf_moves_black_and_white_pixels() -> None:
    """Of two classes, the pixels that can move towards the other one are all that count."""
    classifier = linear_classifier(2, classes=2)
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (60, 1, 4, 5), generator=generator).float()
    batch = Batch(np.arange(60), x, classifier.logits(x).argmax(1))
    layer = linear_module(2, classes=2)[1]
    assert isinstance(layer, torch.nn.Linear)
    logits, slope = classifier.logits(x), layer.weight[1] - layer.weight[0]
    margin, towards = logits[:, 1] - logits[:, 0], torch.where(batch.y == 0, 1.0, -1.0)
    movable = (slope.sign() * towards[:, None] > 0) == (x.flatten(1) == 0)
    exact = margin.abs() / (slope.abs() * movable).sum(1)
    near = (exact < 0.3).nonzero().flatten()
    assert len(near) >= 10
    state = SearchState(classifier, batch.part(near.numpy()), Norm.LINF)
    suites.run(state, ("cw",), BUDGET)
    ratio = state.distance / exact[near].detach()
    assert ratio.min() >= 1 - FLOAT32
    assert ratio.max() <= 1.05


def test_rows_of_carlini_wagner_in_linf_do_not_depend_on_other_images() -> None:
    classifier = linear_classifier(1)
    batch = near_grey(classifier, 4)
    parts = [batch.part(np.array(rows)) for rows in ([0, 1, 2, 3], [2], [3, 0, 1])]
    states = [SearchState(classifier, part, Norm.LINF) for part in parts]
    for state in states:
        suites.run(state, ("cw",), replace(BUDGET, descent_steps=30))
    whole, one, three = (state.x_adv for state in states)
    assert torch.equal(whole, torch.cat([three[1:], one, three[:1]]))


def test_suites_have_the_attacks_in_linf_that_they_had() -> None:
    """Tables of earlier versions are resumed: their rows must not come from other attacks."""
    for suite in suites.Suite:
        for differentiable in (True, False):
            linf, l2 = (
                set(suites.attacks_of(suite, (), norm, differentiable=differentiable))
                for norm in (Norm.LINF, Norm.L2)
            )
            assert not {"cw", "boundary"} & linf
            assert differentiable or "boundary" in l2
    assert suites.attacks_of(suites.Suite.QUICK, ("cw",), Norm.LINF, differentiable=True) == ("cw",)


@pytest.mark.parametrize("norm", list(Norm))
def test_two_classes_leave_one_step_one_way(norm: Norm) -> None:
    """For K = 2 loss and margin have the same direction everywhere: only bisection limits FGSM."""
    classifier = linear_classifier(5, classes=2)
    batch = near_grey(classifier, 8)
    state = SearchState(classifier, batch, norm)
    suites.run(state, ("fgsm",), BUDGET)
    exact = exact_distance(5, batch, norm, classes=2)
    assert torch.allclose(state.distance, exact, rtol=0.01)


@pytest.mark.parametrize("seed", SLOWER)
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("norm", CATALOGUE["logbarrier"].norms)
@pytest.mark.parametrize("classes", CLASSES)
def test_log_barrier_comes_within_five_percent(
    classes: int, norm: Norm, known: bool, seed: int
) -> None:
    """Also from a known adversarial image, which is rarely of the nearest class."""
    classifier = linear_classifier(seed, classes=classes)
    batch = near_grey(classifier, 16)
    state = SearchState(classifier, batch, norm)
    if known:
        suites.run(state, ("gaussian",), BUDGET)
    suites.run(state, ("logbarrier",), replace(BUDGET, descent_steps=200))
    ratio = state.distance / exact_distance(seed, batch, norm, classes=classes)
    assert ratio.min() >= 1 - FLOAT32
    assert ratio.max() <= 1.05


@pytest.mark.parametrize("seed", SLOWER)
@pytest.mark.parametrize("norm", CATALOGUE["boundary"].norms)
@pytest.mark.parametrize("classes", CLASSES)
def test_boundary_walks_come_within_five_percent(classes: int, norm: Norm, seed: int) -> None:
    """Also where the nearest class boundary is not the first that is found."""
    classifier = linear_classifier(seed, classes=classes)
    batch = near_grey(classifier, 16)
    state = SearchState(classifier, batch, norm)
    suites.run(state, ("boundary",), replace(BUDGET, queries=400))
    ratio = state.distance / exact_distance(seed, batch, norm, classes=classes)
    assert ratio.min() >= 1 - FLOAT32
    assert ratio.max() <= 1.05
    # besides the steps: the clean image, the search for a start, 30 to confirm and shrink
    assert state.n_forward.max() <= 4000 + 130


@pytest.mark.parametrize("norm", CATALOGUE["boundary"].norms)
def test_rows_of_boundary_do_not_depend_on_other_images(norm: Norm) -> None:
    """One row has a known adversarial image and one walk, the other has walks in nine classes."""
    classifier = linear_classifier(1, classes=10)
    batch = near_grey(classifier, 2)
    parts = [batch.part(np.array(rows)) for rows in ([0, 1], [0], [1])]
    states = [SearchState(classifier, part, norm) for part in parts]
    for state in states:
        known = state.all_rows[torch.from_numpy(state.batch.index == 0)]
        run_gaussian(state, known)
        run_boundary(state, state.all_rows, queries=200)
    assert torch.equal(states[0].x_adv, torch.cat([states[1].x_adv, states[2].x_adv]))


@pytest.mark.parametrize("norm", list(Norm))
def test_pgd_never_succeeds_inside_the_exact_distance(norm: Norm) -> None:
    classifier = linear_classifier(4)
    batch = near_grey(classifier, 12)
    exact = exact_distance(4, batch, norm).float()
    inside = pgd(classifier, batch, Ball(norm, exact * 0.999), PgdConfig(restarts=2))
    assert not inside.found.any()
    assert inside.distance.isinf().all()
    assert (inside.prediction == -1).all()
    assert (inside.n_backward == 40).all()
