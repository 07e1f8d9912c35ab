"""The headline and the sentences of an audit's verdict."""

from __future__ import annotations

from typing import Any

import pytest
from summaries import attack, findings, masking, robust

from robcert.certify.auditing.verdict import cards, verdict
from robcert.certify.masking.verdict import MaskingVerdict
from robcert.certify.stats.intervals import proportion

EPSILON = 8 / 255


def found(
    right: int,
    n: int = 100,
    *,
    clean: int | None = None,
    state: MaskingVerdict | None = MaskingVerdict.CLEAR,
    **given: object,
) -> tuple[str, str]:
    """Headline and tone where ``right`` of n images survive, ``clean`` of them without attack."""
    share = proportion(right, n)
    entry = robust(EPSILON, share.value)
    attacked = attack(
        n=n,
        robust_accuracy=(type(entry)(EPSILON, share.value, share.lower, share.upper),),
        headline_epsilon=EPSILON,
        clean_accuracy=proportion(n if clean is None else clean, n),
    )
    check = None if state is None else masking(verdict=state)
    said = verdict(findings(attack=attacked, masking=check, **given))
    return said.headline, said.tone


def test_the_headline_names_the_images_the_interval_and_the_clean_accuracy() -> None:
    headline, tone = found(8, clean=89)
    assert headline == (
        "Not robust at ε = 8/255 (linf): 8.0 % [3.5, 15.2] of 100 images are classified correctly "
        "under attack, 89.0 % without attack"
    )
    assert tone == "bad"


@pytest.mark.parametrize(
    ("right", "clean", "n", "said", "tone"),
    [
        (61, 100, 100, "Robust at", "good"),
        (60, 100, 100, "Robustness undecided at", "warn"),  # lower end 0.497
        (41, 60, 100, "Robust at", "good"),  # 41 % of all, 68 % of the right ones
        (6, 6, 6, "Robust at", "good"),  # lower end 0.541
        (5, 5, 5, "Robustness undecided at", "warn"),  # lower end 0.478
        (0, 5, 5, "Robustness undecided at", "warn"),
        (0, 6, 6, "Not robust at", "bad"),
        (45, 100, 100, "Robustness undecided at", "warn"),
        (400, 1000, 1000, "Not robust at", "bad"),
    ],
)
def test_the_interval_decides_what_a_model_is_called_and_its_colour(
    right: int, clean: int, n: int, said: str, tone: str
) -> None:
    headline, colour = found(right, n, clean=clean)
    assert headline.startswith(said)
    assert colour == tone


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "Robustness not established (gradients not checked) at"),
        (MaskingVerdict.SUSPECT, "Robustness not established (gradients suspect) at"),
        (MaskingVerdict.UNKNOWN, "Robustness not established (gradients unknown) at"),
        (MaskingVerdict.MASKED, "This model masks its gradients: "),
    ],
)
def test_only_clear_gradients_make_a_model_robust(state: MaskingVerdict | None, said: str) -> None:
    headline, tone = found(90, state=state)
    assert headline.startswith(said)
    assert "90.0 % [82.4, 95.1] of 100 images" in headline
    better = state in {MaskingVerdict.SUSPECT, MaskingVerdict.MASKED}  # attacks may well exist
    assert ("at most 90.0 %" in headline) == better
    assert tone == ("bad" if state is MaskingVerdict.MASKED else "warn")
    assert found(5, state=state)[1] == "bad"


def test_without_another_attack_those_of_the_masking_check_count() -> None:
    check = masking(
        verdict=MaskingVerdict.CLEAR, norm="l2", epsilon=0.5, corrected=proportion(9, 60)
    )
    said = verdict(findings(masking=check))
    assert said.headline == (
        "Robustness not established at ε = 0.5 (l2): at most 15.0 % [7.1, 26.6] of 60 images are "
        "classified correctly under the attacks of the masking check"
    )
    assert said.tone == "warn"
    assert verdict(findings()).headline == "No attack in this file: robustness was not tested"


@pytest.mark.parametrize("given", [{"doubts": ("Wrong?",)}, {"cut_off": ("masking",)}])
@pytest.mark.parametrize("right", [2, 98])
def test_a_doubt_is_in_the_headline(right: int, given: dict[str, Any]) -> None:
    headline, tone = found(right, **given)
    assert headline.startswith("Robustness not established at")
    assert tone == "warn"
    said = verdict(findings(**given)).sentences
    assert said[: len(given.get("doubts", ()))] == given.get("doubts", ())


@pytest.mark.parametrize(("right", "said"), [(98, "Stable at"), (2, "Not stable at")])
def test_without_labels_nothing_is_an_accuracy(right: int, said: str) -> None:
    headline, tone = found(right, labelled=False)
    assert headline.startswith(said)
    assert headline.endswith("keep their class under attack (no labels, so no accuracy)")
    assert tone != "good"
    attacked = attack(
        n=10,
        robust_accuracy=(robust(EPSILON, 0.5),),
        headline_epsilon=EPSILON,
        clean_accuracy=proportion(10, 10),
    )
    unlabelled = findings(attack=attacked, labelled=False)
    shown = " ".join(card.text for card in cards(unlabelled))
    first, *others = verdict(unlabelled).sentences
    assert first.startswith("No labels: every number refers to the model's own prediction")
    assert "accuracy" not in shown + " ".join(others)


@pytest.mark.parametrize(
    ("accuracy", "median", "told"),
    [(0.25, 0.02, True), (0.75, 0.06, True), (0.5, 0.06, False), (0.25, None, False)],
)
def test_the_median_distance_never_contradicts_the_accuracy(
    accuracy: float, median: float | None, told: bool
) -> None:
    """Attacks of the masking check lower the accuracy and record no distances."""
    attacked = attack(
        n=100,
        robust_accuracy=(robust(EPSILON, accuracy),),
        headline_epsilon=EPSILON,
        clean_accuracy=proportion(100, 100),
        median_distance=median,
    )
    sentence = " ".join(verdict(findings(attack=attacked)).sentences)
    assert f"falls to {100 * accuracy:.1f} % at ε = 8/255 (linf)" in sentence
    assert ("half are misclassified" in sentence) == told


def test_no_model_is_robust_where_no_other_input_exists() -> None:
    attacked = attack(
        n=100,
        robust_accuracy=(robust(EPSILON, 1.0),),
        headline_epsilon=EPSILON,
        clean_accuracy=proportion(100, 100),
    )
    clear = masking(verdict=MaskingVerdict.CLEAR)
    for step, established in ((2 * EPSILON, False), (EPSILON, True), (None, True)):
        said = verdict(findings(attack=attacked, masking=clear, input_step=step))
        assert said.headline.startswith("Robust at") == established
        assert any("no other input" in line for line in said.sentences) != established
