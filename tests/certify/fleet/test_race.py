"""Races of models whose true accuracies are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from robcert.certify.errors import InvalidParameterError
from robcert.certify.fleet.race import FIRST_IMAGES, Race

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

ALPHA = 0.05


def drawn(accuracies: Sequence[float], images: int, seed: int) -> NDArray[np.bool_]:
    """Whether each model is right on each image: half of its luck is the image's difficulty."""
    draws = np.random.default_rng(seed)
    common = draws.normal(size=images)
    luck = (common + draws.normal(size=(len(accuracies), images))) / np.sqrt(2)
    order = np.sort(np.random.default_rng(99).normal(size=20_000))
    thresholds = [order[min(len(order) - 1, int(one * len(order)))] for one in accuracies]
    return luck < np.array(thresholds)[:, None]


def raced(
    right: NDArray[np.bool_],
    *,
    alpha: float = ALPHA,
    masked: Collection[int] = (),
    failing: Mapping[int, int] | None = None,
) -> tuple[Race, list[list[int]]]:
    """A race, and which models were audited at a time.

    Args:
        right: for each model and image, whether it is right under attack.
        alpha: that of the race.
        masked: models that an audit finds to mask.
        failing: models that fail from so many images on.
    """
    race = Race(len(right), right.shape[1], alpha)
    audits: list[list[int]] = []

    def evaluate(wanted: Mapping[int, int]) -> dict[int, NDArray[np.bool_]]:
        limits = failing or {}
        return {m: right[m, :n] for m, n in wanted.items() if n < limits.get(m, n + 1)}

    def finish(models: list[int]) -> Iterable[int]:
        audits.append(models)
        return [one for one in models if one not in masked]

    race.run(evaluate, finish)
    return race, audits


FAMILY = [0.15 + 0.02 * step for step in range(19)] + [0.62]
"""Accuracies of twenty models: one is better than the others by eleven points."""


def test_a_race_finds_the_winner_with_a_fifth_of_the_work() -> None:
    right = drawn(FAMILY, 2000, seed=1)
    race, audits = raced(right)
    assert audits == [[19]]
    assert race.finished == {19}
    assert race.work < 0.2
    for model in range(19):
        defeat = race.defeat(model)
        assert defeat is not None
        assert race.images(model) < 2000
        assert defeat.wins > defeat.losses
        assert FIRST_IMAGES <= defeat.images <= race.images(model)


def test_equal_models_are_all_audited() -> None:
    right = np.repeat(drawn([0.5], 300, seed=2), 3, axis=0)
    race, audits = raced(right)
    assert audits == [[0, 1, 2]]
    assert race.work == 1.0


def test_what_a_masked_model_has_beaten_goes_on() -> None:
    """The masked model seems best, and only its audit tells that it masks."""
    right = drawn([0.95, 0.55, 0.5, 0.1], 2000, seed=3)
    race, audits = raced(right, masked={0})
    assert audits[0] == [0]
    assert 1 in race.finished
    assert race.out == {0}
    defeat = race.defeat(3)
    assert defeat is not None
    assert defeat.by in race.finished
    unmasked, _ = raced(right[1:])
    assert unmasked.finished == {one - 1 for one in race.finished}


def test_every_stopped_model_is_beaten_by_an_audited_one() -> None:
    for seed in range(20):
        race, _ = raced(drawn(np.linspace(0.2, 0.6, 8).tolist(), 400, seed), masked={7, 6})
        for model in set(range(8)) - race.finished - race.out:
            defeat = race.defeat(model)
            assert defeat is not None
            assert defeat.by in race.finished


def test_a_model_that_fails_stops_nobody() -> None:
    right = drawn([0.65, 0.55, 0.5], 500, seed=4)
    race, audits = raced(right, failing={0: 100, 2: 1})
    assert race.out == {0, 2}
    assert race.finished == {1}
    assert audits == [[1]]


def test_one_model_is_audited_without_a_race() -> None:
    race, audits = raced(drawn([0.5], 100, seed=5))
    assert audits == [[0]]
    assert race.images(0) == 0


def test_alpha_is_a_probability() -> None:
    with pytest.raises(InvalidParameterError, match="alpha"):
        Race(2, 10, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("accuracies", [[0.5] * 20, [0.5, 0.5, *[0.3] * 18]])
def test_the_best_model_is_stopped_with_at_most_that_probability(accuracies: list[float]) -> None:
    """The hardest cases: others are as good as the best, which is the first."""
    races, alpha, stopped = 400, 0.2, 0
    for seed in range(races):
        race, _ = raced(drawn(accuracies, 600, seed), alpha=alpha)
        stopped += race.defeat(0) is not None
    assert stopped / races <= alpha


@pytest.mark.slow
def test_a_family_of_twenty_needs_a_fifth_of_the_work_for_the_same_winner() -> None:
    works, same = [], 0
    for seed in range(100):
        right = drawn(FAMILY, 2000, seed)
        race, _ = raced(right)
        works.append(race.work)
        same += max(race.finished, key=lambda one: right[one].sum()) == right.sum(1).argmax()
    assert same >= 95
    assert np.mean(works) <= 0.2
