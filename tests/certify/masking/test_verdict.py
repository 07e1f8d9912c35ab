"""The rule of the masking verdict, without any model."""

import numpy as np
import pytest

from robcert.certify.masking.verdict import (
    Indicator,
    IndicatorText,
    MaskingVerdict,
    Weight,
    reason_of,
    verdict_of,
)


def text(weight: Weight, *, required: bool = True, threshold: float = 0.1) -> IndicatorText:
    return IndicatorText("thing", threshold, weight, "meaning", "advice", required)


def share(weight: Weight, count: int, n: int = 100) -> Indicator:
    shown = np.arange(n) < count
    return text(weight).of_share(shown, np.ones(n, bool))


def test_a_share_is_flagged_by_its_lower_limit_not_by_its_value() -> None:
    # Clopper-Pearson 95 % of 12/100 is [0.0636, 0.2002]: the value exceeds 0.1, the limit does not.
    indicator = share(Weight.DECISIVE, 12)
    assert indicator.value == pytest.approx(0.12)
    assert indicator.lower == pytest.approx(0.0636, abs=1e-4)
    assert not indicator.flagged
    assert share(Weight.DECISIVE, 30).flagged


def test_half_way_is_a_lower_limit_above_half_the_threshold() -> None:
    # Clopper-Pearson 95 %: 10/100 from 0.0490, 11/100 from 0.0562
    assert not share(Weight.DECISIVE, 10).near
    near = share(Weight.DECISIVE, 11)
    assert near.near
    assert not near.flagged
    assert not share(Weight.DECISIVE, 30).near  # it is flagged
    assert not share(Weight.SUPPORTING, 11).near
    assert "thing 0.11 (more than half of 0.1)" in reason_of([near])


def test_only_the_images_among_count() -> None:
    shown = np.array([True, True, False, False])
    among = np.array([True, False, True, False])
    assert text(Weight.HINT).of_share(shown, among).value == 0.5


def test_no_images_means_not_run() -> None:
    indicator = text(Weight.HINT).of_share(np.zeros(0, bool), np.zeros(0, bool))
    assert not indicator.ran
    assert not indicator.flagged
    assert indicator.to_json()["value"] is None


@pytest.mark.parametrize(
    ("indicators", "verdict"),
    [
        ([share(Weight.DECISIVE, 0), share(Weight.SUPPORTING, 0)], MaskingVerdict.CLEAR),
        ([share(Weight.HINT, 100)], MaskingVerdict.CLEAR),
        ([share(Weight.DECISIVE, 0), share(Weight.SUPPORTING, 50)], MaskingVerdict.SUSPECT),
        ([share(Weight.DECISIVE, 50), share(Weight.SUPPORTING, 50)], MaskingVerdict.MASKED),
        ([share(Weight.DECISIVE, 10), share(Weight.SUPPORTING, 10)], MaskingVerdict.CLEAR),
        ([share(Weight.DECISIVE, 11)], MaskingVerdict.SUSPECT),
        ([share(Weight.DECISIVE, 11), text(Weight.SUPPORTING).not_run()], MaskingVerdict.SUSPECT),
        ([share(Weight.DECISIVE, 0), text(Weight.SUPPORTING).not_run()], MaskingVerdict.UNKNOWN),
        ([share(Weight.DECISIVE, 50), text(Weight.SUPPORTING).not_run()], MaskingVerdict.MASKED),
        ([text(Weight.SUPPORTING, required=False).not_run()], MaskingVerdict.CLEAR),
    ],
)
def test_the_verdict_follows_the_rule(indicators: list[Indicator], verdict: MaskingVerdict) -> None:
    assert verdict_of(indicators) is verdict


def test_the_reason_names_the_evidence() -> None:
    assert "thing" in reason_of([share(Weight.DECISIVE, 50)])
    assert "could not be computed: thing" in reason_of([text(Weight.SUPPORTING).not_run()])
    several = [text(Weight.SUPPORTING).not_run() for _ in range(6)]
    assert "thing, thing, thing, thing and 2 more" in reason_of(several)


def test_the_reason_of_a_suspicion_counts_what_got_through() -> None:
    none = [share(Weight.SUPPORTING, 50), share(Weight.DECISIVE, 0)]
    assert "no attack succeeded" in reason_of(none)
    some = [share(Weight.SUPPORTING, 50), share(Weight.DECISIVE, 9)]
    assert "on 9 of 100 images, which may be chance" in reason_of(some)
