from __future__ import annotations

import torch
from linear_models import exact_distance, linear_classifier, near_grey

from robcert.certify.attacks.gradient.apgd import (
    ApgdConfig,
    apgd,
    checkpoints,
    logit_ratio,
    targeted_ratio,
)
from robcert.certify.attacks.gradient.apgd_l1 import _sparse_signs
from robcert.certify.core import Ball, Norm


def test_checkpoints_are_those_of_the_paper() -> None:
    """p_1 = 0.22, then p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), times 100, rounded up."""
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)


def test_logit_ratios_by_hand() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.0, 0.5]])
    y, target = torch.tensor([1]), torch.tensor([2])
    assert torch.allclose(logit_ratio(logits, y), torch.tensor([(2.0 - 4.0) / (4.0 - 1.0)]))
    expected = torch.tensor([(2.0 - 4.0) / (4.0 - 0.75)])
    assert torch.allclose(targeted_ratio(logits, y, target), expected)
    shifted = 3.0 * logits + 7.0  # neither scale nor shift of the logits matters
    assert torch.allclose(logit_ratio(shifted, y), logit_ratio(logits, y))
    assert torch.allclose(targeted_ratio(shifted, y, target), targeted_ratio(logits, y, target))


def test_two_classes_fall_back_to_the_margin() -> None:
    logits, y = torch.tensor([[1.0, 4.0]]), torch.tensor([1])
    assert logit_ratio(logits, y).item() == -3.0
    assert targeted_ratio(logits, y, torch.tensor([0])).item() == -3.0


def test_sparse_steps_take_the_largest_entries_and_have_length_one() -> None:
    gradient = torch.tensor([[3.0, -5.0, 0.5, 0.0], [1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
    steps = _sparse_signs(gradient, torch.tensor([2.0, 1.7, 4.0]))
    expected = torch.tensor([[0.5, -0.5, 0, 0], [0, 0, 0, 1.0], [0, 0, 0, 0]])
    assert torch.equal(steps, expected)


def test_in_l1_the_best_vertex_is_found_exactly_at_the_boundary() -> None:
    """Two linear logits: the nearest l1 perturbation changes one pixel alone."""
    classifier = linear_classifier(5, classes=2)
    batch = near_grey(classifier, 6)
    exact = exact_distance(5, batch, Norm.L1, classes=2).float()
    outside = apgd(classifier, batch, Ball(Norm.L1, exact * 1.02), ApgdConfig(30, targets=1))
    inside = apgd(classifier, batch, Ball(Norm.L1, exact * 0.99), ApgdConfig(30, targets=1))
    assert outside.found.all()
    assert (outside.distance <= exact * 1.021).all()
    # what lies outside the ball comes from the first stages, whose iterates are not verified
    assert not inside.found.any()
