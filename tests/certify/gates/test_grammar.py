"""Gates as text: what is read, and what is refused before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from robcert.certify.auditing.settings import AuditSettings, selected
from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError
from robcert.certify.gates.gate import Gate, RegressionGate, Relation, Side
from robcert.certify.gates.grammar import Reader
from robcert.certify.gates.offered import of_audit

EIGHT = 8 / 255
SETTINGS = AuditSettings.of_profile(
    "quick", norm=Norm.LINF, epsilon=EIGHT, epsilons=(2 / 255, EIGHT, 16 / 255)
)
READER = Reader(of_audit(SETTINGS))


def one(text: str) -> Gate:
    gate = READER.gate(text)
    assert isinstance(gate, Gate)
    return gate


def refused(text: str, reader: Reader = READER) -> str:
    with pytest.raises(InvalidParameterError) as caught:
        reader.gate(text)
    return f"{caught.value} {caught.value.hint}"


def test_every_part_of_a_gate_is_read() -> None:
    gate = one("robust_accuracy@8/255 >= 0.4 (upper)")
    assert (gate.name, gate.radius, gate.threshold) == ("robust_accuracy", EIGHT, 0.4)
    assert (gate.relation, gate.side) == (Relation.AT_LEAST, Side.UPPER)
    assert gate.text == "robust_accuracy@8/255 >= 0.4 (upper)"


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("clean_accuracy >= 0.9", Side.LOWER),
        ("clean_accuracy > 0.9", Side.LOWER),
        ("robust_accuracy <= 0.1", Side.UPPER),
        ("robust_accuracy < 0.1", Side.UPPER),
        ("median_distance >= 4/255", Side.POINT),
        ("violations == 0", Side.POINT),
    ],
)
def test_without_a_side_the_end_that_is_harder_to_pass_is_compared(text: str, side: Side) -> None:
    assert one(text).side is side


@pytest.mark.parametrize(
    "text",
    ["robust_accuracy@8/255>=40%(lower)", "  robust_accuracy @ 8/255  ≥ 2/5  ( lower ) "],
)
def test_spelling_does_not_matter(text: str) -> None:
    gate = one(text)
    assert (gate.radius, gate.threshold, gate.side) == (EIGHT, 0.4, Side.LOWER)


def test_every_offered_number_has_a_gate() -> None:
    for name in READER.offered:
        text = "masking == clear" if name == "masking" else f"{name} <= 0.5"
        assert one("violations == 0" if name == "violations" else text).name == name


def test_the_short_form_compares_the_point() -> None:
    assert READER.short("robust_accuracy@8/255=40%") == one("robust_accuracy@8/255 >= 40% (point)")
    assert READER.short("median_distance=4/255") == one("median_distance >= 4/255")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("robust_accuracy", "is not a gate; write for instance robust_accuracy@8/255 >= 0.4"),
        ("robust_accuracy >= 0.4 lower", "'0.4 lower' is not a number"),
        ("accuracy >= 0.5", "no number 'accuracy' numbers of this run: clean_accuracy;"),
        ("robust_accuracy@4/255 >= 0.5", "no robust_accuracy at that radius"),
        ("robust_accuracy@x >= 0.5", "'x' is not a number"),
        ("clean_accuracy@0.1 >= 0.5", "clean_accuracy has no radius"),
        ("certified_accuracy@1.5 >= 0.5", "@0.25, @0.5"),
        ("robust_accuracy >= 40", "can never pass"),
        ("robust_accuracy > 1", "can never pass"),
        ("robust_accuracy <= 100%", "always passes"),
        ("clean_accuracy >= 0", "always passes"),
        ("clean_accuracy == 0.9", "compared by one of >=, >, <=, <"),
        ("robust_accuracy >= 0.4 (left)", "a side is lower, point or upper"),
        ("median_distance >= 4/255 (lower)", "median_distance has no interval omit the side"),
        ("median_distance >= 50%", "is a distance, no share"),
        ("median_distance >= 0", "compared with a number above 0"),
        ("violations >= 1", "compared by one of ==, <="),
        ("violations == 0.5", "a whole number"),
        ("masking == suspect", "one gate, masking == clear"),
        ("masking >= clear", "one gate, masking == clear"),
        ("regression from a.h5 (level 2)", "level must lie in the open interval"),
        ("regression from a.h5 (level low)", "'low' is not a number"),
    ],
)
def test_what_cannot_be_decided_is_refused(text: str, words: str) -> None:
    said = refused(text)
    assert words in said
    assert said.startswith(f"--gate {text!r}")


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("certified_accuracy >= 0.1", "this run computes no certified_accuracy"),
        ("estimated_rho_bound >= 0.01", "this run computes no estimated_rho_bound"),
        ("violations == 0", "this run computes no violations"),
        ("masking == clear", "does not check for masking"),
    ],
)
def test_numbers_of_parts_that_do_not_run_are_refused(text: str, missing: str) -> None:
    parts = selected(("inspect", "attack"), ())
    only = AuditSettings.of_profile("quick", norm=Norm.LINF, epsilon=EIGHT, parts=parts)
    assert missing in refused(text, Reader(of_audit(only)))


def test_a_regression_needs_a_number_that_it_tests() -> None:
    parts = selected(("inspect", "linearity"), ())
    only = AuditSettings.of_profile("quick", norm=Norm.LINF, epsilon=EIGHT, parts=parts)
    assert "nothing that a regression tests" in refused(
        "regression from a.h5", Reader(of_audit(only))
    )


def test_a_regression_names_its_file_and_level() -> None:
    gate = READER.gate("regression from old models/a (1).h5 (level 1%)")
    assert gate == RegressionGate(
        "regression from old models/a (1).h5 (level 0.01)", Path("old models/a (1).h5"), 0.01
    )
    usual = READER.gate("regression from a.h5")
    assert isinstance(usual, RegressionGate)
    assert usual.level == 0.05


def test_messages_name_where_a_gate_was_written() -> None:
    reader = Reader(READER.offered, "robcert.toml: gates:")
    assert refused("nothing", reader).startswith("robcert.toml: gates: 'nothing' is not a gate")
