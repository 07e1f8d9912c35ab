"""Residual networks of the papers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from .blocks import Activation, Denoise, WideBlock

LARGE = 64
"""Images with at least this many pixels per side get the stem of stride 4."""

Block = Callable[[int, int, int, Activation], nn.Module]


@dataclass(frozen=True, slots=True)
class ResNet:
    """Residual network (He et al. 2015, arXiv:1512.03385).

    Small images start with a 3x3 convolution; those of ``LARGE`` or more pixels per side start with
    a 7x7 convolution of stride 2 and a pooling. Each stage after the first halves the sides.

    Attributes:
        blocks: number of blocks of each stage.
        block: makes a block of ``expansion * width`` features from (inputs, width, stride,
            activation).
        expansion: features of a block divided by its width.
        width: published width of the first stage; each stage doubles it.
    """

    blocks: tuple[int, ...]
    block: Block
    expansion: int = 1
    width: int = 64

    def build(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        *,
        width: int | None,
        act: Activation,
        denoise: bool,
    ) -> nn.Module:
        """Network for images of ``shape`` (c, h, w).

        Args:
            shape: shape of an image.
            num_classes: number of logits.
            width: width of the first stage; None for the published one.
            act: activation.
            denoise: whether each stage ends with a denoising block.
        """
        width = width or self.width
        layers: list[nn.Module] = _stem(shape, width, act)
        inputs = width
        for stage, count in enumerate(self.blocks):
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                layers.append(self.block(inputs, width * 2**stage, stride, act))
                inputs = self.expansion * width * 2**stage
            if denoise:
                layers.append(Denoise(inputs))
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes))
        return nn.Sequential(*layers, *head)


@dataclass(frozen=True, slots=True)
class WideResNet:
    """Wide residual network WRN-depth-widen of three stages (arXiv:1605.07146).

    Attributes:
        depth: number of layers.
        widen: factor of the widths of the stages.
        width: published width of the first layer.
    """

    depth: int
    widen: int
    width: int = 16

    def build(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        *,
        width: int | None,
        act: Activation,
        denoise: bool,
    ) -> nn.Module:
        """Network for images of ``shape``; the arguments are those of ``ResNet.build``."""
        width = inputs = width or self.width
        layers: list[nn.Module] = [nn.Conv2d(shape[0], inputs, 3, padding=1, bias=False)]
        for stage in range(3):
            for number in range((self.depth - 4) // 6):
                outputs = width * self.widen * 2**stage
                layers.append(WideBlock(inputs, outputs, 2 if stage and not number else 1, act))
                inputs = outputs
            if denoise:
                layers.append(Denoise(inputs))
        tail = (nn.BatchNorm2d(inputs), act(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return nn.Sequential(*layers, *tail, nn.Linear(inputs, num_classes))


def _stem(shape: tuple[int, int, int], width: int, act: Activation) -> list[nn.Module]:
    """Layers before the first stage."""
    channels, height, _ = shape
    if height < LARGE:
        first = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        return [first, nn.BatchNorm2d(width), act()]
    first = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
    return [first, nn.BatchNorm2d(width), act(), nn.MaxPool2d(3, stride=2, padding=1)]
