"""Mechanisms that hide the gradient of a trained network, for validating the masking check.

Each is a module around (or a change inside) a network that maps pixels to logits. It predicts
nearly the same classes, but its gradient is useless for attacks. The network itself is the known
inverse: its adversarial images are adversarial for the wrapped network too. The categories are
those of Athalye, Carlini, Wagner 2018 (arXiv:1802.00420): shattered, stochastic, and vanishing or
exploding gradients.
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
"""Collections: thresholds may be tuned on the first only; errors are reported on the others."""


class Temperature(nn.Module):
    """Softmax of ``factor`` times the logits, which saturates."""

    def __init__(self, network: nn.Module, factor: float = 100.0) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities ``(b, k)``."""
        logits: Tensor = self.factor * self.network(x)
        return logits.softmax(1)


class Staircase(nn.Module):
    """Input rounded to ``levels`` grey values: the gradient is zero almost everywhere."""

    def __init__(self, network: nn.Module, levels: int = 8) -> None:
        super().__init__()
        self.network, self.steps = network, levels - 1

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, k)``."""
        logits: Tensor = self.network(torch.round(x * self.steps) / self.steps)
        return logits


class Ripple(nn.Module):
    """ReLU plus a sine of small amplitude and high frequency, which dominates the gradient."""

    def __init__(self, height: float = 0.02, frequency: float = 400.0) -> None:
        super().__init__()
        self.height, self.frequency = height, frequency

    def forward(self, x: Tensor) -> Tensor:
        """Activations in the shape of ``x``."""
        return x.relu() + self.height * torch.sin(self.frequency * x)


class ClippedScores(nn.Module):
    """Log-probabilities clipped to [``low``, ``high``]: constant where the model is confident."""

    def __init__(self, network: nn.Module, low: float = -2.0, high: float = -0.5) -> None:
        super().__init__()
        self.network, self.low, self.high = network, low, high

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(b, k)`` with the network's order: only one probability exceeds exp(-0.5)."""
        return self.network(x).log_softmax(1).clamp(self.low, self.high)


class Dither(nn.Module):
    """Input rounded up or down at random to ``levels`` grey values, without bias."""

    def __init__(self, network: nn.Module, levels: int = 4) -> None:
        super().__init__()
        self.network, self.steps = network, levels - 1

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, k)`` of one draw."""
        logits: Tensor = self.network(torch.floor(x * self.steps + torch.rand_like(x)) / self.steps)
        return logits


class LookUp(nn.Module):
    """8-bit grey values read from a table (of the identity), through which no gradient passes."""

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
    """Twice the rounded input minus the input: close to the input, with slope -1."""

    def __init__(self, network: nn.Module, levels: int = 16) -> None:
        super().__init__()
        self.network, self.steps = network, levels - 1

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, k)``."""
        logits: Tensor = self.network(2 * torch.round(x * self.steps) / self.steps - x)
        return logits


class RootGap(nn.Module):
    """Minus the root of the largest logit minus each logit, whose gradient is not a number."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(b, k)`` with the network's order; the largest is 0."""
        logits = self.network(x)
        return -torch.sqrt(logits.amax(1, keepdim=True) - logits)


class CosineBlocks(nn.Module):
    """Input whose cosine coefficients of 4x4 blocks are rounded to multiples of ``step``."""

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
    """1 for the predicted class and 0 for the others: neither gradient nor scores."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(b, k)``."""
        logits: Tensor = self.network(x)
        return functional.one_hot(logits.argmax(1), logits.shape[1]).to(torch.float32)


class SaturatedHeads(nn.Module):
    """A steep sigmoid per class around probability one half, which is 0 or 1 in float32."""

    def __init__(self, network: nn.Module, slope: float = 100.0) -> None:
        super().__init__()
        self.network, self.slope = network, slope

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(b, k)``; two are equal only if no probability is near one half."""
        log_probabilities = self.network(x).log_softmax(1)
        return torch.sigmoid(self.slope * (log_probabilities + 0.7))


class Underflow(nn.Module):
    """exp of ``slope`` times (logit - largest logit), which float32 rounds to 1 and 0."""

    def __init__(self, network: nn.Module, slope: float = 60.0) -> None:
        super().__init__()
        self.network, self.slope = network, slope

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(b, k)``; the largest is 1."""
        logits = self.network(x)
        return torch.exp(self.slope * (logits - logits.amax(1, keepdim=True)))


class Codebook(nn.Module):
    """Each patch of 2x2 pixels replaced by the nearest patch of a codebook, read by its index.

    Args:
        network: maps pixels to logits.
        patches: the codebook ``(m, channels * 4)``.
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
    """The largest ``share`` of an image's activations; the others are zero (Xiao et al. 2020)."""

    def __init__(self, share: float = 0.1) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Activations in the shape of ``x``."""
        flat = x.flatten(1)
        least = flat.topk(max(1, int(self.share * flat.shape[1])), dim=1).values[:, -1:]
        return torch.where(flat >= least, flat, 0.0).view_as(x)


def with_activation(network: nn.Module, make: Callable[[], nn.Module]) -> nn.Module:
    """Copy of ``network`` with every ReLU replaced by a layer from ``make``."""
    copied = copy.deepcopy(network)
    for owner in list(copied.modules()):
        for name, child in list(owner.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(owner, name, make())
    return copied


def patches_of(images: Tensor, count: int = 32, rounds: int = 10) -> Tensor:
    """k-means centres ``(count, channels * 4)`` of the 2x2 patches of ``images (b, c, h, w)``."""
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
