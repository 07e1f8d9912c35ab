"""Class numbers by names of classes: numbers by their value, other names in order."""

from __future__ import annotations

import re

import numpy as np

from robcert.certify.errors import DataError

from .image_set import LARGEST_CLASS, ClassOrder


def class_numbers(names: list[str]) -> dict[str, int]:
    """Class numbers of class names: their value if all are numbers, else their sorted order."""
    if all(name.isdecimal() for name in names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(sorted(names))}


def in_class_order(names: list[str]) -> list[str]:
    """``names`` by their class numbers.

    Raises:
        DataError: two names are the same number, or one is too large for a class.
    """
    if all(name.isdecimal() for name in names):
        by_number: dict[int, str] = {}
        for name in sorted(names):
            if len(name.lstrip("0")) > len(str(LARGEST_CLASS)):
                message = f"the class folder {name} is no class: its number is too large"
                raise DataError(message, hint="name the folders after their classes, 0, 1, 2, …")
            other = by_number.setdefault(int(name), name)
            if other != name:
                message = f"the class folders {other} and {name} are the same number"
                raise DataError(message, hint="move their images into one folder")
    numbers = class_numbers(names)
    return sorted(names, key=numbers.__getitem__)


def other_class_order(
    classes: tuple[str, ...], sizes: list[int], without_images: tuple[str, ...] = ()
) -> ClassOrder | None:
    """The other common numbering of class folders with numbers in their names; None if it agrees.

    Names that are numbers are classes by value, and as text in torchvision's ImageFolder. Names
    like ``class2`` and ``class10`` are classes as text, and by number in many other programs.

    Args:
        classes: names in the order of the images.
        sizes: number of images of each class.
        without_images: names of folders without images; those that are numbers count as text.
    """
    numeric = bool(classes) and all(name.isdecimal() for name in classes)
    if numeric:
        ordered = sorted((*classes, *(name for name in without_images if name.isdecimal())))
    else:
        ordered = _by_number(classes)
    then = {name: number for number, name in enumerate(ordered)}
    if not ordered or all(then[name] == at for name, at in class_numbers(list(classes)).items()):
        return None
    labels = np.repeat(np.array([then[name] for name in classes], np.int64), sizes)
    return ClassOrder(labels, tuple(ordered), as_text=numeric)


def _by_number(names: tuple[str, ...]) -> list[str]:
    """``names`` by the only number in each; empty unless they are the same but for that."""
    found = [re.fullmatch(r"(\D*)(\d{1,12})(\D*)", name) for name in names]
    parts = [match.groups() for match in found if match]
    if len(parts) < len(names) or len({(before, after) for before, _, after in parts}) != 1:
        return []
    values = [int(number) for _, number, _ in parts]
    if len(set(values)) < len(values):
        return []
    return [name for _, name in sorted(zip(values, names, strict=True))]
