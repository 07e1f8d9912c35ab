"""A mean or std in other units than the range is told, and no common constants are."""

from __future__ import annotations

import pytest

from robcert.certify.model.constants import NORMALISATIONS
from robcert.certify.model.contradiction import scale_contradiction
from robcert.certify.model.preprocessing import Preprocessing

WIDE, UNIT = (0.0, 255.0), (0.0, 1.0)


@pytest.mark.parametrize("one", NORMALISATIONS, ids=lambda one: one.name)
def test_common_constants_do_not_contradict_their_range(one: object) -> None:
    made = Preprocessing(range=one.limits, mean=one.mean, std=one.std)  # type: ignore[attr-defined]
    assert scale_contradiction(made) == ""


@pytest.mark.parametrize(
    "made",
    [
        Preprocessing(),
        Preprocessing(range=WIDE),
        Preprocessing(range=WIDE, mean=(0.0,), std=(1.0,)),
        Preprocessing(range=WIDE, std=(255.0,)),
        Preprocessing(range=WIDE, mean=(127.5,), std=(127.5,)),
        Preprocessing(range=WIDE, mean=(103.9, 116.8, 0.0)),
        Preprocessing(range=UNIT, mean=(0.5,), std=(0.5,)),
        Preprocessing(range=UNIT, mean=(0.0,), std=(1 / 255,)),
        Preprocessing(range=(-1.0, 1.0), mean=(-0.2,), std=(0.9,)),
        Preprocessing(range=(255.0, 0.0), mean=(120.0,)),
    ],
)
def test_constants_of_the_range_pass(made: Preprocessing) -> None:
    assert scale_contradiction(made) == ""


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (Preprocessing(range=WIDE, mean=(0.286,)), "mean 0.286 contradicts the range 0,255"),
        (Preprocessing(range=WIDE, mean=(0.286,)), "--range 0,1"),
        (Preprocessing(range=WIDE, mean=(123.7,), std=(0.229,)), "std 0.229 contradicts"),
        (Preprocessing(range=WIDE, std=(0.353,)), "stds of pixels from 0 to 1"),
        (Preprocessing(range=UNIT, mean=(123.7,)), "mean 123.7 contradicts the range 0,1"),
        (Preprocessing(range=UNIT, mean=(123.7, 116.3, 103.5)), "--range 0,255"),
        (Preprocessing(range=UNIT, mean=(0.485,), std=(58.4,)), "std 58.4 contradicts"),
        (Preprocessing(range=UNIT, mean=(-0.5,)), "in the units of the range"),
        (Preprocessing(range=(-1.0, 1.0), mean=(127.5,)), "mean 127.5 contradicts"),
        (Preprocessing(range=(255.0, 0.0), mean=(0.286,)), "contradicts the range 255,0"),
    ],
)
def test_constants_of_another_range_are_told(made: Preprocessing, said: str) -> None:
    line = scale_contradiction(made)
    assert said in line
    assert not line.endswith(".")
