from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from robcert.certify.core import Ball, Norm
from robcert.certify.numerics.ascent import (
    AscentConfig,
    Direction,
    RandomStart,
    StepRule,
    maximise,
    normalised,
)

RULES = [
    (Norm.LINF, Direction.SIGN),
    (Norm.LINF, Direction.ADAM),
    (Norm.L2, Direction.L2),
    (Norm.L1, Direction.L1),
    (Norm.L1, Direction.L2),
]


@pytest.mark.parametrize(("norm", "direction"), RULES)
def test_linear_function_reaches_the_dual_norm(norm: Norm, direction: Direction) -> None:
    """Hölder with equality: max <w, delta> over the ball is epsilon ||w||_q."""
    w = torch.tensor([[0.5, -2.0, 1.0, 0.25], [3.0, 1.0, -1.0, 0.0]])
    epsilon = torch.tensor([0.3, 0.7])
    rule = StepRule(direction, 0.25, relative=True, drops=((60, 0.1), (120, 0.1), (160, 0.1)))
    found = maximise(
        lambda delta: (w * delta).sum(1),
        torch.zeros_like(w),
        Ball(norm, epsilon),
        AscentConfig(200, rule, box=False),
    )
    assert torch.allclose(found.best_value, epsilon * norm.dual.of(w), rtol=1e-3)
    assert torch.allclose((w * found.best_delta).sum(1), found.best_value)


def test_best_is_kept_where_the_last_is_worse() -> None:
    def wave(delta: Tensor) -> Tensor:
        return torch.sin(delta).sum(1)

    found = maximise(
        wave,
        torch.zeros(1, 1),
        Ball(Norm.LINF, 4.0),
        AscentConfig(1, StepRule(Direction.SIGN, 4.0), box=False),
        initial_perturbation=torch.tensor([[1.0]]),
    )
    assert found.best_value.item() == pytest.approx(math.sin(1.0))
    assert found.last_value.item() == pytest.approx(math.sin(4.0))
    assert found.best_delta.item() == 1.0
    assert found.last_delta.item() == 4.0
    assert found.n_gradients == 1


def test_steps_of_adam_have_the_same_bits_in_batches_of_any_size() -> None:
    """Also where each image is at another step; torch's power at step 31 differs by position."""
    rule = StepRule(Direction.ADAM, 0.1)
    gradient = torch.rand(64, 5, generator=torch.Generator().manual_seed(0))
    t = torch.arange(1, 65)
    whole, _ = rule.unit(gradient, t, rule.moments(gradient))
    for count in (1, 7, 33):
        for first in range(64 - count):
            rows = slice(first, first + count)
            part, _ = rule.unit(gradient[rows], t[rows], rule.moments(gradient[rows]))
            assert torch.equal(part, whole[rows])


def test_box_keeps_pixels_and_its_absence_does_not() -> None:
    x = torch.tensor([[0.95, 0.5]])
    rule = StepRule(Direction.SIGN, 0.1)
    deltas = [
        maximise(
            lambda delta: delta.sum(1), x, Ball(Norm.LINF, 0.2), AscentConfig(5, rule, box)
        ).last_delta
        for box in (True, False)
    ]
    assert torch.allclose(deltas[0], torch.tensor([[0.05, 0.2]]))
    assert torch.allclose(deltas[1], torch.tensor([[0.2, 0.2]]))


def test_adam_moves_as_kingma_and_ba_write_it() -> None:
    """First step: m/(1-b1) = g and v/(1-b2) = g^2, so lr g/(|g| + e); second by hand."""
    rule = StepRule(Direction.ADAM, 0.1)
    moments = rule.moments(torch.zeros(1, 1))
    one, two = torch.ones(1), torch.full((1,), 2.0)
    first, moments = rule.unit(torch.tensor([[2.0]]), one, moments)
    second, _ = rule.unit(torch.tensor([[-1.0]]), two, moments)
    mean = (0.9 * 0.2 + 0.1 * -1.0) / (1 - 0.81)
    square = (0.999 * 0.004 + 0.001 * 1.0) / (1 - 0.999**2)
    assert first.item() == pytest.approx(1.0, rel=1e-4)
    assert second.item() == pytest.approx(mean / math.sqrt(square), rel=1e-4)


def test_step_sizes_drop_after_their_step() -> None:
    """LLR F.1: 0.1 to step 100, 0.01 to 150, 0.001 for the rest."""
    rule = StepRule(Direction.ADAM, 0.1, drops=((100, 0.1), (150, 0.1)))
    sizes = rule.sizes(torch.tensor([1.0, 100, 101, 150, 151]), torch.full((5,), 0.03))
    assert torch.allclose(sizes, torch.tensor([0.1, 0.1, 0.01, 0.01, 0.001]))


def test_one_image_that_is_nan_leaves_the_others_alone() -> None:
    x = torch.zeros(3, 4)
    poison = torch.tensor([1.0, float("nan"), 1.0])
    found = maximise(
        lambda delta: delta.sum(1) * poison,
        x,
        Ball(Norm.LINF, 0.5),
        AscentConfig(3, StepRule(Direction.SIGN, 0.5), box=False),
    )
    assert found.best_value.tolist() == [2.0, float("-inf"), 2.0]
    assert found.best_delta[1].isfinite().all()


def test_a_gradient_too_small_to_square_still_has_a_direction() -> None:
    tiny = torch.tensor([[3e-30, 4e-30], [0.0, 0.0]])
    assert torch.allclose(normalised(tiny), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


@pytest.mark.parametrize("norm", list(Norm))
def test_random_start_depends_on_the_image_alone(norm: Norm) -> None:
    like = torch.zeros(3, 1, 4, 4)
    source, ball = RandomStart(1, "attack/x"), Ball(norm, 0.3)
    start = source.draw(np.array([5, 2, 9]), like, ball)
    alone = source.draw(np.array([2]), like[:1], ball)
    assert torch.equal(start[1:2], alone)
    assert not torch.equal(start[0], start[1])
    assert (norm.of(start) <= 0.3 + 1e-6).all()
