"""Tables of linearity and bounds: what they show and what they leave out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from summaries import bounds, fit
from summaries import linearity as blank_linearity

from robcert.certify.local_linearity import tables as linearity_tables
from robcert.certify.local_linearity.summary import ImpliedBound
from robcert.certify.radius_bounds.tables import fit_state, tables
from robcert.certify.stats.descriptive import SummaryStatistics

if TYPE_CHECKING:
    from robcert.certify.local_linearity.summary import LinearitySummary

STATISTICS = SummaryStatistics(0.2, 0.1, 0.5, 1.0, 8)


def linearity(**changed: Any) -> LinearitySummary:
    implied = ImpliedBound(SummaryStatistics(0.2, 0.7, 0.5, 1.0, 8), 0.75, 0.5)
    given = {
        "norm": "linf",
        "epsilon": 8 / 255,
        "loss": "ce",
        "sided": "two",
        "box": True,
        "gamma": STATISTICS,
        "proposition_4_1": SummaryStatistics(0.2, 0.3, 0.5, 1.0, 8),
        "proposition_c2": implied,
    }
    return blank_linearity(**{**given, **changed})


def test_change_of_the_loss_by_both_propositions() -> None:
    gamma, change = linearity_tables((linearity(),))
    assert gamma.rows == (("linf", "8/255", "0.2", "0.1", "0.5", "1", "8", "0 of 0"),)
    assert change.rows == (("8/255", "0.3", "0", "0 of 0", "0.7", "75.0 %", "50.0 %"),)
    assert change.claim == "estimated"
    assert "an approximation" in change.note


def test_margins_have_no_proposition_c2() -> None:
    _, change = linearity_tables((linearity(proposition_c2=None),))
    assert change.rows == (("8/255", "0.3", "0", "0 of 0"),)
    assert "C.2" not in change.note


def test_one_side_bounds_no_change_and_is_named() -> None:
    (gamma,) = linearity_tables((linearity(sided="upper", loss="margin"),))
    assert gamma.note.endswith("The loss is the margin. Only deviations above the tangent count.")


def test_the_point_estimate_is_explained() -> None:
    for changed, words in (
        ({}, "with probability 0.001, that of one image with about 5e-05."),
        ({"method": "reverse-weibull"}, "Point: the endpoint of the fitted distribution."),
        ({"status": "max"}, ""),
    ):
        given: dict[str, Any] = {"exceedance": 0.001, "block_size": 20, "blocks": 100, **changed}
        extremes = next(iter(tables([bounds(fit(**given))])))
        assert extremes.note.endswith(words)
        assert bool(extremes.note) is bool(words)


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ({"flags": ()}, "ok"),
        ({"flags": ("poor fit", "heavy tail: why")}, "poor fit, heavy tail"),
        ({"status": "atom", "flags": ("small blocks",)}, "atom"),
    ],
)
def test_a_doubtful_fit_is_not_called_ok(given: dict[str, Any], state: str) -> None:
    made = fit(exceedance=0.001, block_size=20, **given)
    assert fit_state(made) == state
    assert next(iter(tables([bounds(made)]))).rows[0][-1] == state


def test_bounds_before_the_sample_is_finished() -> None:
    extremes = next(iter(tables([bounds(None)])))
    assert extremes.rows[0][0] == "L"
