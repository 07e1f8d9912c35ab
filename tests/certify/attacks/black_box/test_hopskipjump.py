"""HopSkipJump against the exact distances of linear models, and its number of queries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from linear_models import exact_distance, linear_classifier, near_grey
from torch import nn

from robcert.certify.attacks.black_box.hopskipjump import hopskipjump
from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.errors import InvalidParameterError
from robcert.certify.model.classifier import Runtime

if TYPE_CHECKING:
    from robcert.certify.model.classifier import Classifier


def labels_only(classifier: Classifier) -> Classifier:
    """The same classes without scores or gradients."""
    scores = classifier.logits

    def labels(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(scores(x).argmax(1), classifier.num_classes).float()

    return replace(classifier, runtime=Runtime(labels), twin=None)


@pytest.mark.parametrize(("norm", "near"), [(Norm.L2, 1.04), (Norm.LINF, 1.1)])
def test_it_comes_near_the_exact_distance_from_labels_alone(norm: Norm, near: float) -> None:
    classifier = labels_only(linear_classifier(5, classes=2))
    batch = near_grey(classifier, 8)
    found = hopskipjump(classifier, batch, norm, queries=1000, first_draws=30)
    ratio = found.distance / exact_distance(5, batch, norm, classes=2)
    assert ratio.min() >= 1 - 1e-4
    assert ratio.max() <= near


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 4])
def test_every_image_is_within_five_percent_with_many_queries(classes: int) -> None:
    """Also where the nearest class boundary is not the first that is found."""
    for seed in range(3):
        classifier = labels_only(linear_classifier(seed, classes=classes))
        batch = near_grey(classifier, 8)
        found = hopskipjump(classifier, batch, Norm.L2, queries=5000, first_draws=50)
        ratio = found.distance / exact_distance(seed, batch, Norm.L2, classes=classes)
        assert ratio.min() >= 1 - 5e-4
        assert ratio.max() <= 1.05


def test_within_a_radius_an_image_is_done_once_it_is_broken() -> None:
    classifier = labels_only(linear_classifier(5, classes=2))
    batch = near_grey(classifier, 8)
    exact = exact_distance(5, batch, Norm.L2, classes=2)
    wide = hopskipjump(classifier, batch, Ball(Norm.L2, 2 * exact), queries=600)
    assert wide.found.all()
    assert (wide.distance <= 2 * exact + 1e-5).all()
    tight = hopskipjump(classifier, batch, Ball(Norm.L2, 0.9 * exact), queries=600)
    assert not tight.found.any()
    assert (wide.n_forward < tight.n_forward).all()
    # besides the 600: the clean image, up to 100 for a start, 14 to confirm and shrink it
    assert (tight.n_forward <= 600 + 130).all()


def test_rows_do_not_depend_on_other_images() -> None:
    classifier = labels_only(linear_classifier(5))
    batch = near_grey(classifier, 6)
    one = Batch(batch.index[4:5], batch.x[4:5], batch.y[4:5])
    together = hopskipjump(classifier, batch, Norm.LINF, queries=300, first_draws=20)
    alone = hopskipjump(classifier, one, Norm.LINF, queries=300, first_draws=20)
    assert torch.equal(alone.x_adv[0], together.x_adv[4])


def test_an_image_that_is_wrong_already_or_never_breaks_costs_nothing_more() -> None:
    def flat(x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.0, 0.0]).expand(len(x), 2)

    classifier = linear_classifier(5, classes=2)
    batch = near_grey(classifier, 4)
    classifier = replace(classifier, runtime=Runtime(flat))
    found = hopskipjump(classifier, batch, Norm.L2, queries=300)
    wrong = batch.y != 0
    assert torch.equal(found.distance == 0, wrong)
    assert torch.equal(found.distance.isinf(), ~wrong)


def test_there_is_no_l1() -> None:
    classifier = linear_classifier(5)
    with pytest.raises(InvalidParameterError, match="l2 and linf"):
        hopskipjump(classifier, near_grey(classifier, 1), Norm.L1)
