"""Blocks of residual networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Activation = Callable[[], nn.Module]


class SmoothRelu(nn.Module):
    r"""Twice differentiable ReLU: :math:`\max(-z^4/2 + z^3,\, x)` with :math:`z = (x + \frac12)_+`.

    The polynomial up to :math:`x = \frac12` and the identity above, with equal value, slope and
    curvature there; 0 below :math:`-\frac12` (released code of Finlay & Oberman 2019).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Activations in the shape of ``x``."""
        z = (x + 0.5).clamp(0, 1)
        return torch.where(x < 0.5, z.pow(3) * (1 - 0.5 * z), x)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut (He et al. 2015, arXiv:1512.03385)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, act: Activation) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            act(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut = shortcut(inputs, width, stride)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(b, width, h / stride, w / stride)``."""
        out: Tensor = self.act(self.residual(x) + self.shortcut(x))
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with batch norm and a shortcut (arXiv:1512.03385)."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, act: Activation) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False),
            nn.BatchNorm2d(width),
            act(),
            nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            act(),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = shortcut(inputs, outputs, stride)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(b, 4 width, h / stride, w / stride)``."""
        out: Tensor = self.act(self.residual(x) + self.shortcut(x))
        return out


class BranchBlock(nn.Module):
    """Mean of two branches of 3x3 convolutions: the ResNeXt block of Finlay & Oberman 2019.

    As in their released code, a 1x1 convolution and an average pooling precede a block that changes
    the shape, and no 1x1 convolution follows it.
    """

    branches = 2

    def __init__(self, inputs: int, width: int, stride: int, act: Activation) -> None:
        super().__init__()
        entry: list[nn.Module] = []
        if inputs != width:
            entry += [nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), act()]
        if stride > 1:
            entry.append(nn.AvgPool2d(stride))
        inner = self.branches * width
        self.entry = nn.Sequential(*entry)
        self.residual = nn.Sequential(
            nn.Conv2d(width, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            act(),
            nn.Conv2d(inner, inner, 3, padding=1, groups=self.branches, bias=False),
            nn.BatchNorm2d(inner),
        )
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(b, width, h / stride, w / stride)``."""
        ready = self.entry(x)
        mean = self.residual(ready).unflatten(1, (self.branches, -1)).mean(1)
        out: Tensor = self.act(ready + mean)
        return out


class WideBlock(nn.Module):
    """Batch norm and activation before each convolution (Zagoruyko & Komodakis, 1605.07146)."""

    def __init__(self, inputs: int, width: int, stride: int, act: Activation) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inputs), act())
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            act(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )
        self.projection: nn.Module | None = None
        if stride != 1 or inputs != width:
            self.projection = nn.Conv2d(inputs, width, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(b, width, h / stride, w / stride)``."""
        ready = self.first(x)
        carried = x if self.projection is None else self.projection(ready)
        out: Tensor = carried + self.residual(ready)
        return out


class Denoise(nn.Module):
    r"""Feature denoising: :math:`x + W \bar x`, with a weighted mean :math:`\bar x` over positions.

    The weights are dot products of features: the non-local mean without softmax of Xie et al. 2019
    (arXiv:1812.03411, section 4.1). W is a 1x1 convolution with batch norm, initially 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
        )
        nn.init.zeros_(self.mix[1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Features in the shape of ``x (b, c, h, w)``."""
        flat = x.flatten(2)
        # (f fᵀ) f = f (fᵀ f): the c x c product is the smaller one
        mean = torch.matmul(torch.matmul(flat, flat.transpose(1, 2)), flat) / flat.shape[2]
        out: Tensor = x + self.mix(mean.view_as(x))
        return out


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The identity if input and output have one shape, else a 1x1 convolution with batch norm."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
    )
