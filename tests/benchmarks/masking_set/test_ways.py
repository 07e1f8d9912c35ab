"""Ways to hide a gradient: the answers stay, the gradient goes."""

from __future__ import annotations

import pytest
import torch
from masking_set import ways
from masking_set.entries import ENTRIES, HONEST, TRAINED, WRAPPED
from torch import Tensor, nn

from robcert.certify.numerics.gradients import value_and_gradient

POINTS, CLASSES = 32, 5


@pytest.fixture
def network() -> nn.Sequential:
    """A network with random weights and logits as large as those of trained networks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, CLASSES)
    network = nn.Sequential(*layers)
    network.eval().requires_grad_(requires_grad=False)
    layers[-1].weight.mul_(30)
    return network


@pytest.fixture
def images() -> Tensor:
    return torch.rand(POINTS, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def slope(model: nn.Module, x: Tensor) -> Tensor:
    """Gradient of the cross-entropy of the model's own output, for its predicted class."""
    y = model(x).argmax(1)
    return value_and_gradient(
        lambda z: nn.functional.cross_entropy(model(z), y, reduction="none"), x
    )[1]


@pytest.mark.parametrize(
    "way",
    [
        ways.Temperature,
        ways.ClippedScores,
        ways.RootGap,
        ways.LabelOnly,
        ways.SaturatedHeads,
        ways.Underflow,
    ],
)
def test_another_output_keeps_the_class_and_hides_the_slope(
    way: type[nn.Module], network: nn.Module, images: Tensor
) -> None:
    model = way(network)
    sure = network(images).softmax(1).amax(1) > 0.95
    assert sure.sum() > 5
    x = images[sure]
    assert torch.equal(model(x).argmax(1), network(x).argmax(1))
    honest, hidden = slope(network, x).abs().amax((1, 2, 3)), slope(model, x).abs().amax((1, 2, 3))
    assert (honest > 1e-6).all()
    lost = ~hidden.isfinite() | (hidden < 1e-3 * honest)
    assert lost.float().mean() > 0.7


def test_a_staircase_is_flat_and_right_on_its_steps(network: nn.Module, images: Tensor) -> None:
    model = ways.Staircase(network, levels=8)
    on_steps = torch.round(images * 7) / 7
    torch.testing.assert_close(model(on_steps), network(on_steps))
    assert not slope(model, images).any()


def test_a_look_up_table_changes_no_8_bit_image(network: nn.Module, images: Tensor) -> None:
    model = ways.LookUp(network)
    bytes_ = torch.round(images * 255) / 255
    torch.testing.assert_close(model(bytes_), network(bytes_))
    assert not slope(model, images).any()


def test_the_reversed_slope_points_the_other_way(network: nn.Module, images: Tensor) -> None:
    model = ways.Reversed(network, levels=1001)  # so fine that the point itself hardly moves
    torch.testing.assert_close(model(images), network(images), atol=0.2, rtol=0.02)
    there, back = slope(network, images), slope(model, images)
    cosine = nn.functional.cosine_similarity(there.flatten(1), back.flatten(1))
    assert (cosine < -0.9).float().mean() > 0.8


def test_dither_is_right_on_average_and_never_twice_the_same(
    network: nn.Module, images: Tensor
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ways.Dither(nn.Identity(), levels=4)
        mean = torch.stack([model(images) for _ in range(2000)]).mean(0)
        torch.testing.assert_close(mean, images, atol=0.05, rtol=0)
        assert not torch.equal(model(images), model(images))
        assert not slope(ways.Dither(network), images).any()


def test_cosine_blocks_are_a_rotation_then_rounded(network: nn.Module) -> None:
    images = torch.rand(4, 3, 8, 12, generator=torch.Generator().manual_seed(2))
    assert ways.CosineBlocks(nn.Identity(), 3, step=1e-6)(images).sub(images).abs().max() < 1e-4
    coarse = ways.CosineBlocks(nn.Identity(), 3, step=0.2)(images)
    # sixteen coefficients of a block are each at most half a step off
    assert (coarse - images).square().sum() <= images.numel() * 0.1**2
    grey = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    assert not slope(ways.CosineBlocks(network, 1), grey).any()


def test_a_codebook_keeps_images_made_of_its_patches(network: nn.Module) -> None:
    patches = torch.rand(6, 4, generator=torch.Generator().manual_seed(4))
    chosen = torch.randint(6, (2, 4, 4), generator=torch.Generator().manual_seed(5))
    images = nn.functional.pixel_shuffle(patches[chosen].permute(0, 3, 1, 2), 2)
    torch.testing.assert_close(ways.Codebook(nn.Identity(), patches)(images), images)
    assert not slope(ways.Codebook(network, patches), images).any()


def test_patches_stand_for_those_of_the_images() -> None:
    two = torch.zeros(3, 1, 4, 4)
    two[:, :, :2] = 1.0
    found = ways.patches_of(two, count=2)
    assert sorted(found.sum(1).tolist()) == [0.0, 4.0]


def test_a_ripple_moves_no_value_by_more_than_its_height_but_every_slope(
    network: nn.Sequential, images: Tensor
) -> None:
    rippled = ways.with_activation(network, ways.Ripple)
    assert isinstance(rippled, nn.Sequential)
    assert isinstance(network[1], nn.ReLU)
    assert isinstance(rippled[1], ways.Ripple)
    before = network[:2](images)
    assert (rippled[:2](images) - before).abs().max() <= 0.02 + 1e-6
    there, back = slope(network, images).flatten(1), slope(rippled, images).flatten(1)
    assert nn.functional.cosine_similarity(there, back).abs().mean() < 0.6


def test_winners_take_all_keeps_the_largest_share() -> None:
    x = torch.arange(40.0).view(2, 20)
    kept = ways.WinnersTakeAll(0.1)(x)
    assert kept.count_nonzero(1).tolist() == [2, 2]
    assert kept[0, -2:].tolist() == [18.0, 19.0]


def test_both_halves_have_their_own_mechanisms() -> None:
    names = [entry.name for entry in ENTRIES]
    assert len(set(names)) == len(names)
    kinds = {half: [e for e in WRAPPED if e.half == half] for half in ("tuning", "held out")}
    assert all(len(found) >= 6 for found in kinds.values())
    assert len(WRAPPED) + len(TRAINED) >= 12
    assert len(HONEST) >= 12
    assert all(entry.inverse is not None for entry in WRAPPED)
