"""What a file says about its own training, which may be anything."""

from __future__ import annotations

import json

import pytest

from robcert.certify.model.training_record import TrainingRecord, at_chance


def test_a_record_is_read_from_the_provenance() -> None:
    text = json.dumps({"state": {"epoch": 3, "accuracy": 0.125}, "method": "standard"})
    assert TrainingRecord.of_metadata(text) == TrainingRecord(3, 0.125)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[1]",
        "[" * 100_000,
        "{}",
        '{"state": 3}',
        '{"state": {"epoch": 1}}',
        '{"state": {"epoch": "1", "accuracy": 0.1}}',
        '{"state": {"epoch": true, "accuracy": 0.1}}',
        '{"state": {"epoch": 1, "accuracy": NaN}}',
        '{"state": {"epoch": 1, "accuracy": null}}',
        '{"state": {"epoch": 1, "accuracy": 7.0}}',
    ],
)
def test_what_is_no_record_is_none(text: str) -> None:
    assert TrainingRecord.of_metadata(text) is None


@pytest.mark.parametrize(
    ("accuracy", "classes", "near"),
    [(0.1, 10, True), (0.19, 10, True), (0.2, 10, False), (0.55, 2, True), (0.56, 2, False)],
)
def test_chance_depends_on_the_classes(accuracy: float, classes: int, near: bool) -> None:
    assert at_chance(accuracy, classes) == near
    assert bool(TrainingRecord(2, accuracy).barely_trained(classes)) == near


def test_the_sentence_says_after_how_long() -> None:
    assert "(1 epoch) it classified 11.0% of the" in TrainingRecord(1, 0.11).barely_trained(10)
    assert "(20 epochs)" in TrainingRecord(20, 0.11).barely_trained(10)
