"""The choice of profile and number of images for a budget, and how a plan is printed."""

from __future__ import annotations

import pytest

from robcert.certify.passes import Passes
from robcert.certify.planning import Cost, Measured, Plan, budget_sentence, half_width, tables
from robcert.certify.planning.pilot import Batch, Spent, Task


def measured(each: float, *, fixed: float = 0.0, cut: bool = False) -> Measured:
    """A command that takes ``each`` seconds for an image."""
    done = 0 if cut else 1
    batch = Batch(done, each, Spent(Passes(7, 3), each))
    task = Task("", "attack", 1.0, False, (batch,), 1, cut=cut)
    return Measured((task,), Cost.known(1.0, 1.0), Cost.known(fixed, fixed), 1000, 10.0)


def plan(budget: float | None, *, images: int = 1000, quick: float = 0.1) -> Plan:
    """Standard takes ten times as long as quick, and thorough a hundred times."""
    profiles = {
        "quick": measured(quick),
        "standard": measured(10 * quick),
        "thorough": measured(100 * quick),
    }
    return Plan("attack", images, "standard", profiles, 10**9, 5.0, budget)


@pytest.mark.parametrize(
    ("budget", "profile", "images"),
    [
        (20_000, "thorough", 1000),  # all fit
        (4001, "standard", 1000),  # 400 images fit with thorough, but all with standard
        (801, "quick", 1000),  # likewise 800 with standard
        (21, "quick", 200),
    ],
)
def test_a_budget_is_for_as_much_as_fits(budget: float, profile: str, images: int) -> None:
    choice = plan(budget).choice
    assert choice is not None
    assert (choice.profile, choice.images) == (profile, images)


def test_with_too_many_images_the_most_thorough_profile_with_enough_of_them() -> None:
    choice = plan(801, images=100_000).choice
    assert choice is not None
    assert (choice.profile, choice.images) == ("standard", 800)


def test_no_budget_no_choice_and_too_little_is_said() -> None:
    assert plan(None).choice is None
    short = plan(0.5)
    assert short.choice is not None
    assert "too short" in budget_sentence(short, short.choice)


def test_a_budget_names_options_and_interval() -> None:
    one = plan(801, images=100_000)
    assert one.choice is not None
    said = budget_sentence(one, one.choice)
    assert "--profile standard --limit 800; with the profile thorough so many take 2.2 h" in said
    assert "± 3.5 %" in said


def test_1067_images_have_intervals_of_three_points() -> None:
    half = half_width(1067)
    assert half is not None
    assert half == pytest.approx(0.03, abs=5e-5)
    assert half_width(0) is None


def test_a_profile_of_which_nothing_is_known_is_not_chosen() -> None:
    known, unknown = measured(0.1), measured(60.0, cut=True)
    one = Plan("attack", 10, "thorough", {"thorough": unknown, "quick": known}, 1, 1.0, 100.0)
    assert one.choice is not None
    assert one.choice.profile == "quick"
    assert one.to_json()["profiles"]["thorough"]["seconds"] is None
    parts, _ = tables(one)
    assert parts.rows[-1][0] == "total"
    assert parts.rows[-1][-2:] == ("unknown", "at least 61 s")


def test_the_table_has_passes_and_the_file() -> None:
    parts, profiles = tables(plan(None))
    assert parts.rows[1][:3] == ("attack", "7,000", "3,000")
    assert "11 kB" in parts.note
    assert [row[0] for row in profiles.rows] == ["quick", "standard", "thorough"]


def test_without_profiles_there_is_one_table() -> None:
    alone = Plan("corruption", 10, "", {"": measured(0.1)}, 1, 1.0)
    assert len(list(tables(alone))) == 1
    assert list(alone.to_json()["profiles"]) == ["default"]
