"""Data sets of PyTorch give the images that their files give, or one line that says why not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from robcert.certify.api import load_images
from robcert.certify.data import from_arrays
from robcert.certify.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 5, 4, 3), np.uint8)
LABELS = np.arange(12) % 3


class Listed(Dataset[Any]):
    """A data set of these entries, as torchvision has them."""

    def __init__(self, entries: list[Any], classes: Any = ()) -> None:
        self.entries, self.classes = entries, classes

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Any:
        entry = self.entries[index]
        return entry() if callable(entry) else entry


def pictures() -> list[tuple[Image.Image, int]]:
    return [(Image.fromarray(one), int(label)) for one, label in zip(PIXELS, LABELS, strict=True)]


def test_the_same_images_have_the_same_hash() -> None:
    expected = from_arrays("arrays", PIXELS, LABELS)
    first = PIXELS.transpose(0, 3, 1, 2).copy()
    names = ["cat", "dog", "bird"]
    for dataset in (
        Listed(pictures(), names),
        Listed(list(zip(first, torch.from_numpy(LABELS), strict=True))),
        TensorDataset(torch.from_numpy(first), torch.from_numpy(LABELS)),
    ):
        found = load_images(dataset)
        assert found.sha256 == expected.sha256
        assert found.labels is not None
        assert found.labels.tolist() == LABELS.tolist()
    assert load_images(Listed(pictures(), names)).classes == tuple(names)
    assert load_images(Listed(pictures())).name == "Listed"


def test_numbers_from_0_to_1_and_images_without_labels() -> None:
    scaled = torch.from_numpy(PIXELS.transpose(0, 3, 1, 2)).float() / 255
    found = load_images(Listed(list(scaled)))
    assert found.labels is None
    assert torch.equal(found.pixels(np.arange(12)), scaled)


def test_grey_pictures_and_narrow_ones() -> None:
    grey = load_images(Listed([Image.fromarray(one[..., 0]) for one in PIXELS]))
    assert grey.shape == (1, 5, 4)
    narrow = np.ascontiguousarray(PIXELS.transpose(0, 3, 1, 2)[..., :3])  # 3 channels, 3 columns
    found = load_images(Listed(list(narrow)))
    assert found.shape == (3, 5, 3)
    assert np.array_equal(found.pixels(np.arange(12)).numpy() * 255, narrow)


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(())


def noise() -> torch.Tensor:
    return torch.rand(1, 4, 4)


REFUSED: dict[str, tuple[Any, str]] = {
    "no length": (Endless(), "Endless has no length"),
    "empty": (Listed([]), "Listed holds no images"),
    "chance": (Listed([noise] * 3), "image 0 of Listed is another one when it is read again"),
    "sizes": (
        Listed([torch.zeros(1, 4, 4), torch.zeros(1, 4, 5)]),
        "image 1 of Listed is 1x4x5 float32, image 0 is 1x4x4 float32",
    ),
    "too large": (Listed([np.zeros((3, 256, 256), np.float32)] * 9000), "take 6.59 GiB"),
    "palette": (Listed([Image.new("P", (4, 4))]), "has the mode P, not one of L and RGB"),
    "dictionary": (Listed([{"image": 1}]), "entry 0 of Listed is neither an image nor"),
    "integers": (Listed([np.zeros((1, 4, 4), np.int64)]), "is of type int64"),
    "normalised": (Listed([torch.full((1, 4, 4), -2.0)] * 2), r"outside \[0, 1\]"),
    "classes": (Listed([(torch.rand(1, 4, 4), "cat")] * 2), "labels of Listed are <U3"),
    "some labels": (Listed([(torch.rand(1, 4, 4), 1), (torch.rand(1, 4, 4), None)]), "not numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_set_of_images_is_refused_in_one_line(name: str) -> None:
    dataset, why = REFUSED[name]
    with pytest.raises(DataError, match=why) as caught:
        load_images(dataset)
    assert "\n" not in str(caught.value)
