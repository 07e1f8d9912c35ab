"""The third collection's ways to hide a gradient: what they keep and what they lose."""

from __future__ import annotations

import pytest
import torch
from masking_set import insides as ways
from masking_set.entries import ENTRIES
from masking_set.fresh import FRESH, HONEST, MASKED, deep
from torch import Tensor, nn

from robcert.certify.numerics.gradients import value_and_gradient


@pytest.fixture
def images() -> Tensor:
    return torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 5)
    network = nn.Sequential(*layers)
    network.eval().requires_grad_(requires_grad=False)
    return network


def slope(model: nn.Module, x: Tensor) -> Tensor:
    """Gradient of the first score."""
    return value_and_gradient(lambda z: model(z)[:, 0], x)[1]


def test_a_thermometer_counts_the_levels_below_a_pixel() -> None:
    x = torch.tensor([0.05, 0.4, 0.95]).view(3, 1, 1, 1)
    for soft in (False, True):
        bits = ways.Thermometer(nn.Flatten(), levels=4, soft=soft)(x)
        torch.testing.assert_close(bits.sum(1).round(), torch.tensor([0.0, 2.0, 4.0]))
    summed = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    assert slope(ways.Thermometer(summed, levels=4, soft=True), x[1:2]).abs().amax() > 0
    inner = ways.Thermometer(summed, levels=4)(x.requires_grad_())
    assert torch.autograd.grad(inner.sum(), x, allow_unused=True)[0] is None


def test_small_details_go_and_means_stay() -> None:
    block = torch.tensor([[0.5, 0.54], [0.5, 0.54]]).view(1, 1, 2, 2)  # a detail of 0.04
    shrunk = ways.Shrunk(nn.Identity(), 1, least=0.1)
    torch.testing.assert_close(shrunk(block), torch.full((1, 1, 2, 2), 0.52))
    large = torch.tensor([[0.2, 0.8], [0.2, 0.8]]).view(1, 1, 2, 2)
    torch.testing.assert_close(shrunk(large), large)


def test_the_median_filter_takes_out_a_single_pixel() -> None:
    x = torch.full((1, 1, 5, 5), 0.3)
    x[0, 0, 2, 2] = 1.0
    torch.testing.assert_close(ways.MedianFilter(nn.Identity())(x), torch.full((1, 1, 5, 5), 0.3))


def test_outputs_keep_the_order_and_lose_the_slope(network: nn.Sequential, images: Tensor) -> None:
    logits = network(images)
    ranks = ways.Ranks(network)(images)
    assert torch.equal(ranks.argsort(1), logits.argsort(1))
    assert torch.equal(ranks.sort(1).values, torch.arange(5.0).expand(16, 5))
    absorbed = ways.Absorbed(network)(images)
    assert (absorbed - ways.Absorbed(network).constant - logits).abs().amax() <= 0.5
    assert absorbed.unique().numel() < logits.unique().numel() / 4
    rounded = ways.RoundedProbabilities(network)
    assert (rounded(images) - logits.softmax(1)).abs().amax() <= 0.05 + 1e-6
    assert not slope(rounded, images).any()


def test_steps_have_a_slope_in_training_alone() -> None:
    x = torch.linspace(-1, 1, 8)[:, None]
    step = ways.Step()
    bits = step.train()(x)
    assert torch.equal(bits.round(), (x > 0).float())
    assert (slope(step.train(), x) > 0).all()
    assert torch.equal(step.eval()(x), (x > 0).float())


def test_another_slope_leaves_the_first_network_as_it_was() -> None:
    first = nn.Sequential(ways.SteepSigmoid(1.0))
    steep = ways.with_slope_of(first, 100.0)
    x = torch.tensor([[0.1, -0.1]])
    torch.testing.assert_close(first(x), torch.sigmoid(x))
    torch.testing.assert_close(steep(x), torch.sigmoid(100 * x))


@pytest.mark.parametrize(
    "make",
    [
        lambda net: ways.Holes(net, 0.3),
        lambda net: ways.RandomMember(net, nn.Sequential(net, nn.Tanh())),
        lambda net: ways.LogitNoise(net, 0.5),
        lambda net: nn.Sequential(net, ways.Pruned(0.3)),
    ],
    ids=["holes", "member", "noise", "pruned"],
)
def test_random_ones_answer_otherwise_each_time(
    make: type[nn.Module], network: nn.Sequential, images: Tensor
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make(network)
        assert not torch.equal(model(images), model(images))


def test_pruning_is_right_on_average() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mean = ways.Pruned(0.3)(torch.ones(20000)).mean()
    assert mean == pytest.approx(1, abs=0.02)


def test_a_wave_turns_round() -> None:
    x = torch.tensor([[0.0], [torch.pi / 10]])
    assert slope(ways.Wave(10.0), x).flatten().tolist() == pytest.approx([10, -10], abs=1e-4)


def test_the_third_collection_repeats_no_name_and_is_large_enough() -> None:
    names = [entry.name for entry in (*ENTRIES, *FRESH)]
    assert len(set(names)) == len(names)
    assert len(MASKED) >= 12
    assert len(HONEST) >= 12
    assert {entry.half for entry in FRESH} == {"fresh"}
    assert deep()(torch.rand(2, 3, 32, 32)).shape == (2, 10)
