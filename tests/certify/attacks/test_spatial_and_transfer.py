from __future__ import annotations

import numpy as np
import pytest
import torch
from linear_models import SHAPE, exact_distance, linear_classifier, near_grey

from robcert.certify.attacks.black_box.spatial import spatial, transformed
from robcert.certify.attacks.black_box.transfer import transfer
from robcert.certify.core import Ball, Norm
from robcert.certify.errors import DataError


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    x = torch.rand(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    turned = transformed(x, torch.tensor([90.0]), torch.zeros(1, 2))
    assert any(torch.allclose(turned, torch.rot90(x, k, (2, 3)), atol=1e-5) for k in (1, 3))


def test_a_shift_of_one_pixel_moves_by_one_and_fills_with_black() -> None:
    x = torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(0)) + 0.1
    moved = transformed(x.clamp(0, 1), torch.zeros(1), torch.tensor([[1 / 5, 0.0]]))
    assert torch.allclose(moved[..., :4], x.clamp(0, 1)[..., 1:], atol=1e-5)
    assert torch.allclose(moved[..., 4], torch.zeros(5), atol=1e-5)


def test_a_turn_keeps_lengths_on_images_that_are_not_square() -> None:
    x = torch.zeros(1, 1, 9, 15)
    x[0, 0, 4, 5:10] = 1.0  # a bar of five pixels through the centre
    turned = transformed(x, torch.tensor([90.0]), torch.zeros(1, 2))
    assert torch.allclose(turned[0, 0, 2:7, 7], torch.ones(5), atol=1e-4)
    assert turned.sum().item() == pytest.approx(5.0, abs=1e-3)


def test_more_draws_break_no_less() -> None:
    classifier = linear_classifier(3)
    batch = near_grey(classifier, 10)
    one = spatial(classifier, batch, draws=1)
    ten = spatial(classifier, batch, draws=10)
    assert (ten.found | ~one.found).all()
    assert ten.found.sum() > one.found.sum()


@pytest.mark.parametrize("norm", list(Norm))
def test_transfer_from_the_model_itself_is_pgd(norm: Norm) -> None:
    classifier = linear_classifier(5, classes=2)
    batch = near_grey(classifier, 6)
    exact = exact_distance(5, batch, norm, classes=2).float()
    outside = transfer(classifier, classifier, batch, Ball(norm, exact * 1.02))
    inside = transfer(classifier, classifier, batch, Ball(norm, exact * 0.99))
    assert outside.found.all()
    assert not inside.found.any()


def test_a_source_with_other_classes_is_refused() -> None:
    classifier = linear_classifier(3)
    other = linear_classifier(3, classes=2)
    with pytest.raises(DataError, match="other images or classes"):
        transfer(other, classifier, near_grey(classifier, 2), Ball(Norm.L2, 0.1))


def test_motions_depend_on_the_image_alone() -> None:
    classifier = linear_classifier(3)
    batch = near_grey(classifier, 6)
    whole = spatial(classifier, batch, seed=2)
    part = type(batch)(np.array([4]), batch.x[4:5], batch.y[4:5])
    assert batch.x.shape[1:] == SHAPE
    assert torch.equal(spatial(classifier, part, seed=2).distance, whole.distance[4:5])
