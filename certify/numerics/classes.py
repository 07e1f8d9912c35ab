"""The class that scores name; scores that are not numbers name none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NO_CLASS = -1
"""Class of an image whose scores name none. It equals no label: the image counts as wrong."""


def classes_of(logits: Tensor) -> Tensor:
    """Class ``(b,)`` with the largest of ``logits (b, k)``, NO_CLASS where there is none.

    A row names no class if one of its entries is NaN, or if the largest is infinite and several
    entries share it: then the order of the classes is lost, and an argmax gives the first of them
    whatever the image shows. Of equal finite entries the first counts.
    """
    top = logits.amax(1)  # NaN where an entry is
    shared = (logits == top[:, None]).sum(1) > 1
    return logits.argmax(1).masked_fill(top.isnan() | (top.isinf() & shared), NO_CLASS)
