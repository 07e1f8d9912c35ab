"""Accuracy of a network in training, clean and under a short attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from robcert.certify.core import Norm
from robcert.certify.numerics import Direction, StepRule, cross_entropy, generator
from robcert.trainers.methods import ascent, evaluation_mode, frozen_parameters, in_cube

from .processes import ALONE, Processes

if TYPE_CHECKING:
    from robcert.trainers.data import TrainingImages
    from robcert.trainers.recipe import Evaluation

_BATCH = 256


def finite_logits(model: nn.Module, images: TrainingImages, device: torch.device) -> bool:
    """Whether the logits of the first few ``images`` are finite numbers."""
    x, _ = images.batch(torch.arange(min(len(images), 16)), device)
    with evaluation_mode(model), torch.inference_mode():
        return bool(model(x).isfinite().all())


def clean_accuracy(
    model: nn.Module, images: TrainingImages, device: torch.device, processes: Processes = ALONE
) -> float:
    """Share of ``images`` that ``model`` classifies as labelled; the batches are shared out."""
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with evaluation_mode(model), torch.inference_mode():
        for block, (x, y) in enumerate(images.in_order(_BATCH, device)):
            if block % processes.share.count == processes.share.rank:
                correct += (model(x).argmax(1) == y).sum()
    processes.add([correct])
    return int(correct) / len(images)


def attacked_accuracy(
    model: nn.Module,
    images: TrainingImages,
    settings: Evaluation,
    device: torch.device,
    processes: Processes = ALONE,
) -> float:
    """Share still classified as labelled after a few ascent steps on cross-entropy.

    A quick look while training goes on, not an audit: one random start, few steps, always the
    same draws.
    """
    attacked = images.first(settings.attack_images)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with evaluation_mode(model), frozen_parameters(model):
        for block, (x, y) in enumerate(attacked.in_order(_BATCH, device)):
            if block % processes.share.count == processes.share.rank:
                draws = generator(0, "train-evaluation", block, device=device)
                delta = _attack(model, x, y, settings, draws)
                correct += (model(x + delta).argmax(1) == y).sum()
    processes.add([correct])
    return int(correct) / len(attacked)


def _attack(
    model: nn.Module, x: Tensor, y: Tensor, settings: Evaluation, draws: torch.Generator
) -> Tensor:
    norm = settings.norm or Norm.LINF
    epsilon = settings.epsilon or norm.usual_radius
    unit = torch.rand(x.shape, generator=draws, device=x.device, dtype=x.dtype)
    rule = StepRule(Direction.steepest(norm), 2.5 / settings.attack_steps, relative=True)
    return ascent(
        lambda z: cross_entropy(model(z), y),
        x,
        norm=norm,
        epsilon=epsilon,
        steps=settings.attack_steps,
        rule=rule,
        start=in_cube(unit, epsilon),
    )
