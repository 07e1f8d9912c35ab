"""Ways to hide the gradient of a trained network, for the validation of the masking check.

Each is a module around (or a change inside) a network that maps pixels to logits, made to answer
like it while its gradient leads nowhere. The network itself is the known inverse: what breaks it
breaks the wrapped one. After the categories of Athalye, Carlini, Wagner 2018 (arXiv:1802.00420):
shattered, stochastic, and vanishing or exploding gradients.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from robcert.certify.numerics import generator

if TYPE_CHECKING:
    from collections.abc import Callable

Half = Literal["tuning", "held out", "fresh"]
"""Thresholds may be fixed on the first alone; errors are reported on the others."""


class Temperature(nn.Module):
    """Probabilities of logits that are ``factor`` times too large: the softmax saturates."""

    def __init__(self, network: nn.Module, factor: float = 100.0) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities ``(b, k)``."""
        logits: Tensor = self.factor * self.network(x)
        return logits.softmax(1)


class Staircase(nn.Module):
    """The input on ``levels`` grey values, by rounding: the slope is zero almost everywhere."""

    def __init__(self, network: nn.Module, levels: int = 8) -> None:
        super().__init__()
        self.network, self.steps = network, levels - 1

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, k)``."""
        logits: Tensor = self.network(torch.round(x * self.steps) / self.steps)
        return logits


class Ripple(nn.Module):
    """ReLU plus a small, fast wave: the value hardly changes, the slope is the wave's."""

    def __init__(self, height: float = 0.02, frequency: float = 400.0) -> None:
        super().__init__()
        self.height, self.frequency = height, frequency

    def forward(self, x: Tensor) -> Tensor:
        """Activations in the shape of ``x``."""
        return x.relu() + self.height * torch.sin(self.frequency * x)


class ClippedScores(nn.Module):
    """Log-probabilities cut off below ``low`` and above ``high``: flat where the model is sure."""

    def __init__(self, network: nn.Module, low: float = -2.0, high: float = -0.5) -> None:
        super().__init__()
        self.network, self.low, self.high = network, low, high

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(b, k)`` with the network's order: only one probability exceeds exp(-0.5)."""
        return self.network(x).log_softmax(1).clamp(self.low, self.high)


class Dither(nn.Module):
    """The input rounded up or down at random to ``levels`` grey values, right on average."""

    def __init__(self, network: nn.Module, levels: int = 4) -> None:
        super().__init__()
        self.network, self.steps = network, levels - 1

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, k)`` of one draw."""
        logits: Tensor = self.network(torch.floor(x * self.steps + torch.rand_like(x)) / self.steps)
        return logits


class LookUp(nn.Module):
    """Grey values of 8 bits, looked up in a table (here that of the identity): no gradient path."""

    table: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("table", torch.arange(256) / 255)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, k)``."""
        levels = torch.round(x.clamp(0, 1) * 255).to(torch.int64)
        logits: Tensor = self.network(functional.embedding(levels, self.table[:, None])[..., 0])
        return logits


class Reversed(nn.Module):
    """Twice the input on a grid, minus the input: close to the input, with slope -1."""

    def __init__(self, network: nn.Module, levels: int = 16) -> None:
        super().__init__()
        self.network, self.steps = network, levels - 1

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, k)``."""
        logits: Tensor = self.network(2 * torch.round(x * self.steps) / self.steps - x)
        return logits


class RootGap(nn.Module):
    """Minus the root of each logit's distance to the largest: there its slope is no number."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(b, k)`` with the network's order; the largest is 0."""
        logits = self.network(x)
        return -torch.sqrt(logits.amax(1, keepdim=True) - logits)


class CosineBlocks(nn.Module):
    """Blocks of 4x4 pixels as cosine coefficients, rounded to multiples of ``step`` and back."""

    basis: Tensor

    def __init__(self, network: nn.Module, channels: int, step: float = 0.2) -> None:
        super().__init__()
        self.network, self.channels, self.step = network, channels, step
        place = torch.arange(4.0)
        rows = torch.cos(torch.pi / 4 * (place + 0.5) * place[:, None])
        rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        basis = torch.einsum("ui,vj->uvij", rows, rows).reshape(16, 1, 4, 4)
        self.register_buffer("basis", basis.repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, k)``; height and width are multiples of four."""
        parts = functional.conv2d(x, self.basis, stride=4, groups=self.channels)
        parts = torch.round(parts / self.step) * self.step
        back = functional.conv_transpose2d(parts, self.basis, stride=4, groups=self.channels)
        logits: Tensor = self.network(back)
        return logits


class LabelOnly(nn.Module):
    """1 for the class, 0 for all others: neither slope nor scores."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(b, k)``."""
        logits: Tensor = self.network(x)
        return functional.one_hot(logits.argmax(1), logits.shape[1]).to(torch.float32)


class SaturatedHeads(nn.Module):
    """A steep sigmoid for each class, at probability one half: 0 or 1 in float32."""

    def __init__(self, network: nn.Module, slope: float = 100.0) -> None:
        super().__init__()
        self.network, self.slope = network, slope

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(b, k)``; two classes are level only where no probability is near a half."""
        log_probabilities = self.network(x).log_softmax(1)
        return torch.sigmoid(self.slope * (log_probabilities + 0.7))


class Underflow(nn.Module):
    """exp of ``slope`` times each logit's distance to the largest: float32 has only 1 and 0."""

    def __init__(self, network: nn.Module, slope: float = 60.0) -> None:
        super().__init__()
        self.network, self.slope = network, slope

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(b, k)``; the largest is 1."""
        logits = self.network(x)
        return torch.exp(self.slope * (logits - logits.amax(1, keepdim=True)))


class Codebook(nn.Module):
    """Each patch of 2x2 pixels replaced by the nearest of some fixed ones, by its number.

    Args:
        network: pixels to logits.
        patches: ``(m, channels * 4)``.
    """

    patches: Tensor

    def __init__(self, network: nn.Module, patches: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("patches", patches)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, k)``; height and width are even."""
        b, c, h, w = x.shape
        parts = functional.pixel_unshuffle(x, 2).permute(0, 2, 3, 1)
        # |p - q|^2 without |p|^2, which is the same for every q
        far = self.patches.square().sum(1) - 2 * parts @ self.patches.T
        chosen = functional.embedding(far.argmin(-1), self.patches)
        pixels = functional.pixel_shuffle(chosen.permute(0, 3, 1, 2), 2).reshape(b, c, h, w)
        logits: Tensor = self.network(pixels)
        return logits


class WinnersTakeAll(nn.Module):
    """The largest ``share`` of an image's activations, the others zero (Xiao et al. 2020)."""

    def __init__(self, share: float = 0.1) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Activations in the shape of ``x``."""
        flat = x.flatten(1)
        least = flat.topk(max(1, int(self.share * flat.shape[1])), dim=1).values[:, -1:]
        return torch.where(flat >= least, flat, 0.0).view_as(x)


def with_activation(network: nn.Module, make: Callable[[], nn.Module]) -> nn.Module:
    """Copy of ``network`` with every ReLU replaced by what ``make`` makes."""
    copied = copy.deepcopy(network)
    for owner in list(copied.modules()):
        for name, child in list(owner.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(owner, name, make())
    return copied


def patches_of(images: Tensor, count: int = 32, rounds: int = 10) -> Tensor:
    """``(count, channels * 4)`` that stand for the patches of ``images (b, c, h, w)``: k-means."""
    parts = functional.pixel_unshuffle(images, 2).permute(0, 2, 3, 1).flatten(0, 2)
    parts = torch.unique(parts, dim=0)
    drawn = torch.randperm(len(parts), generator=generator(0, "codebook", 0))
    parts = parts[drawn[:20000]]
    centres = parts[:count].clone()
    for _ in range(rounds):
        nearest = torch.cdist(parts, centres).argmin(1)
        for one in range(len(centres)):
            if bool((nearest == one).any()):
                centres[one] = parts[nearest == one].mean(0)
    return centres
