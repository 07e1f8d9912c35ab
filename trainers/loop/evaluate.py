"""Accuracy of a network during training, on clean images and under a short attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from robcert.certify.core import Norm
from robcert.certify.numerics import Direction, StepRule, classes_of, cross_entropy, generator
from robcert.trainers.data import in_order
from robcert.trainers.methods import InputAscent, evaluation_mode, frozen_parameters, in_cube

from .processes import ALONE, Processes

if TYPE_CHECKING:
    from robcert.trainers.data import LabelledImages
    from robcert.trainers.recipe import Evaluation

    from .run_folder import EpochRecord

_BATCH = 256
COLLAPSE = 0.2
"""A fall of attacked accuracy to half is reported only if it had reached this value."""


def finite_logits(model: nn.Module, images: LabelledImages, device: torch.device) -> bool:
    """Whether the logits of the first few ``images`` are finite numbers."""
    x, _ = images.batch(torch.arange(min(len(images), 16)), device)
    with evaluation_mode(model), torch.inference_mode():
        return bool(model(x).isfinite().all())


def clean_accuracy(
    model: nn.Module, images: LabelledImages, device: torch.device, processes: Processes = ALONE
) -> float:
    """Fraction of ``images`` that ``model`` classifies correctly.

    Each process evaluates every ``processes.slice.count``-th batch.
    """
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with evaluation_mode(model), torch.inference_mode():
        for _, x, y in in_order(images, _BATCH, device, processes.slice):
            correct += (classes_of(model(x)) == y).sum()
    processes.add([correct])
    return int(correct) / len(images)


def attacked_accuracy(
    model: nn.Module,
    images: LabelledImages,
    settings: Evaluation,
    device: torch.device,
    processes: Processes = ALONE,
) -> float:
    """Fraction of images still classified correctly after a few ascent steps on cross-entropy.

    A quick measurement during training, not an audit: one random start, few steps, and the same
    random numbers every time.
    """
    attacked = images.first(settings.attack_images)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with evaluation_mode(model), frozen_parameters(model):
        for block, x, y in in_order(attacked, _BATCH, device, processes.slice):
            draws = generator(0, "train-evaluation", block, device=device)
            delta = _attack(model, x, y, settings, draws)
            correct += (classes_of(model(x + delta)) == y).sum()
    processes.add([correct])
    return int(correct) / len(attacked)


def _attack(
    model: nn.Module, x: Tensor, y: Tensor, settings: Evaluation, draws: torch.Generator
) -> Tensor:
    norm = settings.norm or Norm.LINF
    epsilon = settings.epsilon or norm.usual_radius
    unit = torch.rand(x.shape, generator=draws, device=x.device, dtype=x.dtype)
    rule = StepRule(Direction.steepest(norm), 2.5 / settings.attack_steps, relative=True)
    ascent = InputAscent(norm, epsilon, settings.attack_steps, rule)
    return ascent(lambda z: cross_entropy(model(z), y), x, in_cube(unit, epsilon))


def overfitting(before: list[EpochRecord], record: EpochRecord) -> list[str]:
    """A warning if accuracy under attack has collapsed, else nothing.

    Catastrophic overfitting of Wong et al. 2020 (arXiv:2001.03994).
    """
    best = max((past.attacked_accuracy or 0.0 for past in before), default=0.0)
    if record.attacked_accuracy is None or record.attacked_accuracy > best / 2 or best < COLLAPSE:
        return []
    return [
        f"catastrophic overfitting: accuracy under attack fell from {best:.1%} to "
        f"{record.attacked_accuracy:.1%} by epoch {record.epoch}"
    ]
