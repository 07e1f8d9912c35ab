"""`robcert plan`: every command with its own options, and nothing is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from command_line import robcert
from every_analysis import network, pictures

from robcert.certify.planning import pilot
from robcert.cli.plan import PLANNED
from robcert.cli.shell import planning

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS: dict[str, tuple[str, ...]] = {
    "audit": ("audit", "--only", "inspect", "--only", "attack", "--only", "linearity"),
    "attack": ("attack", "--attack", "fgsm"),
    "linearity": ("linearity", "--steps", "3"),
    "bounds": ("bounds", "--blocks", "30", "--block-size", "2"),
    "verify": ("verify", "--method", "interval"),
    "smoothing certify": ("smoothing", "certify", "--n", "500"),
    "smoothing predict": ("smoothing", "predict", "--n", "500"),
    "smoothing attack": ("smoothing", "attack", "--steps", "2", "--draws", "4"),
    "masking-check": ("masking-check",),
    "corruption": ("corruption", "--gaussian", "0.1"),
    "surface": ("surface", "--resolution", "5", "--steps", "3"),
    "taylor": ("taylor",),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network and its images; pilots are short."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(planning, "SECONDS", 0.05)
    images = pictures(tmp_path, 40)
    pixels = images.pixels(np.arange(40)).numpy()
    assert images.labels is not None
    np.savez(tmp_path / "images.npz", x=pixels, y=images.labels)
    return tmp_path


def planned(place: Path, *words: str) -> Any:
    """The plan of a command as JSON."""
    model = ("--model", str(network(place)), "--data", "images.npz")
    options = (*model, "--allow-low-accuracy", "--json", "--no-config")
    profile = () if words[0] in ("corruption", "surface", "taylor") else ("--profile", "quick")
    before = sorted(path.name for path in place.iterdir())
    ended = robcert("plan", *words, *profile, *options)
    assert ended.status == 0, ended.stderr
    assert sorted(path.name for path in place.iterdir()) == before, "a plan writes nothing"
    return json.loads(ended.stdout)


SLOW = ("masking-check", "verify", "audit")


@pytest.mark.parametrize(
    "command",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in COMMANDS],
)
def test_every_command_has_a_plan(command: str, place: Path) -> None:
    found = planned(place, *COMMANDS[command])
    (costs,) = found["profiles"].values()
    assert found["command"] == command
    assert found["images"] == (1 if command == "surface" else 40)
    assert 0 < costs["lower"] <= costs["seconds"] <= costs["upper"]
    assert costs["forward"] > 0
    assert costs["results_bytes"] > 1000


def test_the_list_of_commands_is_whole() -> None:
    assert {words.split()[0] for words in COMMANDS} == set(PLANNED)


@pytest.mark.slow
def test_an_audit_is_planned_part_by_part(place: Path) -> None:
    found = planned(place, *COMMANDS["audit"])
    assert list(found["profiles"]["quick"]["parts"]) == ["clean", "attack", "linearity"]


def test_a_budget_chooses_profile_and_images(place: Path) -> None:
    found = planned(place, "linearity", "--steps", "3", "--budget", "1h")
    assert list(found["profiles"]) == ["quick", "standard", "thorough"]
    assert found["budget"]["images"] == 40
    assert found["budget"]["profile"] == "thorough"
    assert found["budget"]["half_width"] == pytest.approx(0.155, abs=1e-3)


def test_profiles_that_cannot_be_chosen_are_not_measured(place: Path) -> None:
    found = planned(place, "linearity", "--steps", "3", "--budget", "0.001s")
    assert list(found["profiles"]) == ["quick"]
    assert found["budget"]["images"] == 0


def test_every_profile_is_measured_where_that_is_asked_for(place: Path) -> None:
    found = planned(place, "linearity", "--steps", "3", "--all-profiles")
    assert list(found["profiles"]) == ["quick", "standard", "thorough"]
    assert found["budget"] is None
    alone = planned(place, "linearity", "--steps", "3")
    assert list(alone["profiles"]) == ["quick"]


def test_commands_without_profiles_have_no_flag_for_them(place: Path) -> None:
    ended = robcert("plan", "taylor", "--model", network(place), "--all-profiles")
    assert ended.status == 2
    assert "--all-profiles" in ended.stderr


@pytest.mark.slow
def test_verify_has_a_budget_for_each_image_and_one_for_the_run(place: Path) -> None:
    found = planned(place, *COMMANDS["verify"], "--budget", "1s", "--within", "1h")
    assert found["budget"]["seconds"] == 3600


@pytest.mark.usefixtures("forks")
def test_workers_are_measured_as_workers(place: Path) -> None:
    found = planned(place, *COMMANDS["linearity"], "--workers", "2")
    assert found["profiles"]["quick"]["forward"] > 0


def test_results_are_not_written_where_the_command_would(place: Path) -> None:
    words = ("linearity", "--steps", "3", "--out", "r.h5", "--plot", "p.png")
    planned(place, *words)
    assert not (place / "r.h5").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("linearity", "--also", "other.onnx"),
        ("verify", "--property", "claim.vnnlib"),
        ("attack", "--ray", "local"),
    ],
)
def test_what_a_plan_does_not_measure_is_refused(words: tuple[str, ...], place: Path) -> None:
    (place / "other.onnx").write_bytes(network(place, 1).read_bytes())
    ended = robcert("plan", *words, "--model", network(place), "--data", "images.npz")
    assert ended.status == 2
    assert f"does not measure {words[1]}" in ended.stderr


def test_a_plan_of_several_models_is_refused(place: Path) -> None:
    models = ("--model", network(place), "--model", network(place, 1))
    ended = robcert("plan", "audit", *models, "--data", "images.npz", "--out", place / "results")
    assert ended.status == 2
    assert "does not measure several models" in ended.stderr
    assert not (place / "results").exists()


def test_errors_are_those_of_the_command(place: Path) -> None:
    ended = robcert("plan", "attack", "--model", "none.onnx", "--budget", "soon")
    assert ended.status == 2
    assert "--budget takes a time span" in ended.stderr
    assert robcert("plan", "attack", "--model", place / "none.onnx").status == 2


def test_a_command_after_a_plan_runs(place: Path) -> None:
    planned(place, *COMMANDS["taylor"])
    words = ("taylor", "--model", network(place), "--data", "images.npz", "--allow-low-accuracy")
    ended = robcert(*words, "--limit", "2", "--out", place / "r.h5", "--no-config")
    assert ended.status == 0, ended.stderr
    assert (place / "r.h5").exists()


def test_proofs_are_measured_where_the_pilot_of_their_attacks_was_abandoned(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pilot, "LONGEST_STEP", 1e-9)
    found = planned(place, *COMMANDS["verify"])
    assert {"attack", "verify"} <= set(found["profiles"]["quick"]["parts"])


def test_a_plan_ends_where_the_pilot_has_no_row_of_what_the_rest_needs(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pilot, "LONGEST_STEP", 1e-9)
    found = planned(place, *COMMANDS["bounds"])
    (costs,) = found["profiles"].values()
    assert list(costs["parts"]) == ["sampling L and omega"]
    assert costs["upper"] is None
    assert costs["seconds"] is None
