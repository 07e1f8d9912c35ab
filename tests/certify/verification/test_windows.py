"""Coefficients on windows give the bounds that coefficients on whole images give."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from robcert.certify.core import Ball, Norm
from robcert.certify.verification import Arithmetic, Method
from robcert.certify.verification.bounds import Bounds, Region, Rounding, propagate
from robcert.certify.verification.bounds.relevance import relevant
from robcert.certify.verification.bounds.tiles import tiled, window_sizes
from robcert.certify.verification.network import (
    Affine,
    Combination,
    Convolution,
    Network,
    Relu,
    cut,
    traced,
    translated,
)
from robcert.certify.verification.network.network import value_of
from robcert.certify.verification.network.window import Window, narrowed

SHAPE = (3, 13, 11)


class Residual(nn.Module):
    def __init__(self, body: nn.Module, short: nn.Module) -> None:
        super().__init__()
        self.body, self.short = body, short

    def forward(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.short(x)).relu()


class Branches(nn.Module):
    """Two branches of other receptive fields, side by side, and a part of the image cut out."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 2, 5, padding=2)
        self.narrow = nn.Conv2d(3, 3, 1)
        self.last = nn.Conv2d(5, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([self.narrow(x), self.wide(x)], dim=1).relu()
        return self.last(both[:, :, 1:, 2:].permute(0, 2, 3, 1).tanh().permute(0, 3, 1, 2)).relu()


BODIES = {
    "plain": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU()),
    "stride, padding, dilation, groups": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(6, 6, (3, 2), padding=(2, 1), dilation=(2, 1), groups=3),
        nn.Sigmoid(),
        nn.Conv2d(6, 4, 3, padding=1),
        nn.ReLU(),
    ),
    "overlapping pools": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2, stride=1, padding=1),
        nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"),
        nn.ReLU(),
    ),
    "residual": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        Residual(
            nn.Sequential(
                nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1)
            ),
            nn.Conv2d(4, 6, 1, stride=2),
        ),
    ),
    "upsampled": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.ConvTranspose2d(4, 3, 3, stride=2), nn.ReLU()
    ),
    "branches": Branches,
}


@cache
def network_of(name: str) -> Network:
    torch.manual_seed(3)
    body = BODIES[name]()
    width = body(torch.zeros(1, *SHAPE)).numel()
    module = nn.Sequential(body, nn.Flatten(), nn.Linear(width, 4)).eval()
    return translated(*traced(module, SHAPE))


@cache
def bounds_of(name: str, method: Method = Method.INTERVAL) -> Bounds:
    region = Region.of_ball(torch.full(SHAPE, 0.5), Ball(Norm.LINF, 0.05))
    rounding = Rounding(Arithmetic.FLOAT32, torch.float64)
    return propagate(network_of(name), region, rounding, method=method)


def windows(shape: tuple[int, ...]) -> list[Window]:
    """At the corners, in the middle, one element, one row."""
    (height, width), others = shape[2:4], [(0, n) for n in shape]
    places = [
        ((0, 2), (0, 1)),
        ((height - 1, height), (width - 2, width)),
        ((height // 2, height // 2 + 2), (1, 3)),
        ((1, 2), (0, width)),
    ]
    found = [narrowed((*others[:2], *place, *others[4:]), shape) for place in places]
    return [window for window in found if window is not None]


@pytest.mark.parametrize("name", list(BODIES))
def test_coefficients_on_windows_give_the_same_bounds(name: str) -> None:
    bounds, seen = bounds_of(name), 0
    for at, node in enumerate(bounds.network.nodes):
        if len(node.shape) < 4 or at == 0:
            continue
        draws = torch.Generator().manual_seed(at)
        for window in windows(node.shape):
            whole = torch.zeros(5, *node.shape, dtype=torch.float64)
            part = cut(whole, window)
            part.copy_(torch.randn(part.shape, generator=draws, dtype=torch.float64))
            expected = bounds.minimum(at, whole)
            found = bounds.minimum(at, part.clone(), window)
            assert torch.allclose(found, expected, rtol=1e-11, atol=1e-12)
            seen += 1
    assert seen > 20


@pytest.mark.parametrize("name", list(BODIES))
def test_what_an_affine_operation_reads_holds_all_coefficients(name: str) -> None:
    network = network_of(name)
    for node in network.nodes:
        if not isinstance(node, Affine) or len(node.shape) < 4:
            continue
        for window in windows(node.shape):
            whole = torch.zeros(2, *node.shape, dtype=torch.float64)
            cut(whole, window).normal_(generator=torch.Generator().manual_seed(1))
            expected = node.transpose(whole)
            parts = node.transpose(cut(whole, window).clone(), window)
            for full, part, read in zip(expected, parts, node.reads(window), strict=True):
                assert torch.allclose(cut(full, read), part, rtol=1e-11, atol=1e-13)
                rest = full.clone()
                cut(rest, read).zero_()
                assert not rest.any()


def test_a_small_tile_of_a_convolution_depends_on_a_small_part_of_the_image() -> None:
    network = network_of("plain")
    at = next(at for at, node in enumerate(network.nodes) if node.shape == (1, 5, 9, 7))
    sizes = dict(window_sizes(network, at, ((0, 1), (0, 5), (4, 5), (3, 4))))
    assert sizes[0] == 3 * 5 * 5


@pytest.mark.parametrize("count", [1, 40, 315])
def test_tiles_hold_every_element_once(count: int) -> None:
    network = network_of("plain")
    at = next(at for at, node in enumerate(network.nodes) if node.shape == (1, 5, 9, 7))
    units = torch.randperm(5 * 9 * 7, generator=torch.Generator().manual_seed(count))[:count]
    numbers = torch.arange(5 * 9 * 7).view(1, 5, 9, 7)
    seen = []
    for window, members in tiled(network, at, units):
        assert torch.isin(units[members], cut(numbers, window)).all()
        seen += members.tolist()
    assert sorted(seen) == list(range(count))


def scores_after(network: Network, at: int, values: list[Tensor]) -> Tensor:
    """The scores where the outputs up to ``at`` have other values."""
    found = values[: at + 1]
    for node in network.nodes[at + 1 :]:
        found.append(value_of(node, [found[parent] for parent in node.parents], found[0]))
    return found[network.output].flatten(1)


@pytest.mark.parametrize("name", list(BODIES))
def test_irrelevant_elements_change_no_score(name: str) -> None:
    bounds = bounds_of(name, Method.CROWN)
    network, matters = bounds.network, relevant(bounds)
    draws = torch.Generator().manual_seed(5)
    x = bounds.region.lower + torch.rand(4, *SHAPE, generator=draws).double() * (
        bounds.region.upper - bounds.region.lower
    )
    some = 0
    for at in {node.parents[0] for node in network.nodes if isinstance(node, Relu)}:
        mask = matters[at]
        if mask is None or mask.all():
            continue
        values = network.values(x)
        values[at] = values[at].detach().requires_grad_()
        total = scores_after(network, at, values).square().sum()
        (slopes,) = torch.autograd.grad(total, values[at])
        some += bool(slopes.any())
        assert not slopes[:, ~mask].any()
    if name in {"overlapping pools", "residual"}:
        assert some


def test_bounds_over_a_larger_region_are_used_and_those_over_another_are_not() -> None:
    network, rounding = network_of("residual"), Rounding(Arithmetic.REAL, torch.float64)
    x = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    wide, narrow = (Region.of_ball(x, Ball(Norm.LINF, radius)) for radius in (0.05, 0.04))
    other = Region.of_ball(x.flip(0), Ball(Norm.LINF, 0.05))
    alone = propagate(network, narrow, rounding)
    helped = propagate(network, narrow, rounding, wider=propagate(network, wide, rounding))
    unused = propagate(network, narrow, rounding, wider=propagate(network, other, rounding))
    points = narrow.lower + torch.rand(500, *SHAPE).double() * (narrow.upper - narrow.lower)
    for at, values in enumerate(network.values(points)):
        assert (values >= helped.lower[at] - 1e-9).all()
        assert (values <= helped.upper[at] + 1e-9).all()
        assert torch.equal(unused.lower[at], alone.lower[at])
    assert sum(map(len, helped.tightened.values())) < sum(map(len, alone.tightened.values()))
    assert not wide.lies_in(narrow)
    assert narrow.lies_in(wide)


def test_the_slack_of_a_sum_holds_that_of_what_only_it_reads() -> None:
    """Operations whose rows are those of a sum are not multiplied with their errors again."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))
    model = Residual(body, nn.Conv2d(3, 3, 1)).requires_grad_(False)
    network = translated(*traced(model, SHAPE))
    ball = Ball(Norm.LINF, 0.1)
    region = Region.of_ball(torch.rand(SHAPE), ball)
    bounds = propagate(network, region, Rounding(Arithmetic.FLOAT32, torch.float32))
    checked = 0
    for at, node in enumerate(network.nodes):
        if not (isinstance(node, Combination) and node.only_adds):
            continue
        for parent in node.parents:
            below = network.nodes[parent]
            if isinstance(below, Convolution) and network.readers[parent] == [at]:
                slack = bounds.slack(at, torch.float32)
                assert slack is not None
                own = (2 * bounds.sizes[at] + below.uses * bounds.sizes[parent]) * 2.0**-24
                assert bool(
                    (slack.double() >= bounds.errors[at] + bounds.errors[parent] + own).all()
                )
                checked += 1
    assert checked == 3
