"""A finished training says which part of its method never took effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from stripes import stripes

from robcert.trainers.loop.loop import fit
from robcert.trainers.loop.run import RunPlan
from robcert.trainers.methods.adversarial import Adversarial
from robcert.trainers.methods.free import Free
from robcert.trainers.methods.local_linearity import Llr
from robcert.trainers.methods.soar import Soar
from robcert.trainers.networks.architectures import Architecture
from robcert.trainers.recipe.config import Evaluation, TrainConfig

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.trainers.loop.loop import RunResult
    from robcert.trainers.methods.objective import Objective

IMAGES, EVALUATION = stripes(48), stripes(200, seed=1)


def trained(
    objective: Objective, folder: Path, *, epochs: int = 2, evaluation: Evaluation | None = None
) -> RunResult:
    """A run of three batches an epoch."""
    config = TrainConfig(
        objective=objective,
        architecture=Architecture("linear"),
        epochs=epochs,
        batch_size=16,
        evaluation=evaluation or Evaluation(attack_every=0),
    )
    return fit(RunPlan(config, IMAGES, EVALUATION, out=folder))


def about_method(result: RunResult) -> list[str]:
    return [line for line in result.warnings if "barely trained" not in line]


@pytest.mark.parametrize(
    ("warmup", "words"),
    [
        (0.0, ()),
        (5 / 3, ()),  # the last batch has epsilon itself
        (1.9, ("llr never ran in full", "after 1.667", "reached 88%")),
    ],
)
def test_a_warmup_that_ends_after_the_last_batch(
    warmup: float, words: tuple[str, ...], tmp_path: Path
) -> None:
    lines = about_method(trained(Llr(warmup_epochs=warmup, steps=1), tmp_path))
    assert len(lines) == bool(words)
    assert all(word in lines[0] for word in words)


def test_with_a_single_batch_nothing_of_a_warmed_up_method_runs(tmp_path: Path) -> None:
    config = TrainConfig(
        objective=Adversarial(warmup_epochs=0.5), architecture=Architecture("linear"), epochs=1
    )
    (line,) = about_method(fit(RunPlan(config, IMAGES, EVALUATION, out=tmp_path)))
    assert line.startswith("nothing of the method ran: ")
    assert line.endswith("the strength of adversarial reached 0%")


def test_a_penalty_whose_norm_is_always_clipped_trains_nothing(tmp_path: Path) -> None:
    (line,) = about_method(trained(Soar(value_clip=1e-6), tmp_path / "clipped"))
    assert line.startswith("nothing of the penalty of soar was trained: ")
    assert not about_method(trained(Soar(value_clip=1e9), tmp_path / "whole"))


def test_measurements_every_so_many_epochs_count_replays(tmp_path: Path) -> None:
    """With two replays a pass is two epochs: every third epoch falls in passes 2, 3 and 5."""
    often = Evaluation(every=1, attack_every=3, attack_images=8, attack_steps=1)
    result = trained(Free(replays=2), tmp_path, epochs=10, evaluation=often)
    attacked = [record.epoch for record in result.records if record.attacked_accuracy is not None]
    assert attacked == [4, 6, 10]
