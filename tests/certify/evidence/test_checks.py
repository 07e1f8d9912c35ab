"""Checks and their outcomes, and the files that tell them to other programs."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from attacked_files import attacked, write_inputs
from command_line import robcert
from junitparser import JUnitXml
from published_schemas import violations
from summaries import blank, findings, masking

from robcert.certify.auditing.verdict import findings_of
from robcert.certify.core import Kind, Norm
from robcert.certify.evidence.checks import (
    CERTIFIED_LEDGER,
    COMPLETE,
    DOUBT,
    ESTIMATED_LEDGER,
    GATE,
    MASKING,
    PARITY,
    RULES,
    Check,
    Outcome,
    Rule,
    checks_of,
    worst,
)
from robcert.certify.evidence.junit import junit_bytes
from robcert.certify.evidence.sarif import Artifact, sarif_log
from robcert.certify.gates import (
    Decision,
    Evidence,
    Gate,
    Reader,
    Relation,
    decide,
    masking_gate,
    of_attack,
)
from robcert.certify.gates import Outcome as Passing
from robcert.certify.masking.verdict import MaskingVerdict
from robcert.certify.store.ledger import Comparison, Ledger
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from robcert.certify.auditing.verdict import Findings

ARTIFACT = Artifact("models/a net.onnx", "0" * 64)
FOREIGN = "a <b> & \x1b[31m\n]]> \ud800"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ResultStore]:
    made = attacked(tmp_path_factory.mktemp("attacked"), "--eps", "8/255")
    with ResultStore.read(made.results) as opened:
        yield opened


def compared(kind: Kind, count: int, *, proven: bool = False) -> Ledger:
    indices = tuple(range(count))
    one = blank(Comparison, count=count, compared=9, indices=indices, proven=proven)
    return Ledger((replace(one, kind=kind),))


def outcome(store: ResultStore, rule: Rule, found: Findings, *gates: Gate) -> Outcome:
    decisions = [decide(gate, Evidence(found)) for gate in gates]
    (check,) = (one for one in checks_of(store, found, decisions) if one.rule == rule)
    return check.outcome


@pytest.mark.parametrize(
    ("verdict", "strict", "expected"),
    [
        (MaskingVerdict.CLEAR, True, Outcome.PASSED),
        (MaskingVerdict.SUSPECT, False, Outcome.WARNED),
        (MaskingVerdict.MASKED, True, Outcome.FAILED),
        (None, True, Outcome.FAILED),
    ],
)
def test_a_masking_verdict_fails_only_where_it_must_be_clear(
    store: ResultStore, verdict: MaskingVerdict | None, strict: bool, expected: Outcome
) -> None:
    check = None if verdict is None else masking(verdict=verdict)
    gates = (masking_gate(),) if strict else ()
    assert outcome(store, MASKING, findings(masking=check), *gates) is expected


def test_a_clear_verdict_that_a_time_budget_cut_off_does_not_pass(store: ResultStore) -> None:
    check = masking(verdict=MaskingVerdict.CLEAR)
    found = findings(masking=check, cut_off=("masking",))
    assert outcome(store, MASKING, found) is Outcome.WARNED
    assert outcome(store, COMPLETE, found) is Outcome.WARNED


def test_without_a_masking_check_there_is_no_verdict_to_report(store: ResultStore) -> None:
    assert MASKING not in {check.rule for check in checks_of(store, findings())}


def test_a_gate_is_named_by_its_number_and_fails_by_its_decision(store: ResultStore) -> None:
    found = findings_of(store)
    reader = Reader(of_attack(Norm.LINF, (8 / 255,)), "--fail-under")
    for text, expected in (("clean_accuracy=0.2", "passed"), ("robust_accuracy@8/255=1", "failed")):
        decision = decide(reader.short(text), Evidence(found))
        check = checks_of(store, found, [decision])[0]
        assert (check.rule, check.subject) == (GATE, text.partition("=")[0])
        assert check.outcome == expected
        assert text.partition("=")[0] in check.message


def test_a_gate_tells_number_interval_images_and_claim(store: ResultStore) -> None:
    found = findings_of(store)
    reader = Reader(of_attack(Norm.LINF, (8 / 255,)), "--fail-under")
    for text in ("clean_accuracy=0.2", "robust_accuracy@8/255=1"):
        decision = decide(reader.short(text), Evidence(found))
        value, lower, upper = decision.value, decision.lower, decision.upper
        assert isinstance(value, float)
        assert lower is not None
        assert upper is not None
        limits = f"[{100 * lower:.1f}, {100 * upper:.1f}]"
        assert found.attack is not None
        stated = f" ({decision.kind}: {100 * value:.4g} % {limits}, {found.attack.n} images)"
        assert checks_of(store, found, [decision])[0].message.endswith(stated)


def test_a_regression_that_passed_tells_what_was_compared(store: ResultStore) -> None:
    said = "clean accuracy: 0.75 in the baseline, 0.75 now"
    passed = regression("old.h5", said)
    message = f"{passed.gate} holds: {said}"
    assert checks_of(store, findings(), [passed])[0].message == message


def test_gates_on_one_number_are_told_apart(store: ResultStore) -> None:
    found = findings_of(store)
    reader = Reader(of_attack(Norm.LINF, (8 / 255,)), "--gate")
    texts = ("clean_accuracy >= 0.9 (point)", "clean_accuracy >= 0.2", "robust_accuracy >= 0.1")
    decisions = [decide(numeric(reader, text), Evidence(found)) for text in texts]
    decisions += [regression("a.h5"), regression("b.h5")]
    subjects = [check.subject for check in checks_of(store, found, decisions)[: len(decisions)]]
    assert subjects == [
        "clean_accuracy >= 0.9 (point)",
        "clean_accuracy >= 0.2 (lower)",
        "robust_accuracy@8/255",
        "regression from a.h5 (level 0.05)",
        "regression from b.h5 (level 0.05)",
    ]


def numeric(reader: Reader, text: str) -> Gate:
    gate = reader.gate(text)
    assert isinstance(gate, Gate)
    return gate


def regression(baseline: str, reason: str = "") -> Decision:
    """A regression gate that passed."""
    return Decision(
        gate=f"regression from {baseline} (level 0.05)",
        name="regression",
        kind=Kind.MEASURED,
        radius=None,
        value=1.0,
        lower=None,
        upper=None,
        level=0.05,
        side=None,
        relation=Relation.ABOVE,
        threshold=0.05,
        outcome=Passing.PASSED,
        reason=reason,
    )


def test_only_a_refuted_proof_fails(store: ResultStore) -> None:
    proven = compared(Kind.CERTIFIED, 2, proven=True)
    smoothed, estimated = compared(Kind.CERTIFIED, 2), compared(Kind.ESTIMATED, 2)
    assert outcome(store, CERTIFIED_LEDGER, findings(ledger=proven)) is Outcome.FAILED
    assert outcome(store, CERTIFIED_LEDGER, findings(ledger=smoothed)) is Outcome.WARNED
    assert outcome(store, CERTIFIED_LEDGER, findings(ledger=estimated)) is Outcome.PASSED
    assert outcome(store, ESTIMATED_LEDGER, findings(ledger=estimated)) is Outcome.WARNED
    assert outcome(store, ESTIMATED_LEDGER, findings()) is Outcome.PASSED


def test_doubts_and_parts_that_are_lacking_are_warnings(store: ResultStore) -> None:
    doubted = findings(doubts=("Doubtful: scores are constant.",))
    assert outcome(store, DOUBT, doubted) is Outcome.WARNED
    assert outcome(store, DOUBT, findings()) is Outcome.PASSED
    assert outcome(store, COMPLETE, findings(incomplete="Incomplete: x.")) is Outcome.WARNED
    assert outcome(store, COMPLETE, findings()) is Outcome.PASSED
    assert outcome(store, PARITY, findings()) is Outcome.PASSED


def test_a_table_that_a_run_left_before_its_end_is_named(tmp_path: Path) -> None:
    made = write_inputs(tmp_path)
    command = ("attack", *made.inputs, "--profile", "quick", "--allow-low-accuracy")
    checked = {}
    for budget in ("0.001s", "600s"):
        ended = robcert(*command, "--time-budget", budget, "--out", made.results)
        assert ended.status == 0, ended.stderr
        with ResultStore.read(made.results) as left:
            (table,) = left.existing("attack")
            every = checks_of(left, findings_of(left))
            (checked[budget],) = (one for one in every if one.rule == COMPLETE)
    assert checked["0.001s"].outcome is Outcome.WARNED
    assert table.path.strip("/") in checked["0.001s"].message
    assert checked["600s"].outcome is Outcome.PASSED


def checks() -> tuple[Check, ...]:
    return (
        Check(GATE, "robust_accuracy@8/255", Outcome.FAILED, f"is 0.1, below 0.4 {FOREIGN}"),
        Check(GATE, "clean_accuracy", Outcome.PASSED, "clean_accuracy is 0.9, at least 0.8"),
        Check(DOUBT, "", Outcome.WARNED, FOREIGN),
    )


def test_the_worst_outcome_counts() -> None:
    failed, passed, warned = checks()
    assert worst((failed, passed, warned)) is Outcome.FAILED
    assert worst((passed, warned)) is Outcome.WARNED
    assert worst((passed,)) is worst(()) is Outcome.PASSED


def test_junit_has_a_case_per_check_and_counts_failures() -> None:
    content = junit_bytes(checks(), "robcert audit", {"model": FOREIGN})
    document = JUnitXml.fromstring(content)
    (suite,) = document
    assert (suite.tests, suite.failures, suite.skipped, suite.errors) == (3, 1, 1, 0)
    failed, passed, warned = suite
    assert failed.classname == "robcert.gate"
    assert "below 0.4" in failed.result[0].message
    assert passed.result == []
    assert passed.system_out == "clean_accuracy is 0.9, at least 0.8"
    assert warned.result[0].message.startswith("warning: a <b> & ")
    assert "\x1b" not in io.TextIOWrapper(io.BytesIO(content), "utf-8").read()


def log(made: tuple[Check, ...], artifact: Artifact = ARTIFACT) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(sarif_log(made, artifact, "audit")))
    return found


def fingerprints(made: dict[str, Any]) -> list[dict[str, str]]:
    return [result["partialFingerprints"] for result in made["runs"][0]["results"]]


def test_sarif_follows_the_published_schema() -> None:
    assert violations(log(checks()), "sarif-2.1.0.json") == []
    assert violations(log(()), "sarif-2.1.0.json") == []
    broken = log(checks())
    broken["runs"][0]["results"][0]["level"] = "fatal"
    assert violations(broken, "sarif-2.1.0.json") != []


def test_sarif_holds_failures_and_warnings_with_what_code_hosts_need() -> None:
    (run,) = log(checks())["runs"]
    assert [result["level"] for result in run["results"]] == ["error", "warning"]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "models/a%20net.onnx"
        assert place["region"]["startLine"] == 1
        assert "\x1b" not in result["message"]["text"]
    assert run["invocations"][0]["exitCode"] == 1


def test_a_message_keeps_the_spelling_of_a_number() -> None:
    said = "clean_accuracy >= 0.8 is 0.1, below 0.8"
    missed = Check(GATE, "clean_accuracy", Outcome.FAILED, said)
    doubted = Check(DOUBT, "", Outcome.WARNED, "scores are constant")
    texts = [one["message"]["text"] for one in log((missed, doubted))["runs"][0]["results"]]
    assert texts[0] == f"{said}."
    assert texts[1] == f"Scores are constant. Required: {DOUBT.title}."


def test_no_name_makes_a_link_in_a_message() -> None:
    """SARIF takes ``[text](address)`` in a message for a link."""
    foreign = Check(DOUBT, "", Outcome.WARNED, "class [log in](https://example.org) is empty")
    (result,) = log((foreign,))["runs"][0]["results"]
    assert "](" not in result["message"]["text"]
    assert "[log in] (https://example.org)" in result["message"]["text"]


def test_a_path_that_is_not_utf_8_has_a_uri_and_a_fingerprint() -> None:
    said = log(checks(), Artifact("models/\udcff.onnx", "0" * 64))
    (artifact,) = said["runs"][0]["artifacts"]
    assert artifact["location"]["uri"] == "models/%FF.onnx"
    assert fingerprints(said)[0] != fingerprints(log(checks()))[0]


def test_a_fingerprint_depends_on_rule_subject_and_path_alone() -> None:
    one = Check(GATE, "robust_accuracy@8/255", Outcome.FAILED, "is 0.1, below 0.4")
    later = Check(GATE, "robust_accuracy@8/255", Outcome.FAILED, "is 0.2, below 0.5")
    other = Check(GATE, "robust_accuracy@4/255", Outcome.FAILED, "is 0.1, below 0.4")
    assert fingerprints(log((one,))) == fingerprints(log((later,)))
    retrained = Artifact(ARTIFACT.path, "1" * 64)
    assert fingerprints(log((one,))) == fingerprints(log((one,), retrained))
    elsewhere = Artifact("models/b.onnx", ARTIFACT.sha256)
    different = [log((one,)), log((other,)), log((one,), elsewhere)]
    assert len({fingerprints(each)[0]["robcert/v1"] for each in different}) == 3
    assert len({fingerprints(each)[0]["primaryLocationLineHash"] for each in different}) == 3


def test_ids_of_rules_are_those_of_all_versions() -> None:
    """Code hosts keep alerts by these ids: a new name would close every alert and open it again."""
    assert {rule.id for rule in RULES} == {
        *("gate", "gradient-masking", "certified-radius-refuted", "estimated-radius-refuted"),
        *("gradient-parity", "doubtful-input", "incomplete"),
    }
