"""`--gate`, `--fail-under` and `--strict`: refused before work, decided after it, exit status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import typer
from command_line import robcert
from summaries import attack, findings, masking

from robcert.certify.auditing.open import bundled
from robcert.certify.auditing.settings import AuditSettings, selected
from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError, StoreError
from robcert.certify.gates.gate import Gate
from robcert.certify.gates.offered import of_audit
from robcert.certify.masking.verdict import MaskingVerdict
from robcert.certify.stats.intervals import proportion
from robcert.cli.shell import checks
from robcert.cli.shell.checks import TypedGates

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Ended

    from robcert.certify.auditing.verdict import Findings

MODEL = str(bundled("fashion-honest.onnx"))
SETTINGS = AuditSettings.of_profile("quick", norm=Norm.LINF, epsilon=8 / 255)


def ending(found: Findings, *texts: str) -> int:
    gates = checks.gates_of_audit(TypedGates(texts), SETTINGS)
    try:
        checks.enforce(checks.decided([one for one in gates if isinstance(one, Gate)], found))
    except typer.Exit as ended:
        return int(ended.exit_code)
    return 0


def test_every_gate_must_pass(capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(
        attack=attack(n=100, clean_accuracy=proportion(95, 100), median_distance=0.05),
        masking=masking(verdict=MaskingVerdict.SUSPECT, corrected=proportion(0, 0)),
    )
    assert ending(found, "clean_accuracy >= 95% (point)", "median_distance >= 0.05") == 0
    assert ending(found, "clean_accuracy >= 95%", "median_distance >= 0.06") == 1
    assert capsys.readouterr().err.splitlines() == [
        "failed: clean_accuracy >= 95% (lower) is at its lower end 88.72 %, below 95 %",
        "failed: median_distance >= 0.06 is 0.05, below 0.06",
    ]
    assert ending(found, "masking == clear") == 1
    assert capsys.readouterr().err == "failed: the masking check says suspect, not clear\n"


def test_the_short_forms_are_gates() -> None:
    short = TypedGates(fail_under=("robust_accuracy@8/255=40%",), strict=True)
    long = TypedGates(("robust_accuracy@8/255 >= 40% (point)", "masking == clear"))
    assert checks.gates_of_audit(short, SETTINGS) == checks.gates_of_audit(long, SETTINGS)
    both = TypedGates(long.gate, short.fail_under, strict=True)
    assert len(checks.gates_of_audit(both, SETTINGS)) == 2


@pytest.mark.parametrize("text", ["robust_accuracy", "=0.4", "robust_accuracy==0.4"])
def test_the_short_form_is_one_name_and_one_value(text: str) -> None:
    with pytest.raises(InvalidParameterError, match="--fail-under takes NAME=VALUE"):
        checks.fail_under_gates([text], of_audit(SETTINGS))


def test_strict_needs_the_masking_check() -> None:
    parts = selected(("inspect", "attack"), ())
    only = AuditSettings.of_profile("quick", norm=Norm.LINF, epsilon=8 / 255, parts=parts)
    with pytest.raises(InvalidParameterError, match="--strict needs the part masking"):
        checks.gates_of_audit(TypedGates(strict=True), only)
    assert checks.gates_of_audit(TypedGates(), only) == ()


def test_a_baseline_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no results")
    for name in ("text.h5", "missing.h5"):
        with pytest.raises(StoreError, match=name):
            checks.gates_of_audit(TypedGates((f"regression from {tmp_path / name}",)), SETTINGS)


def run(folder: Path, *more: object) -> Ended:
    line = ("-m", MODEL, "-d", "fashion-mnist-2000", "--limit", 2, "-q", "--out", folder / "r.h5")
    return robcert(*more, *line)


def test_nothing_runs_for_a_gate_that_cannot_exist(tmp_path: Path) -> None:
    impossible = (
        ("--fail-under", "certified_accuracy@0.3=0.5"),
        ("--strict", "--skip", "masking"),
        ("--gate", "robust_accuracy >= 0.9 of images"),
        ("--gate", "regression from other.h5"),
    )
    for more in impossible:
        ended = run(tmp_path, "audit", *more)
        assert ended.status == 2
        assert "error: " in ended.stderr
    ended = run(tmp_path, "attack", "--fail-under", "robust_accuracy@3/255=0.5", "--eps", "8/255")
    assert ended.status == 2
    assert "@8/255" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_a_clean_accuracy_needs_labels(tmp_path: Path) -> None:
    with np.load(bundled("fashion-mnist-2000.npz")) as content:
        np.savez(tmp_path / "bare.npz", images=content["images"][:4])
    line = ("-m", MODEL, "-d", tmp_path / "bare.npz", "--out", tmp_path / "r.h5", "-q")
    ended = robcert("attack", *line, "--fail-under", "clean_accuracy=0.9")
    assert ended.status == 2
    assert "needs labels" in ended.stderr


def test_a_run_without_time_fails_its_gate(tmp_path: Path) -> None:
    gates = ("--fail-under", "robust_accuracy=0.01", "--time-budget", "0s")
    ended = run(tmp_path, "audit", "--only", "attack", "--profile", "quick", *gates)
    assert ended.status == 1
    assert "failed: robust_accuracy >= 0.01 (point) is undecided" in ended.stderr
    ended = run(tmp_path, "attack", "--attack", "fgsm", *gates)
    assert ended.status == 1
    assert "failed: robust_accuracy >= 0.01 (point) is undecided" in ended.stderr


def test_an_end_of_an_interval_that_few_images_cannot_reach_is_refused(tmp_path: Path) -> None:
    """Two of two images give the lower end 15.8 %."""
    ended = run(tmp_path, "audit", "--only", "attack", "--gate", "clean_accuracy >= 0.2")
    assert ended.status == 2
    assert "can never pass with 2 images" in ended.stderr
    assert "0.1581 at best" in ended.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_decisions_are_in_every_output(tmp_path: Path) -> None:
    """An audit with gates, again for a later model, and again without gates."""
    parts = ("--only", "attack", "--profile", "quick")
    gates = ("--gate", "clean_accuracy >= 0.1", "--fail-under", "median_distance=200/255")
    ended = run(tmp_path, "audit", *parts, *gates)
    assert ended.status == 1
    assert "2 gates: 1 did not pass." in " ".join(ended.stdout.split())
    assert "failed: median_distance >= 200/255 is" in ended.stderr
    page = (tmp_path / "r.html").read_text()
    assert 'id="gates"' in page
    assert "median_distance &gt;= 200/255" in page
    assert "did not pass" in " ".join(robcert("show", tmp_path / "r.h5").stdout.split())

    ended = run(tmp_path, "audit", *parts, *gates, "--json")
    assert ended.status == 1
    first, second = json.loads(ended.stdout)["summary"]["gates"]
    assert (first["name"], first["side"], first["passed"]) == ("clean_accuracy", "lower", True)
    assert (second["kind"], second["outcome"]) == ("attacked", "failed")

    other = ("-m", bundled("fashion-gaussian.onnx"), "-d", "fashion-mnist-2000", "--limit", 2, "-q")
    regression = ("--gate", f"regression from {tmp_path / 'r.h5'}")
    ended = robcert("audit", *parts, *regression, *other, "--out", tmp_path / "o.h5")
    assert ended.status == 0, ended.stderr
    assert "regression from" in ended.stdout
    ended = robcert(
        "audit",
        *parts,
        "--gate",
        f"regression from {tmp_path / 'o.h5'}",
        *other,
        "--out",
        tmp_path / "o.h5",
    )
    assert ended.status == 2
    assert "is the results file of this run" in ended.stderr

    ended = run(tmp_path, "audit", *parts)
    assert ended.status == 0
    assert 'id="gates"' not in (tmp_path / "r.html").read_text()
