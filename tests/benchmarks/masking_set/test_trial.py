"""A small part of the masking check's validation: the verdict beside evidence it does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from masking_set.entries import ENTRIES
from masking_set.networks import Kit
from masking_set.trial import GAP, Evidence, Trial, TrialPlan, tried

from robcert.certify.auditing.profiles import settings_of
from robcert.certify.core import Norm
from robcert.certify.data.load import load_images
from robcert.certify.masking.verdict import Verdict
from robcert.trainers.data.sources import training_images

if TYPE_CHECKING:
    from pathlib import Path

EPSILON = 0.1
"""Larger than 8/255, because networks trained for seconds have small gradients."""
BY_NAME = {entry.name: entry for entry in ENTRIES}


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """Kit on the bundled images, where training a network takes a few seconds."""
    split = training_images("fashion-mnist-2000")
    folder = tmp_path_factory.mktemp("runs")
    return Kit(split.train, split.evaluation, folder, EPSILON, epochs=10)


def trial(name: str, kit: Kit, folder: Path) -> Trial:
    settings = settings_of("masking", "quick", norm=Norm.LINF, epsilon=EPSILON)
    images = load_images("fashion-mnist-2000")
    return tried(BY_NAME[name], TrialPlan(kit, images, folder, settings, limit=40))


def test_a_gap_of_ten_points_makes_it_masked() -> None:
    assert Evidence(accuracy=0.9, pgd=0.5, stronger=0.4).masks
    assert not Evidence(accuracy=0.9, pgd=0.5, stronger=0.41).masks
    assert GAP == 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["temperature", "staircase", "reversed slope", "label only"])
def test_no_hidden_gradient_is_clear(name: str, kit: Kit, tmp_path: Path) -> None:
    found = trial(name, kit, tmp_path)
    assert found.evidence.masks, found.to_json()
    assert found.verdict in {Verdict.MASKED, Verdict.SUSPECT}, found.reason


@pytest.mark.slow
@pytest.mark.parametrize("name", ["standard", "tanh", "int8"])
def test_no_honest_model_is_masked(name: str, kit: Kit, tmp_path: Path) -> None:
    found = trial(name, kit, tmp_path)
    assert not found.evidence.masks, found.to_json()
    assert found.verdict is Verdict.CLEAR, found.reason


@pytest.mark.slow
def test_a_run_is_made_once(kit: Kit) -> None:
    first = kit.trained("tiny")
    made = (kit.run("tiny") / "checkpoint.safetensors").stat().st_mtime_ns
    again = kit.trained("tiny")
    assert (kit.run("tiny") / "checkpoint.safetensors").stat().st_mtime_ns == made
    x = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(first(x), again(x), atol=0, rtol=0)
