"""Linear classifiers: the distance to the boundary is known (F1, F1b)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from linear_models import exact_distance, linear_classifier, near_grey

from robcert.certify.attacks import suites
from robcert.certify.attacks.catalogue import CATALOGUE
from robcert.certify.attacks.effort import Effort
from robcert.certify.attacks.hunt import Hunt
from robcert.certify.attacks.pgd import pgd
from robcert.certify.core import Norm

EFFORT = Effort(steps=20, restarts=1, targets=3, descent_steps=100, halvings=11, queries=50)
CASES = [
    (name, norm)
    for name in ("fmn", "ddn", "deepfool", "multi-targeted", "apgd-targeted", "cw")
    for norm in CATALOGUE[name].norms
]


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_smallest_distance_is_within_one_percent_of_the_exact_one(name: str, norm: Norm) -> None:
    classifier = linear_classifier(3)
    batch = near_grey(classifier, 12)
    hunt = Hunt(classifier, batch, norm)
    suites.run(hunt, (name,), EFFORT)
    ratio = hunt.distance / exact_distance(3, batch, norm)
    assert ratio.min() >= 1 - 1e-4
    assert ratio.max() <= 1.01


@pytest.mark.parametrize("name", ["fgsm", "pgd", "pgd-ce"])
@pytest.mark.parametrize("norm", list(Norm))
def test_two_classes_leave_untargeted_attacks_one_way(name: str, norm: Norm) -> None:
    """For K = 2 loss and margin point the same way everywhere, so bisection alone limits them."""
    classifier = linear_classifier(5, classes=2)
    batch = near_grey(classifier, 8)
    hunt = Hunt(classifier, batch, norm)
    suites.run(hunt, (name,), EFFORT)
    exact = exact_distance(5, batch, norm, classes=2)
    assert torch.allclose(hunt.distance, exact, rtol=0.01)


@pytest.mark.parametrize(
    ("name", "norm"),
    [(name, norm) for name in ("boundary", "logbarrier") for norm in CATALOGUE[name].norms],
)
@pytest.mark.parametrize(("seed", "classes"), [(5, 2), (3, 4), (5, 4)])
def test_walks_from_far_away_come_within_five_percent(
    name: str, norm: Norm, seed: int, classes: int
) -> None:
    """Also where the nearest of the faces is not the first that is found."""
    classifier = linear_classifier(seed, classes=classes)
    batch = near_grey(classifier, 8)
    hunt = Hunt(classifier, batch, norm)
    suites.run(hunt, (name,), replace(EFFORT, queries=200, descent_steps=300))
    ratio = hunt.distance / exact_distance(seed, batch, norm, classes=classes)
    assert ratio.min() >= 1 - 1e-4
    assert ratio.max() <= 1.05


@pytest.mark.parametrize("norm", list(Norm))
def test_pgd_never_succeeds_inside_the_exact_distance(norm: Norm) -> None:
    classifier = linear_classifier(4)
    batch = near_grey(classifier, 12)
    exact = exact_distance(4, batch, norm).float()
    inside = pgd(classifier, batch, norm=norm, epsilon=exact * 0.999, steps=20, restarts=2)
    assert not inside.found.any()
    assert inside.distance.isinf().all()
    assert (inside.prediction == -1).all()
    assert (inside.n_backward == 40).all()
