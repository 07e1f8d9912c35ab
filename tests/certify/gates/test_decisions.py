"""Decisions: which number and end of its interval a gate compares, when it is undecided."""

from __future__ import annotations

from typing import Any

import pytest
from summaries import attack, blank, bounds, findings, linearity, masking, robust

from robcert.certify.auditing.settings import AuditSettings
from robcert.certify.auditing.verdict import Findings, cards, verdict
from robcert.certify.core import Kind, Norm
from robcert.certify.gates.catalogue import Evidence
from robcert.certify.gates.decisions import decide
from robcert.certify.gates.gate import Decision, Gate, Outcome
from robcert.certify.gates.grammar import Reader
from robcert.certify.gates.offered import of_audit
from robcert.certify.gates.tables import failure, gates_table
from robcert.certify.masking.verdict import MaskingVerdict
from robcert.certify.smoothing.summary import CertifiedAccuracy, SmoothingSummary
from robcert.certify.stats.descriptive import SummaryStatistics
from robcert.certify.stats.intervals import proportion
from robcert.certify.store.ledger import Comparison, Ledger
from robcert.certify.verification.summary import (
    AccuracyBracket,
    ProvenAccuracy,
    RadiusStatistics,
    VerificationSummary,
)

EIGHT = 8 / 255
RADII = (2 / 255, EIGHT, 16 / 255)
PROVEN = tuple(zip(RADII, (0.5, 0.3, 0.1), strict=True))
READER = Reader(
    of_audit(AuditSettings.of_profile("quick", norm=Norm.LINF, epsilon=EIGHT, epsilons=RADII))
)


def proofs() -> VerificationSummary:
    found: VerificationSummary = blank(
        VerificationSummary,
        norm="linf",
        n=100,
        headline_epsilon=EIGHT,
        robust_accuracy=tuple(
            AccuracyBracket(epsilon, share, 0.9, 0.9 - share, {}) for epsilon, share in PROVEN
        ),
        certified_accuracy=tuple(
            ProvenAccuracy(epsilon, share, share - 0.1, share + 0.1, 100)
            for epsilon, share in PROVEN
        ),
        radius=RadiusStatistics(0.02, 0.01, 0.1, 60, 0.0),
    )
    return found


def audited(**given: Any) -> Findings:
    """An audit whose headline is at 8/255 and whose masking check lowers the number there."""
    curve = tuple(robust(epsilon, 0.9 - 10 * epsilon) for epsilon in RADII)
    attacked = attack(
        n=100,
        robust_accuracy=curve,
        headline_epsilon=EIGHT,
        clean_accuracy=proportion(95, 100),
        median_distance=0.05,
    )
    check = masking(
        verdict=MaskingVerdict.CLEAR, norm="linf", epsilon=EIGHT, corrected=proportion(41, 100)
    )
    points = tuple(
        CertifiedAccuracy(radius, value, value - 0.1, value + 0.1, value, attainable=True)
        for radius, value in ((0.0, 0.8), (0.25, 0.7), (0.5, 0.3))
    )
    smoothed = blank(
        SmoothingSummary,
        certified_accuracy=points,
        precision="float32",
        average_certified_radius=0.2,
    )
    return findings(
        **{
            "attack": attacked,
            "masking": check,
            "smoothing": smoothed,
            "verification": proofs(),
            "bounds": bounds(radius={"rho_bound": 0.01, "l_bound": 0.004, "omega_bound": 0.006}),
            **given,
        }
    )


def decided(text: str, **given: Any) -> Decision:
    gate = READER.gate(text)
    assert isinstance(gate, Gate)
    return decide(gate, Evidence(audited(**given)))


def value(text: str) -> float:
    found = decided(text).value
    assert isinstance(found, float)
    return found


def test_a_gate_without_a_radius_tests_the_number_of_the_headline() -> None:
    found, shown = audited(), {card.claim: card.value for card in cards(audited())}
    assert value("robust_accuracy >= 0.4") == 0.41
    assert shown["attacked"] == "41.0 %"
    assert "41.0 %" in verdict(found).headline
    assert value("certified_accuracy >= 0.4") == 0.7
    assert value("verified_accuracy >= 0.4") == 0.3


def test_a_gate_with_a_radius_tests_the_number_there() -> None:
    assert value("robust_accuracy@8/255 >= 0.4") == 0.41
    assert value("robust_accuracy@0.0627450980392 >= 0.4") == pytest.approx(0.9 - 160 / 255)
    assert value("certified_accuracy@1/2 >= 0.4") == 0.3
    assert value("verified_accuracy@2/255 >= 0.4") == 0.5


@pytest.mark.parametrize(
    ("text", "expected", "kind"),
    [
        ("median_distance >= 0.04", 0.05, Kind.ATTACKED),
        ("clean_accuracy >= 90%", 0.95, Kind.MEASURED),
        ("mean_verified_radius >= 0.01", 0.02, Kind.CERTIFIED),
        ("mean_certified_radius >= 0.01", 0.2, Kind.CERTIFIED),
        ("estimated_rho_bound >= 0.01", 0.01, Kind.ESTIMATED),
        ("estimated_l_bound >= 0.01", 0.004, Kind.ESTIMATED),
        ("estimated_omega_bound >= 0.01", 0.006, Kind.ESTIMATED),
    ],
)
def test_every_number_has_its_kind_of_claim(text: str, expected: float, kind: Kind) -> None:
    found = decided(text)
    assert (found.value, found.kind) == (expected, kind)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("verified_accuracy >= 0.19 (lower)", Outcome.PASSED),
        ("verified_accuracy >= 0.25 (lower)", Outcome.FAILED),
        ("verified_accuracy >= 0.25", Outcome.FAILED),
        ("verified_accuracy >= 0.25 (point)", Outcome.PASSED),
        ("verified_accuracy >= 0.35 (point)", Outcome.FAILED),
        ("verified_accuracy >= 0.35 (upper)", Outcome.PASSED),
        ("verified_accuracy <= 0.35", Outcome.FAILED),
        ("verified_accuracy <= 0.45", Outcome.PASSED),
        ("verified_accuracy > 0.3 (point)", Outcome.FAILED),
        ("verified_accuracy < 0.3 (point)", Outcome.FAILED),
    ],
)
def test_the_side_decides_which_end_is_compared(text: str, outcome: Outcome) -> None:
    found = decided(text)
    assert found.outcome is outcome
    assert (found.lower, found.upper) == pytest.approx((0.2, 0.4))
    assert found.passed == (outcome is Outcome.PASSED)


def test_a_failure_says_what_was_compared() -> None:
    found = decided("verified_accuracy@8/255 >= 25%")
    assert failure(found) == (
        "verified_accuracy@8/255 >= 25% (lower) is at its lower end 20 %, below 25 %"
    )
    assert failure(decided("estimated_rho_bound <= 0.005")).endswith("is 0.01, above 0.005")


@pytest.mark.parametrize(
    ("cut", "text", "outcome"),
    [
        ("attack", "robust_accuracy >= 0.3 (point)", Outcome.UNDECIDED),
        ("masking", "robust_accuracy >= 0.3 (point)", Outcome.UNDECIDED),
        ("masking", "median_distance >= 0.01", Outcome.PASSED),
        ("smoothing", "certified_accuracy >= 0.1", Outcome.UNDECIDED),
        ("verify", "verified_accuracy >= 0.1", Outcome.UNDECIDED),
        ("bounds", "robust_accuracy >= 0.3 (point)", Outcome.PASSED),
        ("bounds", "estimated_rho_bound >= 0.001", Outcome.UNDECIDED),
        ("clean", "clean_accuracy >= 0.3", Outcome.UNDECIDED),
        ("attack", "clean_accuracy >= 0.3", Outcome.UNDECIDED),  # no table of clean accuracy
        ("masking", "masking == clear", Outcome.UNDECIDED),
    ],
)
def test_a_spent_time_budget_leaves_gates_undecided(cut: str, text: str, outcome: Outcome) -> None:
    found = decided(text, cut_off=(cut,))
    assert found.outcome is outcome
    assert found.passed == (outcome is Outcome.PASSED)
    assert ("the time budget ended" in found.reason) == (outcome is Outcome.UNDECIDED)


@pytest.mark.parametrize("state", list(MaskingVerdict))
def test_only_clear_gradients_pass(state: MaskingVerdict) -> None:
    found = decided("masking == clear", masking=masking(verdict=state, corrected=proportion(0, 0)))
    assert found.passed == (state is MaskingVerdict.CLEAR)
    assert (found.value, found.kind) == (str(state), None)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("robust_accuracy >= 0.1", "attack"),
        ("median_distance >= 0.1", "attack"),
        ("verified_accuracy >= 0.1", "verification"),
        ("certified_accuracy >= 0.1", "smoothing"),
        ("estimated_rho_bound >= 0.1", "bounds"),
        ("masking == clear", "masking"),
        ("estimated_gamma <= 1", "clean"),
        ("violations == 0", "clean"),  # an empty ledger
    ],
)
def test_a_number_that_was_not_computed_fails(text: str, field: str) -> None:
    found = decided(text, **{field: None})
    assert found.outcome is Outcome.NOT_AVAILABLE
    assert found.value is None


def test_why_a_number_is_missing_is_told() -> None:
    gate = READER.gate("estimated_rho_bound >= 0.1")
    assert isinstance(gate, Gate)
    reasons = {"bounds": "no gradients"}
    assert decide(gate, Evidence(findings(), None, reasons)).reason == (
        "is not available: no gradients"
    )


def test_gamma_is_that_of_the_linearity() -> None:
    gate = READER.gate("estimated_gamma <= 0.5")
    assert isinstance(gate, Gate)
    summary = linearity(gamma=SummaryStatistics(0.25, 0.2, 0.9, 1.0, 10))
    found = decide(gate, Evidence(findings(), summary))
    assert (found.value, found.kind, found.passed) == (0.25, Kind.ESTIMATED, True)


def test_violations_are_counted() -> None:
    crossed = Comparison("bounds:rho", "attack", "linf", "", 10, 3, (1, 2, 3), 2.0)
    assert decided("violations == 0", ledger=Ledger((crossed,))).outcome is Outcome.FAILED
    assert decided("violations <= 3", ledger=Ledger((crossed,))).passed


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("median_distance >= 0.02", Outcome.PASSED),
        ("median_distance > 0.02", Outcome.PASSED),
        ("median_distance <= 0.02", Outcome.FAILED),
        ("median_distance >= 0.03", Outcome.NOT_AVAILABLE),
        ("median_distance <= 0.03", Outcome.NOT_AVAILABLE),
    ],
)
def test_a_median_beyond_the_searched_radii(text: str, outcome: Outcome) -> None:
    never = attack(n=10, median_distance=None, radii=(0.01, 0.02))
    assert decided(text, attack=never).outcome is outcome


def test_a_median_that_no_attack_limits_is_infinite() -> None:
    assert decided("median_distance >= 0.9", attack=attack(n=10, median_distance=None)).passed


def test_the_table_has_each_gate_with_its_claim() -> None:
    found = [
        decided("verified_accuracy@8/255 >= 0.25"),
        decided("masking == clear"),
        decided("median_distance >= 0.04"),
    ]
    table = gates_table(found)
    assert table.rows[0][1:] == ("30 %", "[20.0, 40.0]", "lower", ">= 25 %", "failed", "certified")
    assert table.rows[1][1:] == ("clear", "–", "–", "== clear", "passed", "verdict")
    assert table.rows[2][1:] == ("0.05", "–", "point", ">= 0.04", "passed", "attacked")
    assert table.note.startswith("3 gates: 1 did not pass.")
