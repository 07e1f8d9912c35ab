"""The search from several starts against closed forms and against the published search."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_functions import flat_batch, quadratic, two_logits

from robcert.certify.core import Batch, Norm
from robcert.certify.data import load_images
from robcert.certify.importer import load_classifier
from robcert.certify.local_linearity.deviation import Deviation, Sided, tangent
from robcert.certify.local_linearity.multistart import Multistart, shrinking_rule
from robcert.certify.local_linearity.settings import LinearitySettings
from robcert.certify.numerics.losses import Loss

if TYPE_CHECKING:
    from robcert.certify.model.classifier import Classifier

DIAGONAL = torch.tensor([3, -1, 0.5, -4, 0, 2, 1, -0.2])


def searched(
    search: Multistart, classifier: Classifier, batch: Batch, epsilon: float, loss: Loss
) -> Deviation:
    tangents = tangent(classifier, batch.x, batch.y, loss)
    return search.largest(tangents, batch, epsilon=epsilon, seed=0, stream="test")


@given(seed=st.integers(0, 1000), norm=st.sampled_from(Norm))
@settings(max_examples=15, deadline=None)
def test_what_it_finds_is_there(seed: int, norm: Norm) -> None:
    """The deviation is that of the perturbation, which is inside ball and box."""
    draws = torch.Generator().manual_seed(seed)
    root = torch.randn(6, 6, generator=draws)
    classifier = two_logits(quadratic(root + root.T), 6)
    batch = flat_batch(torch.rand(2, 6, generator=draws))
    found = searched(Multistart(norm, Sided.TWO, 10, 3), classifier, batch, 0.2, Loss.CE)
    tangents = tangent(classifier, batch.x, batch.y, Loss.CE)
    floor = tangents.floor(found.delta)
    assert ((tangents.residual(found.delta).abs() - found.value).abs() <= floor).all()
    assert (norm.of(found.delta) <= 0.2 * (1 + 1e-6)).all()
    assert ((batch.x + found.delta).clamp(0, 1) - (batch.x + found.delta)).abs().max() < 1e-6


def test_more_restarts_never_find_less() -> None:
    classifier = two_logits(quadratic(torch.diag(DIAGONAL)), 8)
    batch = flat_batch(torch.rand(4, 8, generator=torch.Generator().manual_seed(1)))
    few, many = (
        searched(Multistart(Norm.LINF, Sided.TWO, 5, n), classifier, batch, 0.3, Loss.CE)
        for n in (1, 5)
    )
    assert (many.value >= few.value).all()


def test_it_finds_more_than_the_published_search() -> None:
    """On the bundled model one start of 50 Adam steps finds two thirds, on an image a hundredth."""
    classifier = load_classifier(Path(str(files("robcert.fixtures") / "fashion-honest.onnx")))
    images = load_images("fashion-mnist-2000")
    assert images.labels is not None
    index = np.arange(4)
    batch = Batch(index, images.pixels(index), torch.from_numpy(images.labels[index]).long())
    tangents = tangent(classifier, batch.x, batch.y, Loss.CE)
    paper, quick = (
        one.search.largest(tangents, batch, epsilon=8 / 255, seed=0, stream="linearity").value
        for one in (LinearitySettings.paper(), LinearitySettings.of_profile("quick"))
    )
    assert (quick > 0.75 * paper).all()
    assert quick.mean() > 1.3 * paper.mean()
    assert (quick / paper).max() > 20


@pytest.mark.parametrize("steps", [1, 2, 5, 50, 60])
def test_steps_shrink_from_the_first_size_to_the_last(steps: int) -> None:
    rule = shrinking_rule(Norm.L2, steps, 2.0, 0.01)
    at = [rule.sizes(torch.tensor([t]), torch.ones(1)).item() for t in range(1, steps + 1)]
    assert at[0] == pytest.approx(2.0)
    assert at == sorted(at, reverse=True)
    assert steps == 1 or at[-1] == pytest.approx(0.01, rel=1e-5)
