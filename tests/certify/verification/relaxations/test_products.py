"""Planes of products in exact rational arithmetic, against the corners of the box."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robcert.certify.verification.relaxations import ProductLines, product_lines


def assert_encloses(planes: ProductLines, points: list[tuple[float, float]], at: int = 0) -> None:
    """The stored numbers hold at the points, in rational numbers."""
    lower = [float(part[at]) for part in (planes.lower_x, planes.lower_y, planes.lower_offset)]
    upper = [float(part[at]) for part in (planes.upper_x, planes.upper_y, planes.upper_offset)]
    for x, y in points:
        value = Fraction(x) * Fraction(y)
        if math.isfinite(lower[2]):
            below = Fraction(lower[0]) * Fraction(x) + Fraction(lower[1]) * Fraction(y)
            assert below + Fraction(lower[2]) <= value
        if math.isfinite(upper[2]):
            above = Fraction(upper[0]) * Fraction(x) + Fraction(upper[1]) * Fraction(y)
            assert above + Fraction(upper[2]) >= value


ENDS = st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-4, 4, width=32)


@settings(max_examples=300, deadline=None)
@given(
    ends=st.tuples(ENDS, ENDS, ENDS, ENDS),
    share=st.none() | st.floats(0, 1, width=32),
    dtype=st.sampled_from((torch.float32, torch.float64)),
)
def test_any_box(
    ends: tuple[float, float, float, float], share: float | None, dtype: torch.dtype
) -> None:
    (a, b), (c, d) = sorted(ends[:2]), sorted(ends[2:])
    tangent = None if share is None else torch.tensor([share], dtype=dtype)
    left, right, bottom, top = (torch.tensor([end], dtype=dtype) for end in (a, b, c, d))
    planes = product_lines(left, right, bottom, top, tangent, upper_tangent=tangent)
    # A bilinear function minus a plane is extreme in corners.
    assert_encloses(planes, [(x, y) for x in (a, b) for y in (c, d)])


def test_random_boxes_of_doubles() -> None:
    generator = torch.Generator().manual_seed(0)
    ends = torch.randn((4, 2000), generator=generator, dtype=torch.float64)
    x, y = ends[:2].sort(0).values, ends[2:].sort(0).values
    share = torch.rand(2000, generator=generator, dtype=torch.float64)
    planes = product_lines(x[0], x[1], y[0], y[1], share, upper_tangent=share)
    for at in range(2000):
        corners = [(float(p), float(q)) for p in x[:, at] for q in y[:, at]]
        assert_encloses(planes, corners, at)


def test_facets_are_those_of_mccormick() -> None:
    a, b, c, d = (torch.tensor([end]) for end in (-1.0, 2.0, 3.0, 5.0))
    for share, lower, upper in (
        (0.0, (3, -1, 3), (3, 2, -6)),
        (1.0, (5, 2, -10), (5, -1, 5)),
    ):
        tangent = torch.tensor([share])
        planes = product_lines(a, b, c, d, tangent, upper_tangent=tangent)
        assert (float(planes.lower_x), float(planes.lower_y)) == lower[:2]
        assert float(planes.lower_offset) == pytest.approx(lower[2], rel=1e-6)
        assert (float(planes.upper_x), float(planes.upper_y)) == upper[:2]
        assert float(planes.upper_offset) == pytest.approx(upper[2], rel=1e-6)


def test_default_has_the_height_of_the_facets_at_the_centre() -> None:
    a, b, c, d = (torch.tensor([end], dtype=torch.float64) for end in (-1.0, 2.0, 3.0, 5.0))
    planes = product_lines(a, b, c, d)
    # The product at the centre (0.5, 4) is 2; facets are a quarter of the box's area, 6, away.
    assert float(0.5 * planes.lower_x + 4 * planes.lower_y + planes.lower_offset) == (
        pytest.approx(0.5, abs=1e-12)
    )
    assert float(0.5 * planes.upper_x + 4 * planes.upper_y + planes.upper_offset) == (
        pytest.approx(3.5, abs=1e-12)
    )


def test_points_and_zeros_are_exact() -> None:
    zero, one, two = (torch.tensor([end]) for end in (0.0, 1.0, 2.0))
    planes = product_lines(zero, one, zero, two, zero)
    assert (float(planes.lower_x), float(planes.lower_y), float(planes.lower_offset)) == (0, 0, 0)
    planes = product_lines(zero, zero, one, two)
    for part in (planes.lower_offset, planes.upper_offset):
        assert abs(float(part)) < 1e-30


def test_gradient_agrees_with_differences() -> None:
    a, b, c, d = (torch.tensor([end], dtype=torch.float64) for end in (-1.0, 2.0, 3.0, 5.0))

    def heights(share: Tensor) -> Tensor:
        planes = product_lines(a, b, c, d, share, upper_tangent=share)
        low = -0.4 * planes.lower_x + 3.3 * planes.lower_y + planes.lower_offset
        return torch.cat((low, -0.4 * planes.upper_x + 3.3 * planes.upper_y + planes.upper_offset))

    share = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    for side in range(2):
        (found,) = torch.autograd.grad(heights(share)[side], share)
        with torch.no_grad():
            expected = (heights(share + 1e-4) - heights(share - 1e-4))[side] / 2e-4
        assert float(found) == pytest.approx(float(expected), abs=1e-6)


def test_infinite_ends_give_trivial_planes() -> None:
    one, infinite = torch.tensor([1.0]), torch.tensor([math.inf])
    planes = product_lines(one, infinite, one, one)
    assert float(planes.lower_offset) == -math.inf
    assert float(planes.upper_offset) == math.inf
    assert float(planes.lower_x) == float(planes.upper_y) == 0
