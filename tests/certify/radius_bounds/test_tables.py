"""Tables of linearity and bounds: what they show and what they leave out."""

from __future__ import annotations

from typing import Any

import pytest

from robcert.certify.auditing.tables import tables

FIT = {"status": "ok", "method": "gev", "exceedance": 0.001, "block_size": 20, "blocks": 100}


def summary(**changed: object) -> dict[str, object]:
    spread = {"mean": 0.2, "median": 0.1, "q95": 0.5, "max": 1.0, "n": 8}
    return {
        "norm": "linf",
        "epsilon": 8 / 255,
        "sided": "two",
        "gamma": spread,
        "proposition_4_1": {**spread, "median": 0.3},
        "proposition_4_1_violations": 0,
        "proposition_c2": {
            "change": {**spread, "median": 0.7},
            "held_at_delta": 0.75,
            "held_in_ball": 0.5,
        },
        **changed,
    }


def test_change_of_the_loss_by_both_propositions() -> None:
    gamma, change = tables("linearity", summary())
    assert gamma.rows == (("linf", "8/255", "0.2", "0.1", "0.5", "1", "8"),)
    assert change.rows == (("8/255", "0.3", "0", "0.7", "75.0 %", "50.0 %"),)
    assert change.claim == "estimated"
    assert "an approximation" in change.note


def test_margins_have_no_proposition_c2() -> None:
    _, change = tables("linearity", summary(proposition_c2=None))
    assert change.rows == (("8/255", "0.3", "0"),)
    assert "C.2" not in change.note


def test_one_side_bounds_no_change_and_is_named() -> None:
    (gamma,) = tables("linearity", summary(sided="upper", loss="margin"))
    assert gamma.note.endswith("Of the margin. Deviations above the tangent alone.")


def test_the_point_estimate_is_explained() -> None:
    for changed, words in (
        ({}, "with probability 0.001, one image with about 5e-05."),
        ({"method": "reverse-weibull"}, "Point: the end of the law that was fitted."),
        ({"status": "max"}, ""),
    ):
        lipschitz = {**FIT, **changed}
        extremes = tables("bounds", {"lipschitz": lipschitz, "omega": []})[0]
        assert extremes.note.endswith(words)
        assert bool(extremes.note) is bool(words)


@pytest.mark.parametrize(
    ("fit", "state"),
    [
        ({**FIT, "flags": []}, "ok"),
        ({**FIT, "flags": ["poor fit", "heavy tail: why"]}, "poor fit, heavy tail"),
        ({"status": "atom", "flags": ["small blocks"]}, "atom"),
        ({}, "–"),
    ],
)
def test_a_doubtful_fit_is_not_called_ok(fit: dict[str, Any], state: str) -> None:
    extremes = tables("bounds", {"lipschitz": fit, "omega": []})[0]
    assert extremes.rows[0][-1] == state


def test_bounds_before_the_sample_is_finished() -> None:
    (extremes,) = tables("bounds", {"lipschitz": None, "omega": [], "error_at": [], "radius": {}})
    assert extremes.rows[0][0] == "L"
