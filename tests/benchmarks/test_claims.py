"""The claims: the rule, the networks, the page, and a claim measured from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from claims import CLAIMS, conclude
from judging.claim import Finding
from judging.networks import BATCH, EPSILON, EXACT, MEAN_LOSS, NETWORKS
from judging.page import page, pictures, table
from judging.verdict import verdict

from robcert.trainers.methods import Adversarial, Gradient

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "claims.py"


@pytest.mark.parametrize(
    ("gaps", "said"),
    [
        ([0.1, 0.12, 0.11], "supported"),
        ([-0.1, -0.12, -0.11], "contradicted"),
        ([0.1, 0.12, -0.01], "inconclusive"),
        ([0.1, 0.9, 0.1], "inconclusive"),  # the mean is within two standard deviations of 0
        ([0.1, 0.1], "inconclusive"),  # too few seeds
        ([0.0, 0.0, 0.0], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_rule(gaps: list[float], said: str) -> None:
    assert verdict(gaps) == said


def test_every_network_trains_and_starts_from_an_earlier_one() -> None:
    seen: set[str] = set()
    for name, network in NETWORKS.items():
        network.config(3).require_reached()
        assert not network.start or network.start in seen, name
        seen.add(name)


def test_an_ascent_can_reach_the_corner_of_its_cube() -> None:
    for network in NETWORKS.values():
        ascent = network.config(0).objective
        if isinstance(ascent, Adversarial):
            assert ascent.steps * ascent.step_size >= EPSILON
            assert ascent.step_size <= EPSILON


def test_the_mean_loss_has_the_gradient_of_an_image_over_the_batch() -> None:
    exact, mean = (NETWORKS[name].objective for name in (EXACT, MEAN_LOSS))
    assert isinstance(exact, Gradient)
    assert isinstance(mean, Gradient)
    assert mean.weight * BATCH**2 == pytest.approx(exact.weight)


def test_page_states_verdict_numbers_and_picture(tmp_path: Path) -> None:
    findings: dict[str, list[Finding]] = {name: [] for name in CLAIMS}
    gaps = (0.1, 0.11, 0.12)
    findings["C12"] = [Finding(gap, {"λ = 0.5, strong": 0.5 + gap}) for gap in gaps]
    text = page(CLAIMS, findings)
    assert "| C12 | " in table(CLAIMS, findings)
    assert "## C12: supported" in text
    assert "| λ = 0.5, strong | 0.61 | 0.6 | 0.62 |" in text
    assert "## C1:" not in text
    assert "not measured" in text
    pictures(CLAIMS, findings, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["C12.png"]


def test_verdicts_come_from_the_files_of_all_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, gap in enumerate((-0.1, -0.2, -0.15)):
        folder = tmp_path / f"seed-{seed}"
        folder.mkdir()
        (folder / "C5.json").write_text(json.dumps(Finding(gap, {}).to_json()))
    conclude(tmp_path, docs=False)
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| C5 "))
    assert "**contradicted**" in row
    assert "-0.1, -0.2, -0.15" in row


@pytest.mark.slow
def test_a_claim_from_training_to_finding_and_again_from_its_files(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--only", "C12", "C13"]
    small = ["--data", "fashion-mnist-2000", "--training", "256", "--epochs", "2"]
    images = ["--attacked", "16", "--measured", "8", "--blocks", "30"]
    runs = [
        subprocess.run([*command, *small, *images], check=True, capture_output=True, text=True)
        for _ in range(2)
    ]
    assert "training" in runs[0].stderr
    assert not runs[1].stderr
    assert runs[0].stdout == runs[1].stdout
    found = json.loads((tmp_path / "seed-0" / "C12.json").read_text())
    numbers = found["numbers"]
    assert found["gap"] == numbers["λ = 0.5, strong"] - numbers["λ = 0, strong"]
    assert all(0 <= value <= 1 for value in numbers.values())
