"""Each indicator on a table where it must fire and on the honest one where it must not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from places import DOCS
from summaries import masking

from robcert.certify.masking import indicators as masking_texts
from robcert.certify.masking.checklist import ATTACKS, Facts, indicators_of
from robcert.certify.masking.remedies import remedies_of
from robcert.certify.masking.schema import JUDGED, MASKING
from robcert.certify.masking.tables import tables
from robcert.certify.masking.verdict import (
    Indicator,
    IndicatorText,
    MaskingVerdict,
    Weight,
    change_of,
    needed_for,
    verdict_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

N = 60
STEPS = 4


def honest(n: int = N) -> dict[str, NDArray[Any]]:
    """All images classified correctly, half of them misclassified under every gradient attack."""
    columns: dict[str, NDArray[Any]] = {}
    half = np.arange(n) < n // 2
    for column in MASKING.columns:
        if column.trailing:
            climb = np.linspace(-1.0, 0.5, STEPS)
            columns[column.name] = np.where(half[:, None], climb, climb - 1)
        else:
            columns[column.name] = half.astype(column.dtype)
    calm = {"noise": 0, "search": 0, "label_search": 0, "transfer": 0, "answers_differ": 0}
    fixed = {**calm, "correct": 1, "unbounded": 1, "pgd_wide": 1, "moved": 1, "gradient_nan": 0}
    for name, value in fixed.items():
        columns[name] = np.full(n, value, dtype=np.int8)
    measured = {"confidence": 0.8, "high_frequency": 0.5, "gamma": 0.1, "linear_change": 1.0}
    norms = {f"gradient_norm_{name}": 1.0 for name in ("file", "ce", "margin")}
    for name, number in {**measured, **norms}.items():
        columns[name] = np.full(n, number)
    columns["earlier"] = columns["rounds"] = np.full(n, -1, dtype=np.int8)
    columns["wrong_share"] = np.full((n, len(JUDGED), 2), np.nan)
    return columns


def flagged(columns: dict[str, NDArray[Any]], facts: Facts | None = None) -> set[str]:
    return {i.name for i in indicators_of(columns, facts or Facts()) if i.flagged}


def test_an_honest_table_is_clear() -> None:
    indicators = indicators_of(honest(), Facts())
    assert [i.name for i in indicators if i.flagged] == []
    assert verdict_of(indicators) is MaskingVerdict.CLEAR
    assert {i.name for i in indicators if not i.ran} == {
        "twin_disagrees",
        "gradient_is_no_slope",
        "estimates_above_attacks",
    }


def _curve(*values: float) -> NDArray[np.float64]:
    return np.tile(np.array(values), (N, 1))


@pytest.mark.parametrize(
    ("changed", "fires"),
    [
        ({"search": 1}, "search_beats_gradient"),
        ({"label_search": 1}, "labels_beat_gradient"),
        ({"transfer": 1}, "transfer_beats_gradient"),
        ({"inner": 1}, "inner_scores_beat_gradient"),
        ({"long_search": 1}, "all_searches_beat_gradient"),
        ({"noise": 1}, "noise_beats_gradient"),
        ({"earlier": 1}, "hidden_from_cross_entropy"),
        ({"pgd_file": 0}, "hidden_by_the_file"),
        ({"pgd_small_logits": 1}, "rescaling_helps"),
        ({"pgd_large_logits": 1}, "rescaling_helps"),
        ({"pgd_wide": 0, "pgd_file": 0}, "larger_radius_fails"),
        ({"fgsm": 1}, "one_step_beats_many"),
        ({"unbounded": 0}, "withstands_unbounded"),
        ({"moved": 0}, "attack_stands_still"),
        ({"gradient_nan": 1}, "gradient_not_a_number"),
        ({"gradient_norm_file": 0.0, "pgd_file": 0}, "vanishing_gradient_file"),
        ({"gradient_norm_ce": 1e-13, "pgd_ce": 0}, "vanishing_gradient_ce"),
        ({"gradient_norm_margin": 0.0}, "vanishing_gradient_margin"),
        ({"answers_differ": 1}, "answers_differ"),
        ({"gamma": 2.0}, "bent_loss"),
        ({"high_frequency": 0.8}, "perturbation_like_noise"),
        ({"confidence": 1.0}, "saturated_outputs"),
    ],
)
def test_an_indicator_fires_on_its_own_evidence(changed: dict[str, float], fires: str) -> None:
    columns = honest()
    for name, value in changed.items():
        columns[name] = np.full(N, value, dtype=columns[name].dtype)
    assert fires in flagged(columns)


def test_a_curve_that_never_climbs_and_one_that_falls_back() -> None:
    falling = honest() | {"margin_curve": _curve(-1, -1, -1.5, -2)}
    assert flagged(falling) == {"attack_does_not_climb"}
    back = honest() | {"margin_curve": _curve(-1, 0.5, -0.5, -0.2)}
    assert flagged(back) == {"more_steps_fail"}
    lost = honest() | {"margin_curve": _curve(*[np.nan] * STEPS)}
    assert flagged(lost) == {"attack_does_not_climb"}


def test_what_the_file_says_beside_the_table() -> None:
    assert flagged(honest(), Facts(hint_nodes=3)) == {"nodes_without_gradient"}
    assert flagged(honest(), Facts(disagreement=0.1)) == {"twin_disagrees"}
    assert flagged(honest(), Facts(compared=100, crossings=20)) == {"estimates_above_attacks"}
    assert flagged(honest(), Facts(disagreement=0.0, compared=100, crossings=1)) == set()


def test_a_fix_gets_through_where_the_naive_attack_does_not() -> None:
    columns = honest() | {"pgd_file": np.zeros(N, np.int8), "search": np.ones(N, np.int8)}
    columns["transfer"] = np.full(N, -1, np.int8)
    found = {remedy.name: remedy for remedy in remedies_of(columns, straight_through=False)}
    assert found["score search"].gets_through
    assert found["score search"].robust.value == 0
    assert found["margin loss"].broken_beyond.value == 0.5
    assert not found["random noise"].gets_through
    assert found["transfer from other models"].robust.n == 0
    weakest, plain, *_ = remedies_of(columns, straight_through=True)
    assert weakest.name == "one step (FGSM)"
    assert "straight-through" in plain.name


@pytest.mark.parametrize("n", [10, 36, 100])
def test_the_count_that_would_flag_is_the_smallest(n: int) -> None:
    def at(count: int) -> Indicator:
        columns = honest(n)
        columns["correct"][:] = 1
        columns["label_search"] = (
            (np.arange(n) >= n // 2) & (np.arange(n) < n // 2 + count)
        ).astype(np.int8)
        return next(i for i in indicators_of(columns, Facts()) if i.name == "labels_beat_gradient")

    needed = needed_for(at(0))
    assert 0 < needed <= n // 2
    assert at(needed).flagged
    assert not at(needed - 1).flagged


def test_the_sentence_of_what_would_change_names_counts_or_indicators() -> None:
    clear = indicators_of(honest(), Facts())
    assert "the verdict would be 'masked'" in change_of(clear)
    still = indicators_of(honest() | {"moved": np.zeros(N, np.int8)}, Facts())
    assert verdict_of(still) is MaskingVerdict.SUSPECT
    assert "Without attack_stands_still the verdict would be 'clear'" in change_of(still)
    masked = indicators_of(honest() | {"label_search": np.ones(N, np.int8)}, Facts())
    assert "Only a gradient attack as strong" in change_of(masked)
    unknown = [i for i in clear if i.weight is not Weight.DECISIVE]
    assert change_of(unknown)


def test_the_table_says_what_was_not_run_and_whether_it_was_needed() -> None:
    columns = honest() | {"transfer": np.full(N, -1, np.int8)}
    columns["moved"] = np.full(N, -1, np.int8)
    found = masking(
        verdict=MaskingVerdict.UNKNOWN, indicators=tuple(indicators_of(columns, Facts()))
    )
    table = next(t for t in tables([found]) if t.header[0] == "indicator")
    states = {row[0]: row[3] for row in table.rows}
    assert states["transfer beats gradient"] == "not run (optional)"
    assert states["attack stands still"] == "not run"
    assert states["search beats gradient"] == "ok"


def test_no_slope_at_a_robust_image_is_no_sign_if_pgd_leaves_it() -> None:
    columns = honest()
    columns["gradient_norm_ce"] = columns["gradient_norm_file"] = np.zeros(N)
    for name in ATTACKS:
        columns[name] = np.zeros(N, dtype=np.int8)
    assert not {"vanishing_gradient_ce", "vanishing_gradient_file"} & flagged(columns)
    columns["moved"] = np.zeros(N, dtype=np.int8)
    assert {"vanishing_gradient_ce", "vanishing_gradient_file"} <= flagged(columns)


def test_the_page_lists_every_indicator_with_its_threshold() -> None:
    page = (DOCS / "masking.md").read_text(encoding="utf-8")
    texts = [text for text in vars(masking_texts).values() if isinstance(text, IndicatorText)]
    assert {text.name for text in texts} == {i.name for i in indicators_of(honest(), Facts())}
    for text in texts:
        optional = "" if text.required else ", optional"
        row = f"| `{text.name}` | {text.weight}{optional} | {text.threshold:g} | {text.meaning} |"
        assert row in page
