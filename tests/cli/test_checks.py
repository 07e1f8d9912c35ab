"""`--fail-under` and `--strict`: which gates exist, what they test, when they are undecided."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import typer
from command_line import robcert
from summaries import attack, blank, findings, masking, robust

from robcert.certify.auditing.open import bundled
from robcert.certify.auditing.settings import AuditSettings, selected
from robcert.certify.auditing.verdict import Findings, cards, verdict
from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError
from robcert.certify.masking.verdict import MaskingVerdict
from robcert.certify.smoothing.summary import CertifiedAccuracy, SmoothingSummary
from robcert.certify.stats.intervals import proportion
from robcert.cli.shell import checks

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Ended

MODEL = str(bundled("fashion-honest.onnx"))
EIGHT = 8 / 255
SETTINGS = AuditSettings.of_profile("quick", norm=Norm.LINF, epsilon=EIGHT)
RADII = (2 / 255, EIGHT, 16 / 255)


def certified(radius: float, value: float) -> CertifiedAccuracy:
    return CertifiedAccuracy(radius, value, value, value, value, attainable=True)


def audited(**given: object) -> Findings:
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
    points = (certified(0.0, 0.8), certified(0.25, 0.7), certified(0.5, 0.3))
    smoothed = blank(SmoothingSummary, certified_accuracy=points, precision="float32")
    return findings(**{"attack": attacked, "masking": check, "smoothing": smoothed, **given})


def gate(text: str) -> checks.Gate:
    (one,) = checks.gates_of([text], "audit", checks.of_audit(replace(SETTINGS, epsilons=RADII)))
    return one


def number_of(text: str, **given: object) -> checks.Number:
    return checks.number(gate(text), audited(**given))


def test_a_gate_without_a_radius_tests_the_number_of_the_headline() -> None:
    found = audited()
    number = number_of("robust_accuracy=0.4")
    assert number == checks.Number(0.41)
    shown = {card.claim: card.value for card in cards(found)}
    assert shown["attacked"] == "41.0 %"
    assert "41.0 %" in verdict(found).headline
    assert number_of("certified_accuracy=0.4").value == 0.7
    assert shown["certified"] == "70.0 %"


def test_a_gate_with_a_radius_tests_the_number_there() -> None:
    assert number_of("robust_accuracy@8/255=0.4").value == 0.41
    assert number_of("robust_accuracy@0.0627450980392=0.4").value == pytest.approx(0.9 - 160 / 255)
    assert number_of("certified_accuracy@1/2=0.4").value == 0.3
    assert number_of("median_distance=0.04").value == 0.05
    assert number_of("clean_accuracy=90%").value == 0.95


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("accuracy=0.5", ("takes NAME=VALUE", "robust_accuracy (or @2/255, @8/255, @16/255)")),
        ("robust_accuracy", ("takes NAME=VALUE", "gates of this run: clean_accuracy;")),
        ("clean_accuracy@0.1=0.5", ("computes no clean_accuracy@0.1",)),
        ("robust_accuracy@4/255=0.5", ("no number at that radius", "@8/255")),
        ("certified_accuracy@1.5=0.5", ("no number at that radius", "@0.25, @0.5")),
        ("robust_accuracy=40", ("can never pass", "robust_accuracy=40%")),
        ("robust_accuracy=101%", ("can never pass",)),
        ("clean_accuracy=0", ("always passes",)),
        ("median_distance=50%", ("distance above 0",)),
    ],
)
def test_an_impossible_gate_is_refused_with_those_that_exist(
    text: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        gate(text)
    for word in words:
        assert word in f"{caught.value} {caught.value.hint}"


def test_gates_of_parts_that_do_not_run_are_refused() -> None:
    only = replace(SETTINGS, parts=selected(("inspect", "attack"), ()))
    with pytest.raises(InvalidParameterError, match=r"computes no certified_accuracy@0\.25"):
        checks.gates_of(["certified_accuracy@0.25=0.1"], "audit", checks.of_audit(only))
    with pytest.raises(InvalidParameterError, match="--strict needs the part masking"):
        checks.require_checked(only, strict=True)
    checks.require_checked(only, strict=False)


def ending(found: Findings, *texts: str) -> int:
    try:
        checks.enforce([gate(text) for text in texts], found)
    except typer.Exit as ended:
        return int(ended.exit_code)
    return 0


def test_every_gate_must_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(audited(), "robust_accuracy=0.41", "clean_accuracy=0.95") == 0
    assert ending(audited(), "robust_accuracy=0.3", "robust_accuracy=0.42") == 1
    assert "robust_accuracy is 0.41, below 0.42" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cut", "text", "status"),
    [
        ("attack", "robust_accuracy=0.3", 1),
        ("masking", "robust_accuracy=0.3", 1),
        ("masking", "median_distance=0.01", 0),
        ("smoothing", "certified_accuracy=0.1", 1),
        ("bounds", "robust_accuracy=0.3", 0),
        ("clean", "clean_accuracy=0.3", 1),
    ],
)
def test_a_spent_time_budget_leaves_gates_undecided(
    cut: str, text: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(audited(cut_off=(cut,)), text) == status
    assert ("is undecided: the time budget ended" in capsys.readouterr().err) == bool(status)


@pytest.mark.parametrize(
    ("state", "cut", "status"),
    [
        (MaskingVerdict.CLEAR, (), 0),
        (MaskingVerdict.CLEAR, ("masking",), 1),
        (MaskingVerdict.SUSPECT, (), 1),
        (MaskingVerdict.MASKED, (), 1),
        (MaskingVerdict.UNKNOWN, (), 1),
    ],
)
def test_strict_passes_clear_gradients_only(
    state: MaskingVerdict, cut: tuple[str, ...], status: int
) -> None:
    found = findings(masking=masking(verdict=state), cut_off=cut)
    try:
        checks.enforce_clear(found)
        ended = 0
    except typer.Exit as left:
        ended = int(left.exit_code)
    assert ended == status


def test_a_median_that_the_attacks_did_not_reach() -> None:
    never = attack(n=10, median_distance=None)
    held = replace(never, radii=(0.01, 0.02))
    assert checks.number(gate("median_distance=0.03"), findings(attack=never)).value == np.inf
    assert checks.number(gate("median_distance=0.03"), findings(attack=held)).value is None
    assert checks.number(gate("median_distance=0.02"), findings(attack=held)).value == 0.02


def run(folder: Path, *more: object) -> Ended:
    line = ("-m", MODEL, "-d", "fashion-mnist-2000", "--limit", 2, "-q", "--out", folder / "r.h5")
    return robcert(*more, *line)


def test_nothing_runs_for_a_gate_that_cannot_exist(tmp_path: Path) -> None:
    for more in (("--fail-under", "certified_accuracy@0.3=0.5"), ("--strict", "--skip", "masking")):
        ended = run(tmp_path, "audit", *more)
        assert ended.status == 2
        assert "error: --" in ended.stderr
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
    assert "failed: robust_accuracy is undecided" in ended.stderr
    ended = run(tmp_path, "attack", "--attack", "fgsm", *gates)
    assert ended.status == 1
    assert "failed: robust_accuracy is undecided" in ended.stderr
