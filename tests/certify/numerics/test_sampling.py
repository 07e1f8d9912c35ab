"""Points drawn for many images at once are those that each image draws alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from robcert.certify.core import Norm
from robcert.certify.numerics import generator, point_of_each, points_in_ball
from robcert.certify.numerics.batch_invariant import sums

SHAPES = ((1,), (1, 4, 5), (3, 224, 224))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("norm", list(Norm))
def test_a_point_has_the_same_bits_in_any_company(
    norm: Norm, shape: tuple[int, ...], threads: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = point_of_each(norm, 0.5, shape, (generator(3, "test", i) for i in range(5)))
    finally:
        torch.set_num_threads(before)
    for i, point in enumerate(together):
        alone = points_in_ball(norm, 0.5, 1, shape, generator=generator(3, "test", i))
        assert torch.equal(point, alone[0])
    assert (norm.of(together.double()) <= 0.5 * (1 + 1e-6)).all()


def test_no_generator_gives_no_point() -> None:
    assert point_of_each(Norm.L2, 1.0, (1, 2, 2), ()).shape == (0, 1, 2, 2)


@pytest.mark.parametrize("size", [1, 1000, 150_528])
@pytest.mark.parametrize("norm", list(Norm))
def test_norms_and_sums_of_an_image_depend_neither_on_the_batch_nor_on_the_threads(
    norm: Norm, size: int
) -> None:
    x = torch.randn(4, size, generator=torch.Generator().manual_seed(1)).abs()
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            parts = (x, *(row[None] for row in x), x[:2])
            found.extend((rows, norm.of(rows), sums(rows)) for rows in parts)
    finally:
        torch.set_num_threads(before)
    norms, totals = found[0][1:]
    for rows, some_norms, some_totals in found:
        at = [int((x == row).all(1).nonzero()[0]) for row in rows]
        assert torch.equal(some_norms, norms[at])
        assert torch.equal(some_totals, totals[at])
