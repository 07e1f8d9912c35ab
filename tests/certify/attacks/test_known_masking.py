"""Models without usable gradients, and the attacks that break them nevertheless (F11, F12b)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from robcert.certify.attacks.black_box.boundary import boundary
from robcert.certify.attacks.black_box.noise import noise_search
from robcert.certify.attacks.black_box.square import square
from robcert.certify.attacks.gradient.pgd import PgdConfig, fgsm, pgd
from robcert.certify.core import Ball, Batch, Norm
from robcert.certify.model.classifier import Classifier
from robcert.certify.numerics.losses import Loss
from robcert.fixtures.analytic import staircase, temperature

if TYPE_CHECKING:
    from collections.abc import Callable

    from robcert.certify.attacks.search.state import Found
    from robcert.fixtures.known import KnownModel


def model_and_images(known: KnownModel) -> tuple[Classifier, Batch]:
    classifier = Classifier.from_module(
        known.module, image_shape=known.image_shape, num_classes=known.num_classes
    )
    return classifier, Batch(np.arange(len(known.labels)), known.images, known.labels)


def breaks_every_image(classifier: Classifier, batch: Batch, loss: Loss) -> bool:
    found = pgd(classifier, batch, Ball(Norm.LINF, 0.55), PgdConfig(loss=loss, random_start=False))
    return bool(found.found.all())


def test_a_saturated_cross_entropy_has_no_gradient_and_the_margin_has() -> None:
    """F12b: at temperature 0.01 the distance is 0.5, and exp(-200) is 0 in float32."""
    classifier, batch = model_and_images(temperature(0.01))
    confidence = classifier.logits(batch.x).softmax(1).amax()
    assert confidence > 0.995
    assert not fgsm(classifier, batch, Ball(Norm.LINF, 0.55), loss=Loss.CE).found.any()
    assert not breaks_every_image(classifier, batch, Loss.CE)
    assert breaks_every_image(classifier, batch, Loss.MARGIN)
    assert breaks_every_image(*model_and_images(temperature(1.0)), Loss.CE)


def test_attacks_without_gradients_descend_a_staircase() -> None:
    """F11: the infimum of the linf distance is 0.18125, and the gradient is 0."""
    classifier, batch = model_and_images(staircase())
    found = pgd(classifier, batch, Ball(Norm.LINF, 0.19), PgdConfig(random_start=False))
    assert not found.found.any()
    searches: tuple[Callable[..., Found], ...] = (noise_search, square)
    for search in searches:
        inside = search(classifier, batch, Ball(Norm.LINF, 0.18))
        assert not inside.found.any()
        outside = search(classifier, batch, Ball(Norm.LINF, 0.25))
        assert outside.found.all()
        assert 0.18125 <= outside.distance.item() <= 0.25
    walked = boundary(classifier, batch, queries=500)
    assert walked.found.all()
    assert Norm.LINF.of(walked.x_adv - batch.x).item() >= 0.18125


@pytest.mark.parametrize("value", [1.0, 0.1, 0.01])
def test_temperature_changes_no_distance_that_the_margin_finds(value: float) -> None:
    classifier, batch = model_and_images(temperature(value))
    for epsilon, breaks in ((0.499, False), (0.501, True)):
        found = pgd(classifier, batch, Ball(Norm.LINF, epsilon))
        assert bool(found.found) is breaks
        assert torch.equal(found.found, found.distance.isfinite())
