"""Properties of every attack: inside ball and box, independent of other images, re-checked."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from linear_models import SHAPE, linear_classifier, near_grey
from torch import Tensor, nn

from robcert.certify.attacks import catalogue, suites
from robcert.certify.attacks.black_box.noise import noise_search
from robcert.certify.attacks.black_box.square import SquareConfig, square
from robcert.certify.attacks.gradient.pgd import PgdConfig, constant_rule, fgsm, pgd, unbounded
from robcert.certify.attacks.gradient.targeted import multi_targeted
from robcert.certify.attacks.search.budget import AttackBudget
from robcert.certify.attacks.search.state import SearchState
from robcert.certify.attacks.suites import BUDGETS, Suite
from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.errors import InvalidParameterError
from robcert.certify.model.classifier import Classifier, Runtime, Twin
from robcert.certify.numerics.losses import Loss

if TYPE_CHECKING:
    from collections.abc import Iterator

# The papers' schedules run the same ascents for a fixed, large number of steps and restarts.
CATALOGUE = {
    name: attack for name, attack in catalogue.CATALOGUE.items() if not name.startswith("llr-")
}
NAMED = [
    pytest.param(name, marks=pytest.mark.slow if name.startswith("soar-") else ())
    for name in CATALOGUE
]


def is_slow(name: str, norm: Norm) -> bool:
    """Whether an attack takes seconds, and is one of another norm or its like beside it."""
    return name.startswith("soar-") or (name.startswith("apgd-") and norm is not Norm.LINF)


TINY = AttackBudget(steps=3, restarts=2, targets=2, descent_steps=8, halvings=6, queries=12)
RADIUS = {Norm.LINF: 0.2, Norm.L2: 0.7, Norm.L1: 2.2}


def network() -> Classifier:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(80, 5))
    return Classifier.from_module(module, image_shape=SHAPE, num_classes=5)


def images(classifier: Classifier, count: int = 9) -> Batch:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(count, *SHAPE, generator=generator)
    x[0] = x[0].round()  # corners of the pixel box
    y = classifier.logits(x).argmax(1)
    y[1] = (y[1] + 1) % 5  # misclassified as it is
    return Batch(np.arange(10, 10 + count), x, y)


def subset(batch: Batch, rows: list[int]) -> Batch:
    return Batch(batch.index[rows], batch.x[rows], batch.y[rows])


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        pytest.param(name, norm, marks=pytest.mark.slow if is_slow(name, norm) else ())
        for name, attack in CATALOGUE.items()
        for norm in attack.norms
    ],
)
def test_rows_depend_on_the_image_alone(name: str, norm: Norm) -> None:
    classifier = network()
    batch = images(classifier)

    def rows(part: Batch, active_batch_size: int) -> SearchState:
        state = SearchState(classifier, part, norm, 7, active_batch_size)
        suites.run(state, (name,), TINY)
        return state

    together = rows(batch, 64)
    for order, active_batch_size in (([4], 64), ([8, 0, 3, 4, 1], 3)):
        apart = rows(subset(batch, order), active_batch_size)
        assert torch.equal(apart.x_adv, together.x_adv[order])
        for column in ("distance", "n_forward", "n_backward", "prediction", "n_lost"):
            assert torch.equal(getattr(apart, column), getattr(together, column)[order]), column


@pytest.mark.parametrize("name", NAMED)
def test_what_is_found_is_adversarial_and_at_the_stated_distance(name: str) -> None:
    classifier = network()
    batch = images(classifier)
    norm = CATALOGUE[name].norms[0]
    state = SearchState(classifier, batch, norm)
    suites.run(state, (name,), TINY)
    found = state.result()
    assert found.distance[1] == 0
    assert torch.equal(found.x_adv[1], batch.x[1])
    assert found.x_adv.min() >= 0
    assert found.x_adv.max() <= 1
    prediction = classifier.logits(found.x_adv).argmax(1)
    assert torch.equal(prediction[found.found], found.prediction[found.found])
    assert (prediction != batch.y)[found.found].all()
    measured = norm.of((found.x_adv - batch.x).double())
    finite = found.distance.isfinite()
    assert torch.equal(measured[finite], found.distance[finite])
    assert torch.equal(found.x_adv[~finite], batch.x[~finite])


@pytest.mark.parametrize("norm", list(Norm))
def test_attacks_at_a_radius_stay_within_it(norm: Norm) -> None:
    classifier = network()
    batch, epsilon, most = images(classifier), RADIUS[norm], 0
    for found in (
        fgsm(classifier, batch, Ball(norm, epsilon)),
        pgd(classifier, batch, Ball(norm, epsilon), PgdConfig(restarts=2)),
        multi_targeted(classifier, batch, Ball(norm, epsilon), targets=2),
        square(classifier, batch, Ball(norm, epsilon), SquareConfig(100)),
        noise_search(classifier, batch, Ball(norm, epsilon), draws=30),
    ):
        inside = found.distance[found.found]
        assert (inside <= epsilon + 1e-5).all()
        most = max(most, len(inside))
    assert most > 3


@pytest.mark.parametrize("norm", list(Norm))
def test_a_longer_suite_is_never_worse(norm: Norm) -> None:
    classifier = network()
    batch, names, before = images(classifier), [], torch.tensor(torch.inf)
    for name in ("fgsm", "noise", "pgd", "fmn"):
        names.append(name)
        state = SearchState(classifier, batch, norm)
        suites.run(state, tuple(names), TINY)
        assert (state.distance <= before).all()
        before = state.distance


def test_an_image_that_is_broken_costs_nothing_more() -> None:
    classifier = network()
    batch = images(classifier)
    found = pgd(classifier, batch, Ball(Norm.LINF, 0.05), PgdConfig(10, restarts=3))
    survives = ~found.found
    assert (found.n_backward[survives] == 30).all()
    assert (found.n_backward[~survives] < 30).all()
    assert found.n_backward[1] == 0


def test_losses_are_those_of_the_ascent() -> None:
    classifier = linear_classifier(2)
    x = torch.full((1, *SHAPE), 0.5) + 0.01
    batch = Batch(np.array([0]), x, classifier.logits(x).argmax(1))
    found = pgd(
        classifier,
        batch,
        Ball(Norm.LINF, 0.02),
        PgdConfig(4, constant_rule(Norm.LINF, 0.005), Loss.CE, random_start=False),
        track_loss=True,
    )
    assert found.losses is not None
    assert found.losses.shape == (1, 5)
    assert torch.allclose(found.losses[0, 0], Loss.CE.of(classifier.logits(x), batch.y)[0])
    assert (found.losses.diff(dim=1) > 0).all()  # convex: every sign step increases it


def test_a_success_that_the_runtime_denies_does_not_count() -> None:
    """The runtime gives y a larger logit; the twin does not know."""
    classifier = network()
    batch = subset(images(classifier), [6])
    bonus = torch.nn.functional.one_hot(batch.y, 5) * 0.05
    denying = replace(classifier, runtime=Runtime(lambda x: classifier.logits(x) + bonus))
    config = PgdConfig(40, constant_rule(Norm.LINF, 0.005), random_start=False)
    plain, found = (pgd(c, batch, Ball(Norm.LINF, 0.2), config) for c in (classifier, denying))
    assert plain.found.all()
    assert found.found.all()
    assert plain.n_lost[0] == 0
    assert found.n_lost[0] > 0
    assert found.distance[0] > plain.distance[0]
    assert (denying.logits(found.x_adv).argmax(1) != batch.y).all()


class Poisoned(nn.Module):
    """NaN for images whose first pixel is above 0.99."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(20, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + torch.where(x[:, 0, 0, :1] > 0.99, torch.nan, 0.0)


@pytest.mark.parametrize("name", NAMED)
def test_an_image_that_gives_nan_leaves_the_others_alone(name: str) -> None:
    torch.manual_seed(1)
    module = Poisoned()
    clean = Classifier.from_module(copy.deepcopy(module.inner), image_shape=SHAPE, num_classes=5)
    poisoned = Classifier.from_module(module, image_shape=SHAPE, num_classes=5)
    x = 0.4 + 0.2 * torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    y = clean.logits(x).argmax(1)
    x[2, 0, 0, 0] = 1.0
    batch, norm = Batch(np.arange(4), x, y), CATALOGUE[name].norms[0]
    states = [SearchState(c, batch, norm) for c in (clean, poisoned)]
    budget = replace(TINY, halvings=3)
    for state in states:
        suites.run(state, (name,), budget)
    others = [0, 1, 3]
    if name != "spatial":  # which finds nothing near these images
        assert states[1].distance[others].isfinite().any()
    near = states[0].distance[others] < 0.3  # farther away the poisoned corner may be in the way
    assert torch.equal(states[0].distance[others][near], states[1].distance[others][near])


def test_unbounded_breaks_a_plain_network() -> None:
    classifier = network()
    assert unbounded(classifier, images(classifier), steps=20).found.all()


def test_without_gradients_a_search_remains() -> None:
    classifier = network()
    blind = replace(classifier, twin=None)
    names = suites.attacks_of(Suite.STANDARD, (), Norm.LINF, differentiable=False)
    state = SearchState(blind, images(classifier), Norm.LINF)
    suites.run(state, names, replace(TINY, queries=60))
    assert state.distance.isfinite().all()
    assert (state.n_backward == 0).all()


def test_attacks_that_do_not_fit_are_named() -> None:
    with pytest.raises(InvalidParameterError, match="no attack called 'pdg'"):
        suites.attacks_of(Suite.QUICK, ("pdg",), Norm.LINF, differentiable=True)
    with pytest.raises(InvalidParameterError, match="ddn does not support the norm linf"):
        suites.attacks_of(Suite.QUICK, ("ddn",), Norm.LINF, differentiable=True)
    with pytest.raises(InvalidParameterError, match="pgd needs gradients"):
        suites.attacks_of(Suite.QUICK, ("pgd",), Norm.LINF, differentiable=False)


def test_a_targeted_attack_maximises_nothing_but_the_margin() -> None:
    classifier, ball = network(), Ball(Norm.LINF, 0.1)
    with pytest.raises(InvalidParameterError, match="margin of the target class, not ce"):
        multi_targeted(classifier, images(classifier), ball, PgdConfig(loss=Loss.CE))


def test_attacks_without_gradients_leave_the_processor_to_the_runtime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entered: list[str] = []

    @contextmanager
    def forward_only(_: Classifier) -> Iterator[None]:
        entered.append(state.attack_name)
        yield

    monkeypatch.setattr(Classifier, "forward_only", forward_only)
    classifier = network()
    state = SearchState(classifier, images(classifier, 2), Norm.L2)
    suites.run(state, ("fgsm", "square", "noise", "spatial"), TINY)
    assert entered == ["square", "noise", "spatial"]


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("name", list(CATALOGUE))
def test_a_twin_that_cannot_take_an_empty_batch_is_never_given_one(name: str, norm: Norm) -> None:
    """Such as a twin with a Reshape to (0, -1), which fails on an empty batch."""
    if norm not in CATALOGUE[name].norms:
        pytest.skip("the attack has no such norm")

    plain = linear_classifier()

    def strict(x: Tensor) -> Tensor:
        assert len(x), "an empty batch"
        return plain.twin_logits(x)

    classifier = replace(linear_classifier(), twin=Twin(strict))
    state = SearchState(classifier, near_grey(classifier, 1), norm)
    suites.run(state, (name,), replace(TINY, epsilons=(RADIUS[norm],)))
    assert state.n_forward.min() > 0


class Decoys(nn.Module):
    """Four classes that come close to the first, and a fifth that alone can overtake it.

    Scores of grey images: 1, 0.9, 0.8, 0.7, 0.6 and 0. The last rises with the second pixel.
    """

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.flatten(1)[:, :1], x.flatten(1)[:, 1:2]
        close = torch.tensor([0.9, 0.8, 0.7, 0.6]) + (first - 0.5).clamp(-0.05, 0.05)
        return torch.cat([torch.ones_like(first), close, 50 * (second - 0.5)], dim=1)


def test_quick_reaches_a_class_beyond_those_with_the_largest_logits() -> None:
    classifier = Classifier.from_module(Decoys(), image_shape=(1, 1, 2), num_classes=6)
    batch = Batch(np.arange(3), torch.full((3, 1, 1, 2), 0.5), torch.zeros(3).long())
    names = suites.attacks_of(Suite.QUICK, (), Norm.LINF, differentiable=True)
    state = SearchState(classifier, batch, Norm.LINF)
    suites.run(state, names, replace(BUDGETS[Suite.QUICK], epsilons=(0.04,)))
    assert bool((state.distance <= 0.04).all())
    assert state.prediction.tolist() == [5, 5, 5]


def test_targeted_auto_pgd_of_quick_attacks_images_close_to_the_radius() -> None:
    classifier = linear_classifier()
    batch = near_grey(classifier, 6)
    state = SearchState(classifier, batch, Norm.LINF)
    suites.run(state, ("fmn",), BUDGETS[Suite.QUICK])
    radius = float(state.distance.median()) / 1.02
    known, spent = state.distance.clone(), state.n_backward.clone()
    budget = replace(BUDGETS[Suite.QUICK], epsilons=(radius,))
    suites.run(state, ("apgd-targeted",), budget)
    attacked = state.n_backward > spent
    assert torch.equal(attacked, (known > radius * (1 + 1e-6)) & (known <= budget.near * radius))
    assert attacked.any()
    spent = state.n_backward.clone()
    suites.run(state, ("apgd-targeted",), BUDGETS[Suite.QUICK])
    assert torch.equal(state.n_backward, spent)
