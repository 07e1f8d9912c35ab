from __future__ import annotations

import math

import pytest
import torch

from robcert.certify.numerics import NO_CLASS, classes_of

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("logits", "named"),
    [
        ([0.5, 2.0, 1.0], 1),
        ([2.0, 2.0, 1.0], 0),  # of equal finite entries the first
        ([-INF, 0.0, 1.0], 2),  # a class that is masked out
        ([0.0, INF, 1.0], 1),
        ([NAN, 2.0, 1.0], NO_CLASS),
        ([0.0, 2.0, NAN], NO_CLASS),
        ([INF, INF, 1.0], NO_CLASS),  # overflow: the order is lost
        ([-INF, -INF, -INF], NO_CLASS),
    ],
)
def test_a_class_needs_one_largest_number(logits: list[float], named: int) -> None:
    assert classes_of(torch.tensor([logits, [0.0, 1.0, 0.0]])).tolist() == [named, 1]
