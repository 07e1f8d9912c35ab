"""The search from several starts against closed forms and against the published search."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_functions import flat_batch, quadratic, two_logits
from torch import nn

from robcert.certify.core import Batch, Norm
from robcert.certify.data import load_images
from robcert.certify.importer import load_classifier
from robcert.certify.local_linearity.deviation import Deviation, Sided, tangent
from robcert.certify.local_linearity.multistart import MANY_STARTS, Multistart, shrinking_rule
from robcert.certify.local_linearity.settings import LinearitySettings
from robcert.certify.model.classifier import Classifier
from robcert.certify.numerics.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor

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


def distant_bump(x: Tensor) -> Tensor:
    """A bump of height 1 where the first pixel is 0.9, and one of 0.5 where it is 0.3."""
    return (-((x[:, 0] - 0.9) ** 2) / 0.002).exp() + 0.5 * (-((x[:, 0] - 0.3) ** 2) / 0.002).exp()


def test_the_highest_of_several_maxima() -> None:
    """A bump beside the image hides the higher one; the maximum is 1 up to the tails."""
    batch = flat_batch(torch.tensor([[0.5, 0.5]] * 3))
    found = searched(
        Multistart(Norm.LINF, Sided.TWO, 50), two_logits(distant_bump, 2), batch, 0.45, Loss.MARGIN
    )
    assert found.value.tolist() == pytest.approx([1.0] * 3, abs=5e-2)


def test_a_class_that_only_steps_towards_it_reach() -> None:
    """The runner-up switches to class 2 at one corner only: -4 + 0.45 * 16 - 2 + 0.5 = 1.7.

    Random points stay where the margin is affine; the start towards class 2 is the last of six.
    """
    layer = nn.Linear(16, 3)
    signs = torch.tensor([1.0, -1.0]).repeat(8)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([torch.zeros(16), torch.full((16,), 0.1), signs]))
        layer.bias.copy_(torch.tensor([2.0, 1.5, -4.0]) - 0.5 * layer.weight.sum(1))
    classifier = Classifier.from_module(
        nn.Sequential(nn.Flatten(), layer), image_shape=(1, 1, 16), num_classes=3
    )
    batch = flat_batch(torch.full((1, 16), 0.5))
    found = searched(Multistart(Norm.LINF, Sided.TWO, 20, 2), classifier, batch, 0.45, Loss.MARGIN)
    assert found.value.item() == pytest.approx(1.7, rel=1e-5)
    assert found.restart.item() == 5


def test_repeats_stop_where_they_add_nothing() -> None:
    """On a quadratic the first ascent ends at the maximum: one repeat, of 20 steps and a look."""
    calls: list[int] = []
    bare = quadratic(torch.diag(DIAGONAL))

    def counted(x: Tensor) -> Tensor:
        calls.append(len(x))
        return bare(x)

    batch, passes = flat_batch(torch.full((1, 8), 0.5)), []
    for repeats in ((), MANY_STARTS.repeats):
        search = Multistart(Norm.LINF, Sided.TWO, 20, 3, plan=replace(MANY_STARTS, repeats=repeats))
        calls.clear()
        searched(search, two_logits(counted, 8), batch, 0.3, Loss.CE)
        passes.append(len(calls))
    assert passes[1] - passes[0] == 21


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
