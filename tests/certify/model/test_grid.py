"""The images that an integer input can hold: levels, rounding, distances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robcert.certify.core import Norm
from robcert.certify.model.grid import InputGrid, below_one_level
from robcert.certify.model.preprocessing import Preprocessing

UINT8 = Preprocessing(range=(0.0, 255.0), dtype="uint8")
KINDS = [
    UINT8,
    Preprocessing(range=(-128.0, 127.0), dtype="int8"),
    Preprocessing(range=(255.0, 0.0), dtype="uint8"),
    Preprocessing(range=(0.0, 255.0), mean=(10.4, 0.0, 3.3), dtype="int16", channels="BGR"),
    Preprocessing(range=(0.0, 255.0), std=(4.0, 2.0, 16.0), dtype="uint8", channels="BGR"),
]


def grid(prepare: Preprocessing = UINT8) -> InputGrid:
    found = InputGrid.of(prepare)
    assert found is not None
    return found


def drawn(seed: int, count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_floating_point_inputs_hold_every_image() -> None:
    for dtype in ("float32", "float16", "float64"):
        assert InputGrid.of(Preprocessing(dtype=dtype)) is None


def test_images_of_eight_bits_are_on_the_levels_to_the_last_bit() -> None:
    pixels = torch.from_numpy(np.arange(256, dtype=np.uint8).astype(np.float32) / 255)
    for prepare in KINDS[:3]:
        image = pixels.view(1, 1, 16, 16)
        assert torch.equal(grid(prepare).nearest(image), image)
        assert (grid(prepare).levels, grid(prepare).step) == (256, 1 / 255)


def test_distances_are_exact_in_levels() -> None:
    clean = torch.full((1, 1, 3, 3), 100 / 255)
    assert float(Norm.LINF.of(grid().difference(clean + 8 / 255, clean))) == 8 / 255
    moved = clean.clone()
    moved[0, 0, 0, :] += 3.2 / 255
    assert float(Norm.L1.of(grid().difference(moved, clean))) == pytest.approx(9 / 255)
    assert float(Norm.L2.of(grid().difference(moved, clean))) == pytest.approx(27**0.5 / 255)


@pytest.mark.parametrize("prepare", KINDS)
def test_the_model_sees_the_rounded_image_in_place_of_the_image(prepare: Preprocessing) -> None:
    x = drawn(0)
    seen = grid(prepare).nearest(x)
    assert torch.equal(prepare(seen), prepare(x))
    assert torch.equal(grid(prepare).nearest(seen), seen)
    assert torch.equal(prepare(seen, rounded=False).round(), prepare(x))
    measured = (seen.double() - grid(prepare).nearest(drawn(1)).double()).abs()
    assert torch.allclose(
        grid(prepare).difference(seen, drawn(1)).abs(), measured, atol=1e-6, rtol=0
    )


def test_levels_of_each_channel_and_their_smallest_gap() -> None:
    coarse = grid(KINDS[-1])  # 1/4, 1/2 and 1/16 of the levels, in the order of the model
    assert coarse.levels == 129
    assert coarse.step == pytest.approx(1 / 255)  # level 128 lies beyond white
    assert coarse.steps(drawn(0)).flatten().tolist() == pytest.approx([16 / 255, 2 / 255, 4 / 255])
    beside_white = grid(Preprocessing(range=(0.0, 255.0), mean=(0.4,), dtype="uint8"))
    assert beside_white.step == pytest.approx(0.6 / 255)  # 254 is at 254.4, 255 beyond white
    one_level = grid(Preprocessing(range=(0.0, 0.2), dtype="uint8"))
    assert (one_level.levels, one_level.step) == (1, math.inf)


def test_attainable_radii_are_multiples_of_a_level_in_linf() -> None:
    radius = torch.tensor([0.003, 1 / 255, 0.03, 8 / 255], dtype=torch.float64)
    levels = grid().attainable(radius, Norm.LINF) * 255
    assert levels.tolist() == pytest.approx([0, 1, 7, 8])
    above = grid().equivalent(radius, Norm.LINF) * 255
    assert above.tolist() == pytest.approx([1, 2, 8, 9], rel=1e-3)
    assert bool((above < torch.tensor([1, 2, 8, 9])).all())
    assert (grid().attainable(radius, Norm.L2) * 255).tolist() == pytest.approx([0, 1, 7.65, 8])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    size=st.floats(1e-3, 0.3),
    norm=st.sampled_from(list(Norm)),
    kind=st.sampled_from(KINDS),
)
def test_rounding_within_a_radius_never_leaves_it(
    seed: int, size: float, norm: Norm, kind: Preprocessing
) -> None:
    levels = grid(kind)
    clean = levels.nearest(drawn(seed))
    x = (clean + size * (2 * drawn(seed + 1) - 1)).clamp(0, 1)
    radius = norm.of((x - clean).double())
    rounded = levels.within(x, clean, norm, radius)
    assert torch.equal(levels.nearest(rounded), rounded)
    assert bool((norm.of(levels.difference(rounded, clean)) <= radius + 1e-5).all())
    towards = (x - clean).double()
    assert bool((levels.difference(rounded, clean) * towards >= 0).all())
    nearest = levels.nearest(x)
    fits = norm.of(levels.difference(nearest, clean)) <= radius
    if norm is Norm.LINF and kind in KINDS[:3]:  # black and white are levels
        assert torch.equal(rounded[fits], nearest[fits])
    if norm is Norm.L2 and kind in KINDS[:3]:
        gained = (levels.difference(rounded, nearest) * towards).flatten(1).sum(1)
        assert bool((gained >= -levels.step * towards.abs().amax((1, 2, 3)))[fits].all())


@pytest.mark.parametrize("norm", [Norm.L2, Norm.L1])
@pytest.mark.parametrize("size", [0.01, 0.2, 3.0])
def test_rounding_keeps_the_length_of_a_perturbation(norm: Norm, size: float) -> None:
    """Also below half a level per pixel, where rounding to the nearest level leaves nothing."""
    clean = torch.full((2, 3, 30, 30), 128 / 255)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    x = clean + size / 255 * noise
    length = norm.of((x - clean).double())
    rounded = norm.of(grid().difference(grid().within(x, clean, norm, length), clean))
    assert bool((rounded <= length * (1 + 1e-6)).all())
    assert bool((rounded >= length - 1 / 255).all())


def test_as_few_pixels_as_possible_are_rounded_towards_the_clean_image() -> None:
    clean = torch.zeros(1, 1, 1, 4)
    x = torch.tensor([3.9, 3.5001, 3.7, 3.2]).view(1, 1, 1, 4) / 255
    for norm, most in ((Norm.L1, 14.3), (Norm.L2, 7.2)):
        rounded = grid().within(x, clean, norm, torch.tensor([most / 255]))
        assert (rounded * 255).flatten().tolist() == pytest.approx([4, 3, 4, 3])


def test_gradients_reach_black_and_white_pixels() -> None:
    x = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3).requires_grad_()
    for rounded in (True, False):
        (gradient,) = torch.autograd.grad(UINT8(x, rounded=rounded).sum(), x)
        assert gradient.flatten().tolist() == [255.0] * 3


def test_below_one_level() -> None:
    assert below_one_level(1 / 255, 0.5 / 255)
    assert not below_one_level(1 / 255, 1 / 255)
    assert not below_one_level(None, 1e-9)
