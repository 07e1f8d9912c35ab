from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx_models import images
from torch import nn

from robcert.certify.data.image_set import ImageSet
from robcert.certify.errors import PreprocessingError
from robcert.certify.model.classifier import Classifier
from robcert.certify.model.clean_check import (
    alternatives,
    better_alternative,
    check_clean_accuracy,
    clean_accuracy,
    near_chance,
)
from robcert.certify.model.preprocessing import Preprocessing
from robcert.certify.stats.intervals import proportion


class Brightness(nn.Module):
    """Class = tenth of the scale that the mean input lies in; it expects ``low`` to ``high``."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        level = (x.flatten(1).mean(1, keepdim=True) - self.low) / (self.high - self.low)
        centres = (torch.arange(10) + 0.5) / 10
        return -(level - centres).abs()


def flat_images(n: int = 200) -> ImageSet:
    """Images of one grey each; the label is the tenth that the grey lies in."""
    greys = np.random.default_rng(0).random(n).astype(np.float32)
    made = images(n)
    pixels = np.broadcast_to(greys[:, None, None, None], (n, 4, 4, 3))
    return type(made).of("greys", _Source(pixels), np.floor(greys * 10).astype(np.int64))


class _Source:
    shape = (3, 4, 4)

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self.pixels[indices].transpose(0, 3, 1, 2))

    def check(self, digest: object) -> None:
        pass


def brightness(low: float, high: float, preprocessing: Preprocessing | None = None) -> Classifier:
    return Classifier.from_module(
        Brightness(low, high),
        image_shape=(3, 4, 4),
        num_classes=10,
        preprocessing=preprocessing,
    )


def test_a_model_given_what_it_expects_passes() -> None:
    accuracy = check_clean_accuracy(brightness(0, 1), flat_images())
    assert accuracy is not None
    assert (accuracy.value, accuracy.n) == (1.0, 200)
    assert better_alternative(brightness(0, 1), flat_images()) is None


def test_images_without_labels_have_no_accuracy() -> None:
    assert clean_accuracy(brightness(0, 1), images()) is None
    assert check_clean_accuracy(brightness(0, 1), images()) is None


@pytest.mark.parametrize(
    ("low", "high", "name"),
    [(0, 255, "range 0 to 255"), (-1, 1, "range -1 to 1"), (1, 0, "inverted pixel values")],
)
def test_a_wrong_range_is_suggested_never_chosen(low: float, high: float, name: str) -> None:
    classifier = brightness(low, high)
    before = classifier.preprocessing
    best = better_alternative(classifier, flat_images())
    assert best is not None
    assert best.name == name
    assert best.right == best.n == 64
    assert classifier.preprocessing == before


def test_chance_stops_with_the_causes_and_the_suggestion() -> None:
    with pytest.raises(PreprocessingError, match=r"no better than chance \(1 in 10\)") as caught:
        check_clean_accuracy(brightness(0, 255), flat_images())
    assert "with range 0 to 255, 64 of 64 images would be correct" in caught.value.hint
    for cause in ("normalisation", "layout", "channel order", "label order"):
        assert cause in caught.value.hint


def test_classes_in_another_order_are_recognised() -> None:
    data = flat_images()
    assert data.labels is not None
    moved = ImageSet.of("moved", data.source, (data.labels + 3) % 10)
    with pytest.raises(PreprocessingError) as caught:
        check_clean_accuracy(brightness(0, 1), moved)
    assert "in another order: with the best permutation of the classes 100%" in caught.value.hint


@pytest.mark.parametrize(
    ("right", "classes", "stopped"),
    [
        (10, 10, True),
        (19, 10, True),
        (25, 10, False),
        (54, 2, True),
        (60, 2, False),
        (1, 1000, False),
    ],
)
def test_near_chance_by_hand(right: int, classes: int, stopped: bool) -> None:
    assert near_chance(proportion(right, 100), classes) is stopped


def test_alternatives_follow_the_channel_order() -> None:
    found = dict(alternatives(Preprocessing(input_shape=(3, 32, 32)), 3))
    assert found["ImageNet mean and std"].mean[0] == 0.485
    swapped = found["ImageNet mean and std, channels as BGR"]
    assert (swapped.channels, swapped.mean[0], swapped.std[0]) == ("BGR", 0.406, 0.225)
    assert "MNIST mean and std" not in found
    vector = dict(alternatives(Preprocessing(layout="flat", input_shape=(3072,)), 3))
    assert vector["range 0 to 1, flattened column-major"].flatten == "column-major"
    assert vector["range 0 to 1, flattened from NHWC"].layout == "NHWC"
    assert Preprocessing(layout="flat", input_shape=(3072,)) not in vector.values()
