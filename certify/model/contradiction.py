"""Constants of a preprocessing that cannot belong together.

A mean and a standard deviation are in the units of the range. Data sets of pixels from 0 to 1 have
means below 1, those of pixels from 0 to 255 means around 100.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .preprocessing import Preprocessing

WIDE = 32.0
"""A range at least this wide counts in grey levels, where constants of at most 1 are none."""


def scale_contradiction(preprocessing: Preprocessing) -> str:
    """A sentence without a full stop if mean or std contradict the range; empty if they do not.

    They do if a mean lies outside the range, if a std is larger than the whole range, or if the
    range counts in grey levels and all means, or all stds, are those of pixels from 0 to 1. A mean
    of 0 and a std of 1 change nothing and fit every range.

    >>> from robcert.certify.model import Preprocessing
    >>> scale_contradiction(Preprocessing(range=(0, 255), mean=(0.286,)))
    'mean 0.286 contradicts the range 0,255: means of pixels from 0 to 1 belong to --range 0,1'
    >>> scale_contradiction(Preprocessing(range=(0, 255), mean=(123.7,), std=(58.4,)))
    ''
    """
    low, high = sorted(preprocessing.range)
    means = [mean for mean in preprocessing.mean if mean != 0]
    stds = [std for std in preprocessing.std if std != 1]
    wide = high - low >= WIDE
    for name, values, outside in (
        ("mean", means, any(not low <= mean <= high for mean in means)),
        ("std", stds, any(std > high - low for std in stds)),
    ):
        small = wide and bool(values) and max(map(abs, values)) <= 1
        if not (outside or small):
            continue
        shown = ",".join(f"{value:g}" for value in getattr(preprocessing, name))
        black, white = preprocessing.range
        return (
            f"{name} {shown} contradicts the range {black:g},{white:g}: "
            f"{_where(name, values, wide=wide)}"
        )
    return ""


def _where(name: str, values: list[float], *, wide: bool) -> str:
    """Where such constants belong."""
    if all(0 < value <= 1 for value in values) and wide:
        return f"{name}s of pixels from 0 to 1 belong to --range 0,1"
    if all(1 < value <= 255 for value in values) and not wide:
        return f"{name}s of pixels from 0 to 255 belong to --range 0,255"
    return f"a {name} is in the units of the range"
