"""Sentences of an audit's verdict."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from robcert.certify.attacks.summary import RobustAccuracy
from robcert.certify.auditing.verdict import _attack_sentence


@pytest.mark.parametrize(
    ("accuracy", "median", "told"),
    [(0.25, 0.02, True), (0.75, 0.06, True), (0.5, 0.06, False), (0.25, None, False)],
)
def test_the_median_distance_never_contradicts_the_accuracy(
    accuracy: float, median: float | None, told: bool
) -> None:
    """Attacks of the masking check lower the accuracy and record no distances."""
    attack: Any = SimpleNamespace(
        clean_accuracy=SimpleNamespace(value=1.0), norm="linf", median_distance=median
    )
    entry = RobustAccuracy(8 / 255, accuracy, 0.0, 1.0)
    sentence = _attack_sentence(attack, entry)
    assert f"falls to {100 * accuracy:.1f} % at ε = 8/255 (linf)" in sentence
    assert ("half are misclassified" in sentence) == told
