from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robcert.certify.core import Norm
from robcert.certify.numerics.projections import into_box, project


def test_l2_scales_and_linf_clips() -> None:
    delta = torch.tensor([[3.0, -4.0], [0.3, 0.4]])
    assert torch.allclose(project(delta, Norm.L2, 1.0), torch.tensor([[0.6, -0.8], [0.3, 0.4]]))
    assert torch.equal(
        project(delta, Norm.LINF, torch.tensor([2.0, 0.35])),
        torch.tensor([[2.0, -2.0], [0.3, 0.35]]),
    )


def test_l1_is_the_soft_threshold() -> None:
    # |3| - t + |-2| - t = 1 at t = 2: the second entry just vanishes
    assert torch.allclose(
        project(torch.tensor([[3.0, -2.0, 0.5]]), Norm.L1, 1.0), torch.tensor([[1.0, 0.0, 0.0]])
    )
    assert torch.allclose(
        project(torch.tensor([[3.0, -2.0, 0.5]]), Norm.L1, 2.0), torch.tensor([[1.5, -0.5, 0.0]])
    )


def test_l1_in_the_box_spends_what_the_box_refuses_elsewhere() -> None:
    x = torch.tensor([[0.9, 0.5, 0.5]])
    delta = project(torch.tensor([[3.0, -2.0, 0.5]]), Norm.L1, 0.4, x=x)
    assert torch.allclose(delta, torch.tensor([[0.1, -0.3, 0.0]]), atol=1e-7)


def test_l2_in_the_box_spends_what_the_box_refuses_elsewhere() -> None:
    """Room 0.3 for the first entry; the others share the rest, 0.4, as 3 to 4."""
    x = torch.tensor([[0.7, 0.5, 0.5]])
    delta = project(torch.tensor([[9.0, -3.0, 4.0]]), Norm.L2, 0.5, x=x)
    assert torch.allclose(delta, torch.tensor([[0.3, -0.24, 0.32]]), atol=1e-6)


@settings(max_examples=40)
@given(epsilon=st.floats(0.05, 3), scale=st.floats(0.1, 100), seed=st.integers(0, 2**31))
def test_l2_in_the_box_is_the_nearest_point(epsilon: float, scale: float, seed: int) -> None:
    """p is nearest to v in a convex set iff <v - p, z - p> <= 0 for every z of the set."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(3, 8, generator=generator, dtype=torch.float64)
    x[0] = x[0].round()
    far = scale * torch.randn(3, 8, generator=generator, dtype=torch.float64)
    nearest = project(far, Norm.L2, epsilon, x=x)
    for _ in range(200):
        other = into_box(torch.randn(3, 8, generator=generator, dtype=torch.float64), x)
        other = other * (epsilon / Norm.L2.of(other)).clamp_max(1)[:, None]
        gain = ((far - nearest) * (other - nearest)).sum(1)
        assert (gain <= 1e-9 * scale).all()


def test_a_point_inside_stays_bit_by_bit() -> None:
    delta = torch.tensor([[0.1, -0.2, 0.05]])
    for norm in Norm:
        assert torch.equal(project(delta, norm, 0.5), delta)


@settings(max_examples=60)
@given(
    norm=st.sampled_from(list(Norm)),
    epsilon=st.floats(0.01, 20),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 2**31),
)
def test_projection_is_in_both_sets(norm: Norm, epsilon: float, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(4, 2, 3, 3, generator=generator)
    x[0] = x[0].round()  # corners of the box
    delta = project(scale * torch.randn(4, 2, 3, 3, generator=generator), norm, epsilon, x=x)
    assert (norm.of(delta) <= epsilon * (1 + 1e-5)).all()
    assert ((x + delta) >= 0).all()
    assert ((x + delta) <= 1 + 1e-6).all()


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0])
def test_l1_in_the_box_is_the_nearest_point(epsilon: float) -> None:
    """Dykstra's alternating projections converge to the nearest point of an intersection."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(5, 12, generator=generator, dtype=torch.float64)
    target = torch.randn(5, 12, generator=generator, dtype=torch.float64)
    nearest = _dykstra(target, x, epsilon)
    assert torch.allclose(project(target, Norm.L1, epsilon, x=x), nearest, atol=1e-6)


def _dykstra(target: Tensor, x: Tensor, epsilon: float) -> Tensor:
    point, ball_part, box_part = target, torch.zeros_like(x), torch.zeros_like(x)
    for _ in range(2000):
        in_ball = project(point + ball_part, Norm.L1, epsilon)
        ball_part = point + ball_part - in_ball
        in_box = into_box(in_ball + box_part, x)
        box_part, point = in_ball + box_part - in_box, in_box
    return point


def test_a_row_does_not_depend_on_its_batch() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(9, 3, 5, 5, generator=generator)
    delta = torch.randn(9, 3, 5, 5, generator=generator)
    epsilon = torch.linspace(0.1, 3, 9)
    for norm in Norm:
        together = project(delta, norm, epsilon, x=x)
        alone = [
            project(delta[i : i + 1], norm, epsilon[i : i + 1], x=x[i : i + 1]) for i in range(9)
        ]
        assert torch.equal(together, torch.cat(alone))
