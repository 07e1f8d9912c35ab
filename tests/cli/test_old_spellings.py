"""Spellings of the version before: they do what the new ones do, and name them."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import typer
from command_line import robcert

from robcert.certify.auditing.open import bundled
from robcert.certify.errors import InvalidParameterError
from robcert.certify.smoothing.settings import Mode, SmoothingSettings
from robcert.cli.main import app
from robcert.cli.shell.options import AnalysisOptions
from robcert.cli.smoothing import Design, OldDesign, chosen_design, with_design

if TYPE_CHECKING:
    from pathlib import Path

GAUSSIAN = str(bundled("fashion-gaussian.onnx"))
HIDDEN = {
    "show": {"--csv"},
    "compare": {"--csv"},
    "attack": {"--every-step", "--spatial", "--gaussian", "--draws", "--clip-noise"},
    "smoothing certify": {"--mode", "--exact", "--runner-up", "--open-ended"},
}


def leaves(node: Any, name: str = "") -> list[tuple[str, Any]]:
    children = getattr(node, "commands", {})
    if not children:
        return [(name, node)]
    return [leaf for part, child in children.items() for leaf in leaves(child, f"{name} {part}")]


def test_every_hidden_option_is_an_old_spelling() -> None:
    found = {
        name.strip(): {option.opts[0] for option in command.params if getattr(option, "hidden", 0)}
        for name, command in leaves(typer.main.get_command(app))
        if not name.strip().startswith("plan ")  # its commands have the options of the others
    }
    assert {name: hidden for name, hidden in found.items() if hidden} == HIDDEN
    for name, hidden in HIDDEN.items():
        text = robcert(*name.split(), "--help").stdout
        assert not [option for option in hidden if f" {option} " in text]


def test_each_design_is_one_legal_settings_object_and_every_legal_one_is_a_design() -> None:
    def legal(mode: Mode, *flags: bool) -> list[SmoothingSettings]:
        exact, runner_up, open_ended = flags
        try:
            chosen = replace(SmoothingSettings(), mode=mode, exact=exact, runner_up=runner_up)
            return [replace(chosen, open_ended=open_ended)]
        except InvalidParameterError:
            return []

    flags = itertools.product((False, True), repeat=3)
    every = [one for mode, of in itertools.product(Mode, flags) for one in legal(mode, *of)]
    designed = [with_design(SmoothingSettings(), design) for design in Design]
    assert len({str(one) for one in designed}) == len(Design)
    assert {str(one) for one in designed} == {str(one) for one in every}
    assert with_design(SmoothingSettings(), Design.SEQUENTIAL) == SmoothingSettings()
    assert with_design(SmoothingSettings(), None) == SmoothingSettings()


@pytest.mark.parametrize(
    ("old", "design", "settings"),
    [
        (OldDesign("grid"), "sequential", SmoothingSettings()),
        (OldDesign(exact=True), "group-sequential", SmoothingSettings(exact=True)),
        (OldDesign(runner_up=True), "runner-up", SmoothingSettings(runner_up=True)),
        (OldDesign("grid", open_ended=True), "open-ended", SmoothingSettings(open_ended=True)),
        (OldDesign("radius"), "two-stage", SmoothingSettings(mode=Mode.RADIUS)),
        (OldDesign("cohen"), "cohen", SmoothingSettings(mode=Mode.COHEN)),
        (
            OldDesign("cohen", runner_up=True),
            "cohen-runner-up",
            SmoothingSettings(mode=Mode.COHEN, runner_up=True),
        ),
    ],
)
def test_old_flags_give_the_settings_that_they_gave(
    old: OldDesign, design: str, settings: SmoothingSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    found = chosen_design(AnalysisOptions(), None, old)
    assert found == design
    assert with_design(SmoothingSettings(), found) == settings
    assert capsys.readouterr().err == f"note: {old.typed} is now --design {design}\n"
    chosen_design(AnalysisOptions(quiet=True), None, old)
    assert capsys.readouterr().err == ""


def groups(*arguments: str) -> tuple[set[str], str]:
    """Paths of the groups that a command filled, whose names hash the settings; its stderr."""
    ended = robcert(*arguments, "--json")
    assert ended.status == 0, ended.stderr
    return set(json.loads(ended.stdout)["settings"]["groups"]), ended.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (("--exact",), "group-sequential"),
        pytest.param(("--runner-up",), "runner-up", marks=pytest.mark.slow),
        pytest.param(("--open-ended",), "open-ended", marks=pytest.mark.slow),
        pytest.param(("--mode", "radius"), "two-stage", marks=pytest.mark.slow),
        pytest.param(("--mode", "cohen"), "cohen", marks=pytest.mark.slow),
        (("--mode", "cohen", "--runner-up"), "cohen-runner-up"),
    ],
)
def test_old_and_new_spellings_of_designs_fill_one_group(
    old: tuple[str, ...], new: str, tmp_path: Path
) -> None:
    few = ("--model", GAUSSIAN, "--limit", "1", "--n", "100", "-o", str(tmp_path / "r.h5"))
    before, told = groups("smoothing", "certify", *few, *old)
    after, silent = groups("smoothing", "certify", *few, "--design", new)
    assert before == after
    assert f"note: {' '.join(old)} is now --design {new}" in told.splitlines()
    assert "is now" not in silent


def test_old_spellings_of_attack_name_the_new_ones(tmp_path: Path) -> None:
    few = ("--limit", "1", "--attack", "fgsm", "-o", str(tmp_path / "r.h5"))
    before, told = groups("attack", *few, "--every-step")
    assert before == groups("attack", *few, "--no-early-stopping")[0]
    assert "note: --every-step is now --no-early-stopping" in told.splitlines()
    changes = ("--spatial", "30,0.1", "--gaussian", "0.1", "--draws", "1")
    _, told = groups("attack", *few, *changes)
    line = f"note: {' '.join(changes)} is now robcert corruption {' '.join(changes)}"
    assert line in told.splitlines()


def test_csv_is_now_a_format(tmp_path: Path) -> None:
    results = str(tmp_path / "r.h5")
    ended = robcert("linearity", "--limit", "1", "--profile", "quick", "-o", results)
    assert ended.status == 0, ended.stderr
    new = robcert("show", results, "--format", "csv")
    old = robcert("show", results, "--csv")
    assert old.stdout == new.stdout
    assert new.stdout.startswith("index,")
    assert new.stderr == ""
    assert old.stderr == "note: --csv is now --format csv\n"
    assert robcert("show", results, "--json").stdout.startswith("{")
    assert robcert("show", results, "--format", "json", "--json").stdout.startswith("{")
    for both in (("--json", "--csv"), ("--format", "csv", "--json")):
        refused = robcert("show", results, *both)
        assert refused.status == 2
        assert "cannot be combined" in refused.stderr
