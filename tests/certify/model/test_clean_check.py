from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx_models import images
from torch import nn

from robcert.certify.data.image_set import ImageSet
from robcert.certify.errors import PreprocessingError
from robcert.certify.model.classifier import Classifier, ModelInfo
from robcert.certify.model.clean_check import (
    alternatives,
    better_alternative,
    check_clean_accuracy,
    clean_accuracy,
    near_chance,
)
from robcert.certify.model.constants import NORMALISATIONS
from robcert.certify.model.preprocessing import Preprocessing, PreprocessOptions
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

    def check(self, digest: object) -> tuple[str, ...]:
        return ()


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
    assert best.right == best.n == 200
    assert classifier.preprocessing == before


def test_chance_stops_with_the_causes_and_the_suggestion() -> None:
    with pytest.raises(PreprocessingError, match=r"no better than chance \(1 in 10\)") as caught:
        check_clean_accuracy(brightness(0, 255), flat_images())
    assert "with range 0 to 255, 200 of 200 images would be correct" in caught.value.hint
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


def named(present: Preprocessing) -> dict[str, Preprocessing]:
    return {name: changed for name, _, changed in alternatives(present, 3)}


def test_alternatives_follow_the_channel_order() -> None:
    found = named(Preprocessing(input_shape=(3, 32, 32)))
    assert found["ImageNet mean and std"].mean[0] == 0.485
    swapped = found["ImageNet mean and std, channels as BGR"]
    assert (swapped.channels, swapped.mean[0], swapped.std[0]) == ("BGR", 0.406, 0.225)
    assert "MNIST mean and std" not in found
    vector = named(Preprocessing(layout="flat", input_shape=(3072,)))
    assert vector["range 0 to 1, flattened column-major"].flatten == "column-major"
    assert vector["range 0 to 1, flattened from NHWC"].layout == "NHWC"
    assert Preprocessing(layout="flat", input_shape=(3072,)) not in vector.values()


def test_the_constants_of_the_data_set_that_fits_are_suggested() -> None:
    """A model that expects CIFAR-10's constants; ImageNet's are nearly as good and come first."""
    by_name = {one.name: one for one in NORMALISATIONS}
    cifar, grey = by_name["CIFAR-10 mean and std"], by_name["MNIST mean and std"]
    assert cifar.fit((3, 32, 32), "cifar10:test") == 2
    assert cifar.fit((3, 32, 32), "photographs") == 1
    assert cifar.fit((3, 224, 224), "cifar10:test") == 0
    assert by_name["ImageNet mean and std"].fit((3, 32, 32), "mine") == 0
    assert grey.fit((1, 28, 28), "fashion-mnist") == 1
    assert grey.fit((1, 28, 28), "mnist:test") == 2
    assert by_name["Fashion-MNIST mean and std"].fit((1, 28, 28), "fashion-mnist-2000") == 2


class Levels(Brightness):
    """Brightness of an input that was normalised by CIFAR-10's constants."""

    def __init__(self) -> None:
        super().__init__(0, 1)
        self.mean = torch.tensor((0.4914, 0.4822, 0.4465)).view(1, 3, 1, 1)
        self.std = torch.tensor((0.247, 0.2435, 0.2616)).view(1, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x * self.std + self.mean)


def test_images_of_the_size_of_a_data_set_get_its_constants() -> None:
    greys = np.random.default_rng(0).random(300).astype(np.float32)
    pixels = np.broadcast_to(greys[:, None, None, None], (300, 32, 32, 3))
    source = _Source(pixels)
    source.shape = (3, 32, 32)
    data = ImageSet.of("mine", source, np.floor(greys * 10).astype(np.int64))
    model = Classifier.from_module(Levels(), image_shape=(3, 32, 32), num_classes=10)
    best = better_alternative(model, data)
    assert best is not None
    assert best.name.startswith("CIFAR-10 mean and std")
    assert best.options == "--mean 0.4914,0.4822,0.4465 --std 0.247,0.2435,0.2616"
    assert (best.right, best.n) == (200, 200)


def test_a_column_major_vector_is_recognised_with_json_to_paste() -> None:
    """The model reads the brightness of the left half, from pixels column by column."""
    level = np.random.default_rng(0).random((300, 2)).astype(np.float32)
    pixels = np.repeat(level, 2, axis=1)[:, None, :, None] * np.ones((1, 4, 1, 1), np.float32)
    source = _Source(pixels)
    source.shape = (1, 4, 4)
    data = ImageSet.of("halves", source, np.floor(level[:, 0] * 10).astype(np.int64))
    row_major = Preprocessing(layout="flat", input_shape=(16,))
    model = Classifier.from_module(
        FirstHalf(), image_shape=(1, 4, 4), num_classes=10, preprocessing=row_major
    )
    best = better_alternative(model, data)
    assert best is not None
    assert best.options == """--preprocess '{"flatten": "column-major"}'"""
    stated = PreprocessOptions.from_text(best.options.split("'")[1])
    assert stated == PreprocessOptions(flatten="column-major")


class FirstHalf(Brightness):
    """Brightness of the first eight numbers of a vector."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x[:, :8])


def test_a_small_gain_on_the_same_images_is_found() -> None:
    """On 64 images the intervals of both accuracies would overlap."""
    nearly = Preprocessing(range=(-0.97, 1.0))
    model = brightness(-1, 1, preprocessing=nearly)
    accuracy = clean_accuracy(model, flat_images())
    assert accuracy is not None
    assert accuracy.value > 0.88
    best = better_alternative(model, flat_images())
    assert best is not None
    assert (best.options, best.right) == ("--range -1,1", 200)


class Channels(Brightness):
    """Brightness of the first channel, of inputs in NHWC; all axes of its input are free."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x[:, :, :, :1])


@pytest.mark.parametrize("declared", [("n", "a", "b", "c"), ("n", 3, 4, 4)])
def test_the_other_layout_is_suggested_where_the_file_leaves_it_open(
    declared: tuple[int | str, ...],
) -> None:
    """The first channel has the brightness of the class, the others have noise."""
    rng = np.random.default_rng(0)
    pixels = rng.random((300, 4, 4, 3)).astype(np.float32)
    labels = np.arange(300) % 10
    pixels[..., 0] = (labels[:, None, None] + 0.5) / 10
    data = ImageSet.of("first", _Source(pixels), labels)
    present = Preprocessing(input_shape=(3, 4, 4))
    model = Classifier.from_module(
        Channels(),
        image_shape=(3, 4, 4),
        num_classes=10,
        info=ModelInfo(file="free", sha256="", kind="module", input_shape=declared),
        preprocessing=present,
    )
    best = better_alternative(model, data)
    if declared[1] == "a":
        assert best is not None
        assert (best.name, best.options) == ("range 0 to 1, layout NHWC", "--layout NHWC")
        assert best.right == 200
    else:
        assert best is None or "layout" not in best.options
