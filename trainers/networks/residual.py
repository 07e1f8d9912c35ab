"""Residual networks of the papers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from .blocks import Activation, Denoise, WideBlock

LARGE = 64
"""Images of at least so many pixels a side get the stem that divides them by four."""

Block = Callable[[int, int, int, Activation], nn.Module]


def resnet(
    shape: tuple[int, int, int],
    num_classes: int,
    *,
    blocks: Sequence[int],
    block: Block,
    expansion: int,
    width: int,
    act: Activation,
    denoise: bool = False,
) -> nn.Module:
    """Residual network of ``len(blocks)`` stages, each after the first at half the size.

    Small images begin with a 3x3 convolution, large ones with 7x7 at stride 2 and a pooling.

    Args:
        shape: (c, h, w) of an image.
        num_classes: logits.
        blocks: blocks of each stage.
        block: (inputs, width, stride, activation) to a block of ``expansion`` * width features.
        expansion: see ``block``.
        width: of the first stage; doubled at each.
        act: activation.
        denoise: end each stage with a denoising block.
    """
    layers: list[nn.Module] = _stem(shape, width, act)
    inputs = width
    for stage, count in enumerate(blocks):
        for number in range(count):
            stride = 2 if stage > 0 and number == 0 else 1
            layers.append(block(inputs, width * 2**stage, stride, act))
            inputs = expansion * width * 2**stage
        if denoise:
            layers.append(Denoise(inputs))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes))
    return nn.Sequential(*layers, *head)


def wide_resnet(
    shape: tuple[int, int, int],
    num_classes: int,
    *,
    depth: int,
    widen: int,
    width: int,
    act: Activation,
    denoise: bool = False,
) -> nn.Module:
    """Wide residual network WRN-depth-widen of three stages (arXiv:1605.07146)."""
    inputs = width
    layers: list[nn.Module] = [nn.Conv2d(shape[0], inputs, 3, padding=1, bias=False)]
    for stage in range(3):
        for number in range((depth - 4) // 6):
            outputs = width * widen * 2**stage
            layers.append(WideBlock(inputs, outputs, 2 if stage and not number else 1, act))
            inputs = outputs
        if denoise:
            layers.append(Denoise(inputs))
    tail = (nn.BatchNorm2d(inputs), act(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*layers, *tail, nn.Linear(inputs, num_classes))


def _stem(shape: tuple[int, int, int], width: int, act: Activation) -> list[nn.Module]:
    channels, height, _ = shape
    if height < LARGE:
        first = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        return [first, nn.BatchNorm2d(width), act()]
    first = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
    return [first, nn.BatchNorm2d(width), act(), nn.MaxPool2d(3, stride=2, padding=1)]
