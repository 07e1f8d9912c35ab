"""From losses to a step of the parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch
from stripes import stripes
from torch import Tensor, nn

from robcert.certify.errors import TrainingError
from robcert.trainers.loop.run import Run, RunPlan
from robcert.trainers.methods.cure import Cure
from robcert.trainers.methods.objective import Losses, Objective, Step
from robcert.trainers.networks.architectures import Architecture
from robcert.trainers.recipe.config import Optimizer, TrainConfig
from robcert.trainers.recipe.schedule import Schedule

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class TwoTerms(Objective):
    """A loss and a clipped regularizer, both linear in the model's only weight."""

    clip_norm: float

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Losses:
        logits, weight = model(x), next(model.parameters())
        return Losses(
            loss=logits[:, 0] * 0.0 + weight[0].sum(),
            logits=logits.detach(),
            regularizer=5.0 * weight[1].sum() + 0.0 * logits[:, 0],
            clip_norm=self.clip_norm,
        )


def test_the_regularizer_is_clipped_alone(tmp_path: Path) -> None:
    # 64 weights a class: the regularizer's gradient is 5 at 64 entries, of norm 40.
    config = TrainConfig(
        architecture=Architecture("linear"),
        optimizer=Optimizer(1.0, momentum=0.0, weight_decay=0.0, clip_norm=None),
        schedule=Schedule("constant"),
        objective=TwoTerms(clip_norm=4.0),
    )
    run = Run(RunPlan(config, stripes(16), stripes(16), tmp_path))
    weight = next(run.model.parameters())
    before = weight.detach().clone()
    x, y = stripes(16).batch(torch.arange(16), torch.device("cpu"))
    run.step(x, y, number=0, replay=0, of=1)
    moved = before - weight.detach()
    torch.testing.assert_close(moved[0], torch.ones(64))
    torch.testing.assert_close(moved[1], torch.full((64,), 0.5))


def test_a_layer_without_second_derivative_is_named(tmp_path: Path) -> None:
    config = TrainConfig(objective=Cure(), architecture=Architecture("linear"))
    run = Run(RunPlan(config, stripes(16), stripes(16), tmp_path))
    run.model.network = nn.Sequential(run.model.network, nn.Hardsigmoid())
    x, y = stripes(16).batch(torch.arange(16), torch.device("cpu"))
    with pytest.raises(TrainingError, match="no second derivative of hardsigmoid"):
        run.step(x, y, number=0, replay=0, of=1)
