"""Third collection of the validation set, ``fresh``: other mechanisms, on colour images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .entries import Entry, Scaled, around, plain, run
from .insides import (
    Absorbed,
    Holes,
    LogitNoise,
    MedianFilter,
    Pruned,
    RandomMember,
    Ranks,
    RoundedProbabilities,
    Shrunk,
    SteepSigmoid,
    Step,
    Thermometer,
    Wave,
    with_slope_of,
)
from .networks import Kit, fitted
from .ways import with_activation

if TYPE_CHECKING:
    from collections.abc import Callable

LEVELS = 8
STEEP = 40.0


def convolutions(
    channels: int, make: Callable[[int], nn.Module], *, pool: Callable[[], nn.Module]
) -> nn.Sequential:
    """Three convolutions of 16, 32 and 32 channels for images of 32x32, and a linear layer.

    Args:
        channels: channels of the images.
        make: returns the layers after a convolution, given its number of channels.
        pool: returns the layer that halves the sides.
    """
    layers: list[nn.Module] = []
    for before, after in ((channels, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(before, after, 3, padding=1), make(after), pool()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16, 10))


def pooled() -> nn.Module:
    """Max pooling over 2x2 pixels."""
    return nn.MaxPool2d(2)


def trained(
    name: str, build: Callable[[], nn.Module], *, passes: int = 1, rate: float = 3e-3
) -> Callable[[Kit], nn.Module]:
    """Function that returns the network of ``build``, trained on cross-entropy."""

    def make(kit: Kit) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(11)
            network = build()
        return kit.kept(name, network, lambda net: fitted(net, kit, passes=passes, rate=rate))

    return make


def thermometer(kit: Kit) -> nn.Module:
    """Network on thermometer-encoded pixels."""

    def build() -> nn.Module:
        return Thermometer(convolutions(3 * LEVELS, lambda _: nn.ReLU(), pool=pooled), LEVELS)

    return trained("thermometer", build)(kit)


def soft_thermometer(kit: Kit) -> nn.Module:
    """The same network with continuous bits, as the inverse."""
    made = thermometer(kit)
    for part in made.modules():
        if isinstance(part, Thermometer):
            part.soft = True
    return made


def steps_inside(kit: Kit) -> nn.Module:
    """Network with binary activations after all convolutions except the last."""
    return trained(
        "steps-inside",
        lambda: convolutions(3, lambda c: nn.Sequential(nn.BatchNorm2d(c), Step()), pool=pooled),
        passes=2,
    )(kit)


def sigmoids(kit: Kit) -> nn.Module:
    """Network whose last hidden layer has sigmoids."""

    def build() -> nn.Module:
        front = convolutions(3, lambda _: nn.ReLU(), pool=pooled)[:-1]
        return nn.Sequential(*front, nn.Linear(512, 64), SteepSigmoid(), nn.Linear(64, 10))

    return trained("sigmoids", build, passes=2)(kit)


def steep_sigmoids(kit: Kit) -> nn.Module:
    """The same network with sigmoids close to step functions, and its last layer refitted."""
    steep = with_slope_of(sigmoids(kit), STEEP)
    for part in list(steep.children())[:-1]:
        part.requires_grad_(requires_grad=False)
    return kit.kept("steep-sigmoids", steep, lambda net: fitted(net, kit))


def waves(kit: Kit) -> nn.Module:
    """Network with sine activations after the first convolution."""

    def make(channels: int) -> nn.Module:
        return Wave() if channels == 16 else nn.ReLU()

    return trained("waves", lambda: convolutions(3, make, pool=pooled))(kit)


def pruned(kit: Kit) -> nn.Module:
    """Standard network with randomly pruned activations."""
    return with_activation(kit.trained("standard"), Pruned)


class Mean(nn.Module):
    """Mean logits of two networks."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, k)``."""
        logits: Tensor = (self.first(x) + self.second(x)) / 2
        return logits


def two(kit: Kit) -> tuple[nn.Module, nn.Module]:
    """Two trained networks for the same task."""
    return kit.trained("standard"), kit.trained("gaussian")


class Standardised(nn.Module):
    """Network that first standardises each channel to zero mean and unit deviation."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, k)``."""
        mean, deviation = (
            torch.tensor(values)[:, None, None]
            for values in ((0.491, 0.482, 0.447), (0.247, 0.243, 0.262))
        )
        logits: Tensor = self.network((x - mean) / deviation)
        return logits


class Attention(nn.Module):
    """Transformer block: one attention head, then a feed-forward layer, both residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.mix = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Patch features ``(b, n, width)``."""
        z = self.norm(x)
        weights = (self.query(z) @ self.key(z).transpose(1, 2) / z.shape[2] ** 0.5).softmax(2)
        x = x + weights @ self.value(z)
        mixed: Tensor = x + self.mix(self.second(x))
        return mixed


class Patches(nn.Module):
    """Vision transformer of two blocks on patches of 4x4 pixels (Dosovitskiy et al. 2021)."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, 4, stride=4)
        self.place = nn.Parameter(0.02 * torch.randn(1, 64, width))
        self.layers = nn.Sequential(Attention(width), Attention(width))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, 10)``."""
        patches = self.embed(x).flatten(2).transpose(1, 2) + self.place
        logits: Tensor = self.head(self.layers(patches).mean(1))
        return logits


def deep() -> nn.Sequential:
    """Seven convolutions without batch norm, and a linear layer."""
    layers: list[nn.Module] = []
    before = 3
    for layer, after in enumerate((12, 12, 16, 16, 24, 24, 32)):
        layers += [nn.Conv2d(before, after, 3, padding=1, stride=1 + layer % 2), nn.LeakyReLU(0.1)]
        before = after
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16, 10))


def fresh(
    name: str,
    about: str,
    make: Callable[[Kit], nn.Module],
    inverse: Callable[[Kit], nn.Module] | None = None,
    *,
    random: bool = False,
) -> Entry:
    """Entry of a model that is meant to hide its gradient."""
    return Entry(name, "fresh", "masked", about, make, inverse, random)


MASKED = (
    fresh("thermometer", "pixels encoded as 8 threshold bits", thermometer, soft_thermometer),
    fresh(
        "shrunk details",
        "small Haar coefficients set to zero",
        lambda kit: Shrunk(kit.trained("standard"), kit.images.image_shape[0]),
        run("standard"),
    ),
    around("median filter", "fresh", "median of 3x3 pixels", MedianFilter),
    around("absorbed", "fresh", "logits plus 2^22 in float32", Absorbed),
    around("rounded", "fresh", "probabilities to one digit", RoundedProbabilities),
    around("ranks", "fresh", "ranks of the logits", Ranks),
    fresh("steps inside", "binary activations after two of three convolutions", steps_inside),
    fresh(
        "steep sigmoids",
        "a hidden layer of sigmoids close to step functions",
        steep_sigmoids,
        sigmoids,
    ),
    fresh("waves", "sine activations of frequency ten after the first layer", waves),
    fresh("pruned", "randomly pruned activations", pruned, run("standard"), random=True),
    around(
        "holes",
        "fresh",
        "a random fifth of the pixels set to grey",
        Holes,
        network="gaussian",
        random=True,
    ),
    fresh(
        "random member",
        "one of two networks, chosen at random for each image",
        lambda kit: RandomMember(*two(kit)),
        lambda kit: Mean(*two(kit)),
        random=True,
    ),
    around("logit noise", "fresh", "normal noise on the logits", LogitNoise, random=True),
)
"""Models with mechanisms that the other two collections do not contain."""


def honest(name: str, about: str, make: Callable[[Kit], nn.Module], *, int8: bool = False) -> Entry:
    """Entry of a model whose gradient is meant to be honest."""
    return Entry(name, "fresh", "honest", about, make, int8=int8)


HONEST = (
    honest("plain", "the standard network", run("standard")),
    honest("decayed", "strong weight decay", run("decayed")),
    honest(
        "memorised",
        "trained until it has memorised its images",
        trained("memorised", lambda: convolutions(3, lambda _: nn.ReLU(), pool=pooled), passes=4),
    ),
    honest("GELU", "GELU activations", plain("gelu", nn.GELU)),
    honest(
        "SiLU",
        "batch norm and SiLU",
        trained(
            "silu",
            lambda: convolutions(
                3, lambda c: nn.Sequential(nn.BatchNorm2d(c), nn.SiLU()), pool=pooled
            ),
        ),
    ),
    honest(
        "averages",
        "average pooling and tanh",
        trained(
            "averages",
            lambda: convolutions(3, lambda _: nn.Tanh(), pool=lambda: nn.AvgPool2d(2)),
        ),
    ),
    honest("ensemble", "mean of two networks", lambda kit: Mean(*two(kit))),
    honest(
        "standardised",
        "pixels standardised in the graph",
        trained(
            "standardised",
            lambda: Standardised(
                convolutions(3, lambda c: nn.Sequential(nn.BatchNorm2d(c), nn.ReLU()), pool=pooled)
            ),
        ),
    ),
    honest(
        "robust probabilities",
        "adversarial training, ends in a softmax",
        lambda kit: Scaled(kit.trained("adversarial"), softmax=True),
    ),
    honest("patches", "attention over patches", trained("patches", Patches, passes=2, rate=1e-3)),
    honest("deep plain", "eight layers, no batch norm", trained("deep-plain", deep)),
    honest("int8 ensemble", "8-bit mean of two", lambda kit: Mean(*two(kit)), int8=True),
)
"""Honest models of kinds that the other two collections do not contain."""

FRESH = (*MASKED, *HONEST)
