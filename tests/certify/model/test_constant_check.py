"""Predictions and scores that do not depend on the image are told, with what would change it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from places import FIXTURES
from torch import nn

from robcert.certify.data import load_images
from robcert.certify.data.arrays import from_arrays
from robcert.certify.importer.load import load_classifier
from robcert.certify.model.classifier import Classifier
from robcert.certify.model.constant_check import (
    CLEAR_SPREAD,
    NO_SPREAD,
    constant_warning,
    relative_spread,
)
from robcert.certify.model.preprocessing import Preprocessing

if TYPE_CHECKING:
    from robcert.certify.data.image_set import ImageSet

SHAPE = (3, 4, 4)


class Brightness(nn.Module):
    """Class = tenth of the scale from 0 to ``white`` that the mean input lies in."""

    def __init__(self, white: float) -> None:
        super().__init__()
        self.white = white

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        centres = (torch.arange(10) + 0.5) / 10
        return -(x.flatten(1).mean(1, keepdim=True) / self.white - centres).abs()


class Tied(nn.Module):
    """Two classes with nearly the same bias, told apart by pixels from 0 to 255.

    With pixels from 0 to 1 both classes occur, and no score differs by more than a hundredth.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.flatten(1).mean(1)
        level = mean * torch.cos(torch.pi * mean) / 255
        return torch.stack((level, -level, torch.full_like(level, -1.0)), 1)


def greys(n: int = 200, *, labelled: bool = True, low: float = 0.0, high: float = 1.0) -> ImageSet:
    """Images of one grey each; the label is the tenth that the grey lies in."""
    levels = np.random.default_rng(0).uniform(low, high, n).astype(np.float32)
    pixels = np.broadcast_to(levels[:, None, None, None], (n, 4, 4, 3))
    return from_arrays("greys", pixels, np.floor(levels * 10).astype(int) if labelled else None)


def classifier(module: nn.Module, classes: int = 10) -> Classifier:
    return Classifier.from_module(module, image_shape=SHAPE, num_classes=classes)


def test_the_spread_by_hand() -> None:
    rows = np.array([[1.0, -1.0], [3.0, -3.0]])
    assert relative_spread(rows) == pytest.approx(0.5)
    assert relative_spread(1e-3 * rows + 7) == pytest.approx(0.5)
    assert relative_spread(np.ones((5, 3))) == 0
    assert relative_spread(np.array([[0.0, 1.0], [1.0, 0.0]])) == np.inf


@pytest.mark.parametrize("labelled", [True, False])
def test_one_class_for_all_is_told_with_the_ranges_that_tell_them_apart(labelled: bool) -> None:
    line = constant_warning(classifier(Brightness(255)), greys(labelled=labelled))
    assert line.startswith("all 200 images tried get class 0: a constant prediction is no test;")
    assert line.endswith("with range 0 to 255, they get 10 classes; if so, pass: --range 0,255")
    assert constant_warning(classifier(Brightness(1)), greys(labelled=labelled)) == ""


def test_scores_without_spread_are_told_although_two_classes_occur() -> None:
    data = greys(labelled=False)
    line = constant_warning(classifier(Tied(), 3), data)
    assert line.startswith("the scores of the 200 images tried hardly differ from image to image")
    assert line.endswith("if so, pass: --range 0,255")
    right = Preprocessing(range=(0.0, 255.0))
    told_apart = Classifier.from_module(
        Tied(), image_shape=SHAPE, num_classes=3, preprocessing=right
    )
    assert constant_warning(told_apart, data) == ""


class Sure(Brightness):
    """A network that is sure of class 5: its scores have little spread relative to their size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 50 * nn.functional.one_hot(torch.tensor(5), 10)


class Constant(nn.Module):
    """The same scores for every image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.arange(10.0).expand(len(x), 10) + 0 * x.flatten(1)[:, :1]


def test_images_of_one_label_may_get_one_class_but_not_one_score() -> None:
    one = greys(low=0.52, high=0.58)
    assert one.labels is not None
    assert set(one.labels) == {5}
    sure = classifier(Sure(1))
    assert 0 < relative_spread(sure.logits(one.pixels(np.arange(50))).double().numpy()) < NO_SPREAD
    assert constant_warning(sure, one) == ""
    line = constant_warning(classifier(Constant()), one)
    assert "hardly differ from image to image (relative spread 0): " in line
    assert line.endswith("no common preprocessing gives a larger spread")


def test_few_images_are_no_evidence_unless_another_range_tells_them_apart() -> None:
    assert constant_warning(classifier(Brightness(1)), greys(1)) == ""
    assert constant_warning(classifier(Brightness(1)), greys(9)) == ""
    assert "--range 0,255" in constant_warning(classifier(Brightness(255)), greys(9))


def test_a_class_at_minus_infinity_does_not_hide_it() -> None:
    class Never(Brightness):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = super().forward(x)
            scores[:, 9] = -torch.inf
            return scores

    assert constant_warning(classifier(Never(255)), greys()).startswith("all 200 images tried")
    assert constant_warning(classifier(Never(1)), greys()) == ""


def test_the_limits_lie_between_right_and_wrong_ranges_of_the_bundled_models() -> None:
    images = load_images("fashion-mnist-2000")
    spread_over = np.arange(0, len(images), 40)
    for name in ("fashion-honest", "fashion-gaussian", "fashion-masked"):
        model = load_classifier(FIXTURES / f"{name}.onnx", images=images)
        logits_under = model.runtime.with_preprocessing
        assert logits_under is not None
        dark = logits_under(Preprocessing(range=(0, 1 / 255), input_shape=(1, 28, 28)))
        pixels = images.pixels(spread_over)
        assert relative_spread(model.logits(pixels).double().numpy()) > 4 * CLEAR_SPREAD
        assert relative_spread(dark(pixels).double().numpy()) < NO_SPREAD


def test_infinities_that_depend_on_the_image_are_a_spread() -> None:
    class Logarithm(Brightness):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (super().forward(x) + 0.2).relu().log()

    scores = Logarithm(1)(greys().pixels(np.arange(200)))
    assert not scores.isfinite().all(0).any()
    assert constant_warning(classifier(Logarithm(1)), greys()) == ""
