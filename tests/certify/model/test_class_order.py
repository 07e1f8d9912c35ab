"""Class folders with numbers for names: by value, or as text, as torchvision's ImageFolder does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from command_line import robcert
from onnx_models import model, node, saved
from PIL import Image
from torch import Tensor, nn

from robcert.certify.data.folder import from_folder
from robcert.certify.model.class_order import fitting_order
from robcert.certify.model.classifier import Classifier

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = 12
AS_TEXT = tuple(sorted(map(str, range(CLASSES))))


class Shades(nn.Module):
    """Class = position in ``order`` of the twelfth of the scale that the image's grey lies in."""

    def __init__(self, order: tuple[str, ...]) -> None:
        super().__init__()
        self.places = torch.tensor([order.index(str(shade)) for shade in range(CLASSES)])

    def forward(self, x: Tensor) -> Tensor:
        shade = (x.flatten(1).mean(1) * CLASSES).floor().clamp(0, CLASSES - 1).long()
        return nn.functional.one_hot(self.places.to(x.device)[shade], CLASSES).float()


def shades(folder: Path, each: int = 5, first: int = 0) -> Path:
    """Folders named ``first`` and up, each with images of one shade of grey."""
    for shade in range(CLASSES):
        place = folder / str(first + shade)
        place.mkdir(parents=True)
        for number in range(each):
            level = round(255 * (shade + 0.3 + 0.08 * number) / CLASSES)
            Image.fromarray(np.full((8, 8), level, np.uint8)).save(place / f"{number}.png")
    return folder


def classifier(order: tuple[str, ...]) -> Classifier:
    return Classifier.from_module(Shades(order), image_shape=(1, 8, 8), num_classes=CLASSES)


def test_the_order_that_fits_is_taken_and_told(tmp_path: Path) -> None:
    images = from_folder(shades(tmp_path / "shades"))
    assert images.classes == tuple(map(str, range(CLASSES)))
    found = fitting_order(classifier(AS_TEXT), images)
    assert found.changed
    assert found.images.classes == AS_TEXT
    assert found.images.sha256 != images.sha256
    assert found.images.labels is not None
    assert found.images.labels[2 * 5] == AS_TEXT.index("2") == 4
    assert "in numerical order 10 of 60 images are classified correctly" in found.line
    assert "ImageFolder (0, 1, 10, 11, 2, …) 60: the order of ImageFolder is used" in found.line

    kept = fitting_order(classifier(images.classes), images)
    assert not kept.changed
    assert kept.images is images
    assert kept.line.endswith("the numerical order is used")


def test_a_model_that_fits_neither_is_undecided(tmp_path: Path) -> None:
    images = from_folder(shades(tmp_path / "shades", each=1))
    turned = tuple(str((shade + 6) % CLASSES) for shade in range(CLASSES))
    found = fitting_order(classifier(turned), images)
    assert not found.decided
    assert found.images is images


@pytest.mark.parametrize("count", [2, 10])
def test_nothing_is_decided_where_the_orders_agree(count: int, tmp_path: Path) -> None:
    for number in range(count):
        (tmp_path / "few" / str(number)).mkdir(parents=True)
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(
            tmp_path / "few" / str(number) / "a.png"
        )
    images = from_folder(tmp_path / "few")
    assert images.other_order is None
    assert images.in_other_order() is images
    assert fitting_order(classifier(AS_TEXT), images).line == ""


def test_classes_that_count_from_one_fit_as_text(tmp_path: Path) -> None:
    images = from_folder(shades(tmp_path / "shades", first=1))
    assert images.labels is not None
    assert images.labels.max() == CLASSES
    ordered = tuple(str(int(name) - 1) for name in sorted(images.classes))
    found = fitting_order(classifier(ordered), images)
    assert found.changed
    found.images.require_fit((1, 8, 8), CLASSES)


@pytest.mark.parametrize("by_number", [True, False])
def test_numbers_inside_the_names_are_tried_in_both_orders(by_number: bool, tmp_path: Path) -> None:
    """Folders class1 to class12: as text class1, class10, class11, class12, class2, …"""
    for place in sorted(shades(tmp_path / "shades", first=1).iterdir()):
        place.rename(place.with_name(f"class{place.name}"))
    images = from_folder(tmp_path / "shades")
    assert images.classes[:3] == ("class1", "class10", "class11")
    order = tuple(map(str, range(CLASSES)))
    if not by_number:
        order = tuple(str(int(name.removeprefix("class")) - 1) for name in images.classes)
    found = fitting_order(classifier(order), images)
    assert found.decided
    assert found.changed is by_number
    chosen = "numerical order" if by_number else "order of ImageFolder"
    assert found.line.endswith(f": the {chosen} is used")
    assert "in numerical order (class1, class2, class3, class4, class5, …)" in found.line


def greys_as_text() -> Any:
    """An ONNX model of the classes in the order of ImageFolder."""
    centres = np.array([(int(name) + 0.5) / CLASSES for name in AS_TEXT], np.float32)
    return model(
        [
            node("ReduceMean", "x", "mean", axes=[1, 2, 3], keepdims=0),
            node("Unsqueeze", "mean axis", "column"),
            node("Sub", "column centres", "gap"),
            node("Abs", "gap", "far"),
            node("Neg", "far", "out"),
        ],
        inputs={"x": ("batch", 1, 8, 8)},
        outputs={"out": None},
        weights={"axis": np.array([1], np.int64), "centres": centres[None]},
    )


def test_every_command_takes_the_order_that_fits(tmp_path: Path) -> None:
    data, made = shades(tmp_path / "shades", each=3), saved(tmp_path, greys_as_text())
    for command in (("inspect",), ("attack", "--attack", "fgsm", "--out", tmp_path / "r.h5")):
        ended = robcert(*command, "-m", made, "-d", data, "-q")
        assert ended.status == 0, ended.stderr
        assert "36: the order of ImageFolder is used" in ended.stderr
        assert "100.0 %" in ended.stdout
